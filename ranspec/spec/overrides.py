"""`--set key.path=value`: one value changed from outside the files."""

from __future__ import annotations

from ranspec.spec.errors import Origin, Problem, SpecError, printable, shorten
from ranspec.spec.yaml_source import MAX_DEPTH, Node, parse


def parse_override(text: str) -> Node:
    """Read `key.path=value` as the mapping that holds this one value.

    Raises SpecError for text of another form or a value that is not YAML.
    """
    origin = Origin(f"--set {printable(shorten(text))}")
    key, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        raise SpecError([Problem.at(origin, (), "expected key.path=value")])
    try:
        node, problems = parse(value, origin.file)
    except SpecError as error:
        problems = error.problems
    if problems:
        raise SpecError(Problem.at(origin, keys, problem.message) for problem in problems)
    node = _placed(node, origin)
    for name in reversed(keys):
        node = Node({name: node}, origin, origin)
    return node


def _placed(node: Node, origin: Origin) -> Node:
    """Return the node as if all of it was written at `origin`."""
    match node.value:
        case dict() as entries:
            return Node(
                {key: _placed(item, origin) for key, item in entries.items()}, origin, origin
            )
        case tuple() as items:
            return Node(tuple(_placed(item, origin) for item in items), origin, origin)
        case value:
            return Node(value, origin, origin)
