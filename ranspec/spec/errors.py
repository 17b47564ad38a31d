"""Problems of a spec, in words for its author."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranspec.errors import RanspecError, printable

MAX_SHOWN = 40
MAX_WIDTH = 100
"""Columns of a terminal that a shown line may take."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line of text, and the column in it that is meant, from 1."""

    text: str
    column: int

    def lines(self, width: int = MAX_WIDTH) -> tuple[str, str]:
        """Return the line, cut to a width around the column, and a caret to print below it."""
        cells = ["    " if character == "\t" else printable(character) for character in self.text]
        before, after = cells[: self.column - 1], cells[self.column - 1 :]
        room = max(2 * width // 3, width - columns("".join(after)) - 1)
        left = _cut(before[::-1], room)[::-1]
        indent = columns("".join(left))
        right = _cut(after, width - indent)
        return "".join([*left, *right]).rstrip(), " " * indent + "^"


def columns(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    from unicodedata import category, east_asian_width

    wide = {"W": 2, "F": 2}
    return sum(
        0 if category(character) in ("Mn", "Me") else wide.get(east_asian_width(character), 1)
        for character in text
    )


def _cut(cells: list[str], width: int) -> list[str]:
    """Return the first cells that fit a width, with dots for those left out."""
    if columns("".join(cells)) <= width:
        return cells
    kept: list[str] = []
    left = width - 3
    for cell in cells:
        left -= columns(cell)
        if left < 0:
            break
        kept.append(cell)
    return [*kept, "..."]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    `file` is a path, `--set key=value` or `default`; the last two have no line (0).
    """

    file: str
    line: int = 0
    column: int = 0
    excerpt: Excerpt | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{printable(self.file)}{place}"


DEFAULT = Origin("default")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a spec, and where."""

    file: str
    line: int
    column: int
    key: str
    message: str
    excerpt: Excerpt | None = field(default=None, compare=False, repr=False)

    @classmethod
    def at(cls, origin: Origin, path: Iterable[str], message: str) -> Problem:
        """Describe a problem of the value at `path`, written at `origin`."""
        place = (origin.file, origin.line, origin.column)
        return cls(*place, dotted(path), message, origin.excerpt)

    @property
    def origin(self) -> Origin:
        """Return where the value was written."""
        return Origin(self.file, self.line, self.column, self.excerpt)

    def __str__(self) -> str:
        return f"{self.origin}: {self._text}"

    @property
    def _text(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message

    def as_dict(self) -> dict[str, Any]:
        """Return the problem as data for JSON; line and column are null where there is no file."""
        return {
            "file": self.file,
            "line": self.line or None,
            "column": self.column or None,
            "key": self.key,
            "message": self.message,
        }

    def report(self, *, label: str = "", color: bool = False) -> str:
        """Return the problem and, below it, the line that was written with a caret."""
        bold, red, plain = ("\x1b[1m", "\x1b[1;31m", "\x1b[0m") if color else ("", "", "")
        shown = f"{bold}{self.origin}:{plain} {label}{self._text}"
        if self.excerpt is None:
            return shown
        margin = f"{self.line:>5} | " if self.line else "  "
        below = f"{'':>5} | " if self.line else "  "
        line, caret = self.excerpt.lines(MAX_WIDTH - len(margin))
        return f"{shown}\n{margin}{line}\n{below}{caret[:-1]}{red}^{plain}"


class SpecError(RanspecError):
    """A spec that cannot be used, with all that was found wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def report(self, *, color: bool = False) -> str:
        """Return all problems, each with the line that was written and a caret."""
        return "\n".join(problem.report(color=color) for problem in self.problems)


def dotted(path: Iterable[str]) -> str:
    """Write a path as one key, safe to print."""
    return ".".join(printable(shorten(key)) for key in path)


def shorten(text: str) -> str:
    """Cut a long text, marking the cut."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def show(value: object) -> str:
    """Write a found value in one short line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(shorten(value))
        case dict():
            return "a mapping"
        case tuple() | list():
            return "a list"
        case _:
            return shorten(str(value))


def show_with_type(value: object) -> str:
    """Write a found value and what it is."""
    kinds = {bool: "a boolean", str: "a string", int: "an integer", float: "a number"}
    kind = kinds.get(type(value))
    return f"{show(value)} ({kind})" if kind else show(value)


def either(names: Sequence[str]) -> str:
    """Join alternatives: `a`, `a or b`, `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def nearest(name: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Return the names most like `name`, best first; none when none is near."""
    import difflib

    spelled = {_spelled(known): known for known in sorted(names)}
    near = difflib.get_close_matches(_spelled(name[:200]), spelled, n=count, cutoff=0.6)
    return [spelled[match] for match in near]


def _spelled(name: str) -> str:
    """Return a name as it is compared: case and hyphens make no difference."""
    return name.lower().replace("-", "_")


def did_you_mean(name: str, names: Iterable[str], count: int = 1) -> str:
    """Return `; did you mean x?`, or nothing when no name is near."""
    near = [printable(found) for found in nearest(name, names, count)]
    return f"; did you mean {either(near)}?" if near else ""
