"""Problems of a spec, in words for its author."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written.

    `file` is a path, `--set key=value` or `default`; the last two have no line (0).
    """

    file: str
    line: int = 0
    column: int = 0

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

    @classmethod
    def at(cls, origin: Origin, path: Iterable[str], message: str) -> Problem:
        """Describe a problem of the value at `path`, written at `origin`."""
        return cls(origin.file, origin.line, origin.column, dotted(path), message)

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{Origin(self.file, self.line, self.column)}:{key} {self.message}"


class SpecError(Exception):
    """A spec that cannot be used, with all that was found wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Iterable[str]) -> str:
    """Write a path as one key, safe to print."""
    return ".".join(printable(shorten(key)) for key in path)


def printable(text: str) -> str:
    """Escape what a terminal might act on."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


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

    return difflib.get_close_matches(name[:200], sorted(names), n=count, cutoff=0.6)


def did_you_mean(name: str, names: Iterable[str], count: int = 1) -> str:
    """Return `; did you mean x?`, or nothing when no name is near."""
    near = nearest(name, names, count)
    return f"; did you mean {either(near)}?" if near else ""
