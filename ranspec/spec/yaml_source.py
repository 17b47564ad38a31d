"""YAML text to plain values that know where they were written.

The accepted language is YAML 1.2's core schema over one document: no tags beyond its scalars', no
merge keys, no repeated keys, nothing that grows without bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import yaml

from ranspec.errors import printable
from ranspec.spec.errors import (
    Excerpt,
    Origin,
    Problem,
    SpecError,
    did_you_mean,
    shorten,
    show,
)
from ranspec.spec.yaml_syntax import Syntax

MAX_BYTES = 1_000_000
MAX_NODES = 10_000
MAX_DEPTH = 50
MAX_DIGITS = 64

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_TAGGED = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_TAG_PREFIX = "tag:yaml.org,2002:"

Scalar = str | int | float | bool | None


class Unusable:
    """Stands for a value that was reported already, so that it is not reported again."""


UNUSABLE = Unusable()


@dataclass(frozen=True, slots=True)
class Node:
    """A value, where it was written, and where its key was."""

    value: Scalar | Unusable | dict[str, Node] | tuple[Node, ...]
    origin: Origin
    key: Origin | None = None
    size: int = 1
    height: int = 0

    @property
    def place(self) -> Origin:
        """Return what to point at: a scalar itself, or the key of a mapping or list."""
        return self.key if self.key and isinstance(self.value, dict | tuple) else self.origin

    def locate(self, path: tuple[str, ...], is_key: bool) -> Origin:
        """Return where the value at a path, or its key, was written, or the nearest around it."""
        found = self.descend(path)
        while found is None:
            path = path[:-1]
            is_key = False
            found = self.descend(path)
        return found.key if is_key and found.key else found.place

    def descend(self, path: tuple[str, ...]) -> Node | None:
        """Return the node at a path of keys and indices, if there is one."""
        node = self
        for key in path:
            match node.value:
                case dict() as entries if key in entries:
                    node = entries[key]
                case tuple() as items if key.isdecimal() and int(key) < len(items):
                    node = items[int(key)]
                case _:
                    return None
        return node

    def plain(self) -> Any:
        """Return the value alone, lists as tuples."""
        match self.value:
            case dict() as entries:
                return {key: node.plain() for key, node in entries.items()}
            case tuple() as items:
                return tuple(node.plain() for node in items)
            case value:
                return value


@lru_cache(maxsize=128)
def parse(data: bytes | str, file: str) -> tuple[Node, tuple[Problem, ...]]:
    """Read one document; return it with the problems that leave the rest of it usable.

    Raises SpecError where nothing can be made of the text.
    """
    text = _text(data, file)
    reader = _Reader(text, file)
    try:
        node = reader.document()
    except yaml.MarkedYAMLError as error:
        raise SpecError([reader.syntax().problem(error)]) from None
    except yaml.YAMLError as error:
        raise _refusal(Origin(file, 1, 1), f"not valid YAML: {shorten(str(error))}") from None
    return node, tuple(reader.problems)


def _refusal(origin: Origin, message: str) -> SpecError:
    return SpecError([Problem.at(origin, (), message)])


def _text(data: bytes | str, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise _refusal(Origin(file, 1, 1), f"larger than {MAX_BYTES:,} bytes")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        raise _refusal(_position(before, file), "not valid UTF-8") from None
    text = text.removeprefix("\ufeff")
    if forbidden := _FORBIDDEN.search(text):
        message = f"character U+{ord(forbidden[0]):04X} is not allowed"
        raise _refusal(_position(text[: forbidden.start()], file), message)
    return text


def _position(before: str, file: str) -> Origin:
    """Return the position just after the text `before`."""
    lines = (before + "|").splitlines()
    line, column = len(lines), len(lines[-1])
    return Origin(file, line, column, Excerpt(lines[-1][:-1], column))


class _Reader:
    """Builds nodes from parser events, which unlike PyYAML's composer never recurse unbounded."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._lines = text.splitlines()
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node | None] = {}
        self._size = 0
        self._opened: list[Any] = []
        self._last: Any = None

    def syntax(self) -> Syntax:
        """Tell how far the text was read."""
        return Syntax(self._lines, self.file, tuple(self._opened), self._last)

    def document(self) -> Node:
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, Origin(self.file, 1, 1))
        node = self._node(next(self._events), ())
        next(self._events)
        if not isinstance(event := next(self._events), yaml.StreamEndEvent):
            raise _refusal(self._origin(event), "a spec is one document; found a second")
        return node

    def _origin(self, event: Any) -> Origin:
        line, column = event.start_mark.line, event.start_mark.column + 1
        text = self._lines[line] if line < len(self._lines) else ""
        return Origin(self.file, line + 1, column, Excerpt(text, column))

    def _report(self, origin: Origin, path: tuple[str, ...], message: str) -> None:
        self.problems.append(Problem.at(origin, path, message))

    def _node(self, event: Any, path: tuple[str, ...]) -> Node:
        origin = self._origin(event)
        if len(path) > MAX_DEPTH:
            raise _refusal(origin, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event.anchor, origin, path)
        else:
            if event.anchor:
                self._anchors[event.anchor] = None
            node = self._value(event, origin, path)
            if event.anchor:
                self._anchors[event.anchor] = node
        self._size += node.size if isinstance(event, yaml.AliasEvent) else 1
        if self._size > MAX_NODES:
            raise _refusal(origin, f"more than {MAX_NODES:,} values")
        return node

    def _alias(self, anchor: str | None, origin: Origin, path: tuple[str, ...]) -> Node:
        if anchor is None or anchor not in self._anchors:
            near = did_you_mean(anchor or "", self._anchors)
            message = f"no anchor &{printable(shorten(str(anchor)))} comes before this alias"
            raise _refusal(origin, f"{message}{near or '; put other text in quotes'}")
        node = self._anchors[anchor]
        if node is None:
            raise _refusal(origin, f"alias {show(anchor)} contains itself")
        if len(path) + node.height > MAX_DEPTH:
            raise _refusal(origin, f"nested deeper than {MAX_DEPTH} levels")
        return replace(node, origin=origin, key=None)

    def _value(self, event: Any, origin: Origin, path: tuple[str, ...]) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            self._last = event
            return Node(self._scalar(event, origin, path), origin)
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, _TAG_PREFIX + kind):
            self._report(origin, path, f"tag {show(event.tag)} is not allowed")
        if event.flow_style:
            self._opened.append(event)
        node = self._mapping(origin, path) if kind == "map" else self._list(origin, path)
        if event.flow_style:
            self._opened.pop()
        return node

    def _list(self, origin: Origin, path: tuple[str, ...]) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, str(len(items)))))
        return _collection(tuple(items), items, origin)

    def _mapping(self, origin: Origin, path: tuple[str, ...]) -> Node:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_node = self._node(event, (*path, "?"))
            key, key_origin = key_node.value, key_node.origin
            plain_merge = key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            name = key if isinstance(key, str) else "?"
            node = self._node(next(self._events), (*path, name))
            if plain_merge:
                message = "merge keys are not supported; use extends, or an alias as a value"
                self._report(key_origin, path, message)
            elif not isinstance(key, str):
                if not isinstance(key, Unusable):
                    found = show(key_node.plain())
                    self._report(key_origin, path, f"found {found} as a key, expected a name")
            elif key in entries:
                first = entries[key].key or entries[key].origin
                message = f"duplicate key; it was given at line {first.line} already"
                self._report(key_origin, (*path, key), message)
            else:
                entries[key] = replace(node, key=key_origin)
        return _collection(entries, list(entries.values()), origin)

    def _scalar(self, event: Any, origin: Origin, path: tuple[str, ...]) -> Scalar | Unusable:
        tag = event.tag.removeprefix(_TAG_PREFIX) if event.tag else None
        if tag is not None and (tag == event.tag or tag not in _TAGGED):
            self._report(origin, path, f"tag {show(event.tag)} is not allowed")
            return UNUSABLE
        if tag == "str" or (tag is None and not event.implicit[0]):
            return str(event.value)
        try:
            value = resolve(event.value)
        except ValueError as error:
            self._report(origin, path, str(error))
            return UNUSABLE
        if tag is not None and type(value) not in _TAGGED[tag]:
            self._report(origin, path, f"found {show(event.value)}, which is not a YAML {tag}")
            return UNUSABLE
        return value


def _collection(
    value: dict[str, Node] | tuple[Node, ...], parts: list[Node], origin: Origin
) -> Node:
    size = 1 + sum(part.size for part in parts)
    height = 1 + max((part.height for part in parts), default=0)
    return Node(value, origin, None, size, height)


def resolve(text: str) -> Scalar:
    """Read a plain scalar as YAML 1.2's core schema does; raise ValueError if not finite."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"found {text}, expected a finite number")
    integer = _INTEGER.fullmatch(text)
    if not integer and not _FLOAT.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise ValueError(f"found a number of {len(text)} characters; {MAX_DIGITS} are enough")
    if integer:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"found {text}, expected a finite number")
    return value
