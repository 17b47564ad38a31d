"""`--set key.path=value`: one value changed from outside the files."""

from __future__ import annotations

from dataclasses import replace

from ranspec.errors import printable
from ranspec.spec.errors import Excerpt, Origin, Problem, SpecError, shorten
from ranspec.spec.short_forms import in_full
from ranspec.spec.writer import flow
from ranspec.spec.yaml_source import MAX_DEPTH, Node, parse

_OPTION = "--set "


def parse_override(text: str) -> Node:
    """Read `key.path=value` as the mapping that holds this one value.

    Raises SpecError for text of another form or a value that is not YAML.
    """
    written = _Written(text)
    key, equals, value = text.partition("=")
    parts = key.split(".")
    names = tuple(part.strip() for part in parts)
    if not equals or not all(names) or len(names) > MAX_DEPTH:
        raise SpecError([Problem.at(written.origin(0), (), "expected key.path=value")])
    start = len(key) + 1
    try:
        node, problems = parse(value, text)
    except SpecError as error:
        problems = error.problems
    if problems:
        raise SpecError(
            Problem.at(written.inside(start, problem.origin), names, problem.message)
            for problem in problems
        )
    node = written.placed(node, start)
    for index in reversed(range(len(names))):
        position = sum(len(part) + 1 for part in parts[:index])
        place = written.origin(position + parts[index].index(names[index]))
        node = Node({names[index]: replace(node, key=place)}, place)
    return in_full(node)


def canonical_override(text: str) -> str:
    """Return an override in the one way of writing it: `attention.t=2` for `attention.t = 0x2`."""
    keys = [part.strip() for part in text.partition("=")[0].split(".")]
    value = parse_override(text).plain()
    for key in keys:
        value = value[key]
    return f"{'.'.join(keys)}={flow(value)}"


def override_origin(text: str) -> Origin:
    """Return where what is wrong with an override is said to be."""
    return _Written(text).origin(0)


class _Written:
    """The text of an override, and the places in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._file = f"{_OPTION}{printable(shorten(text))}"

    def origin(self, position: int) -> Origin:
        """Return the place at a position of the text."""
        excerpt = Excerpt(_OPTION + self._text, len(_OPTION) + position + 1)
        return Origin(self._file, excerpt=excerpt)

    def inside(self, start: int, place: Origin) -> Origin:
        """Return a place in the text of a value, which begins at `start`."""
        lines = self._text[start:].splitlines(keepends=True)
        before = sum(map(len, lines[: max(place.line - 1, 0)]))
        return self.origin(min(start + before + max(place.column - 1, 0), len(self._text)))

    def placed(self, node: Node, start: int) -> Node:
        """Return a value that knows where in the text it was written."""
        place = self.inside(start, node.origin)
        key = self.inside(start, node.key) if node.key else None
        match node.value:
            case dict() as entries:
                value = {name: self.placed(item, start) for name, item in entries.items()}
                return Node(value, place, key)
            case tuple() as items:
                return Node(tuple(self.placed(item, start) for item in items), place, key)
            case scalar:
                return Node(scalar, place, key)
