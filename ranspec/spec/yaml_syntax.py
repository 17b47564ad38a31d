"""What a YAML parser says of a text it cannot read, in words for the text's author."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ranspec.errors import printable
from ranspec.spec.errors import Excerpt, Origin, Problem, shorten

_CLOSING = {"{": "}", "[": "]"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place in a text: line and column from 0."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line + 1}, column {self.column + 1}"


@dataclass(frozen=True, slots=True)
class Syntax:
    """A text that is no YAML, and how far it was read.

    `opened` are the parser's events of the braces and brackets that were open, outermost first;
    `last` is the last scalar before the fault.
    """

    lines: Sequence[str]
    file: str
    opened: Sequence[Any] = ()
    last: Any = None

    def problem(self, error: yaml.MarkedYAMLError) -> Problem:
        """Say what is wrong, and point at what its author has to change."""
        found = error.problem_mark or error.context_mark
        if found is None:
            return self._at(_Mark(0, 0), f"not valid YAML: {error.problem}")
        mark = _Mark(found.line, found.column)
        context = error.context_mark
        begin = _Mark(context.line, context.column) if context else mark
        what = f"{error.context or ''}: {error.problem or ''}"
        place, message = self._explained(what, mark, begin)
        return self._at(place, message)

    def _at(self, mark: _Mark, message: str) -> Problem:
        excerpt = Excerpt(self._line(mark), mark.column + 1)
        return Problem.at(Origin(self.file, mark.line + 1, mark.column + 1, excerpt), (), message)

    def _explained(self, what: str, mark: _Mark, begin: _Mark) -> tuple[_Mark, str]:
        character = self._line(mark)[mark.column : mark.column + 1]
        if character == "\t" or "tab character" in what:
            return mark, "a tab cannot indent; use spaces"
        if "quoted scalar" in what and "end of stream" in what:
            quote = self._line(begin)[begin.column : begin.column + 1]
            return begin, f"the quote {quote} that opens here is never closed"
        if "unknown escape" in what:
            text = printable(self._line(mark)[mark.column : mark.column + 2])
            return mark, f"{text} is no escape; double the backslash, or use single quotes"
        if "flow" in what and self._innermost()[1]:
            return self._in_braces(mark)
        if "mapping values" in what:
            return self._second_value(mark)
        if "simple key" in what:
            return self._no_colon(begin)
        if "expected '-'" in what:
            return mark, f"expected - and an entry, as in the list from {begin}"
        if "block mapping" in what:
            return self._no_key(mark)
        if "block sequence entries" in what:
            return mark, "a list begins on the line after its key, or is written [a, b]"
        if "block scalar" in what:
            return mark, "nothing follows | or > on its line; the text begins on the next"
        if "alias" in what or "anchor" in what:
            return begin, "* and & begin the name of a value; put other text in quotes"
        if "document start" in what:
            return mark, self._second_document(mark)
        if "tag" in what:
            return begin, "! begins a tag, and tags are not allowed; put text in quotes"
        if "cannot start" in what or "directive" in what:
            text = self._line(begin)[begin.column : begin.column + 1]
            return begin, f"a value cannot begin with {printable(text)}; put it in quotes"
        return mark, f"not valid YAML: {what.partition(': ')[2]}"

    def _line(self, mark: _Mark) -> str:
        return self.lines[mark.line] if mark.line < len(self.lines) else ""

    def _indent(self, mark: _Mark) -> int:
        line = self._line(mark)
        return len(line) - len(line.lstrip())

    def _innermost(self) -> tuple[_Mark, str]:
        """Return the innermost open brace or bracket; a lone `a: b` in a list has none."""
        for event in reversed(self.opened):
            mark = _Mark(event.start_mark.line, event.start_mark.column)
            opening = self._line(mark)[mark.column : mark.column + 1]
            if opening in _CLOSING:
                return mark, opening
        return _Mark(0, 0), ""

    def _in_braces(self, mark: _Mark) -> tuple[_Mark, str]:
        """Explain what is wrong between the innermost open brace or bracket and `mark`."""
        begin, opening = self._innermost()
        closing = _CLOSING[opening]
        line = self._line(mark)
        rest = line[mark.column :]
        if not rest.strip() and not any(text.strip() for text in self.lines[mark.line + 1 :]):
            return begin, f"the {opening} that opens here is never closed"
        if rest.startswith(":"):
            before = line[: mark.column].rstrip()
            mark = _Mark(mark.line, len(before) - len(before.split()[-1]) if before else 0)
        if mark.line > begin.line and self._indent(mark) <= self._indent(begin):
            return begin, (
                f"the {opening} that opens here is not closed; line {mark.line + 1} goes on with "
                "something else"
            )
        found = printable(shorten(line[mark.column :].split(":")[0].split(" ")[0]))
        message = f"expected , or {closing} before {found}; the {opening} was opened at {begin}"
        if found.startswith(","):
            message = f"expected a value before the comma; the {opening} was opened at {begin}"
        return mark, message

    def _second_value(self, mark: _Mark) -> tuple[_Mark, str]:
        """Explain a colon where no key can be."""
        key = self._line(mark)[: mark.column]
        if ": " in key:
            return mark, "a colon and a space begin a value; put text that has them in quotes"
        above = _Mark(mark.line - 1, 0)
        while above.line > 0 and not self._content(above):
            above = _Mark(above.line - 1, 0)
        text = self._content(above)
        if ":" not in text:
            place = _Mark(above.line, self._indent(above))
            return place, f"expected a colon after {printable(shorten(text))}"
        return _Mark(mark.line, self._indent(mark)), (
            f"indented deeper than line {above.line + 1}, which has a value already; "
            "give both the same indentation"
        )

    def _content(self, mark: _Mark) -> str:
        return self._line(mark).partition(" #")[0].strip()

    def _no_colon(self, begin: _Mark) -> tuple[_Mark, str]:
        text = self._line(begin)[begin.column :]
        key, colon, _ = text.partition(":")
        if colon:
            place = _Mark(begin.line, begin.column + len(key) + 1)
            return place, f"expected a space after the colon of {printable(shorten(key))}"
        return begin, f"expected a colon and a value after {printable(shorten(text.strip()))}"

    def _no_key(self, mark: _Mark) -> tuple[_Mark, str]:
        """Explain what stands in a mapping where its next key was expected."""
        line = self._line(mark)
        rest = line[mark.column :]
        if rest[:1] in _OPENING:
            return mark, f"found {rest[0]} without a {_OPENING[rest[0]]} before it"
        if rest.startswith(("- ", "-\n")) or rest == "-":
            return mark, "found a list's entry where a key was expected"
        if mark.column == self._indent(mark):
            return mark, (
                f"the {mark.column} spaces before this line are those of no line above that it "
                "could belong to"
            )
        if self.last is not None and self.last.style in ("'", '"'):
            start = self.last.start_mark
            begin = _Mark(start.line, start.column)
            return mark, (
                f"text follows a closing quote; the quote {self.last.style} was opened at {begin}: "
                "close it after the whole text, or use the other kind of quotes around it"
            )
        return mark, "expected the next key on a line of its own"

    def _second_document(self, mark: _Mark) -> str:
        if any(line.startswith(("---", "...")) for line in self.lines[: mark.line]):
            return "a spec is one document; found a second"
        return "indented less than the first line; give the keys of a spec the same indentation"
