"""`alternatives`: the values that a source leaves open, and specs with other values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

from ranspec.spec.errors import Origin, Problem, SpecError, did_you_mean, show
from ranspec.spec.families import STAGE_PARTS, inherit, merge
from ranspec.spec.model import Spec
from ranspec.spec.overrides import parse_override
from ranspec.spec.short_forms import in_full
from ranspec.spec.validation import validate
from ranspec.spec.yaml_source import Node

NETWORK_KEYS = ("input", "classes", "stem", "unit", "attention", "stages", "head", "padding")
"""The keys of a spec that decide its network's size and cost."""

_CHANGED = Origin("alternatives")

_REFERENCE = re.compile(r"=\s*(?:(\d{1,3})\s*\*\s*)?([\w.]+)\s*(?:([+-])\s*(\d{1,3}))?")


@dataclass(frozen=True)
class Readings:
    """The specs that differ from one in some of its values.

    Where a stage's own unit or attention says the same as the network's, it follows the network's.
    """

    spec: Spec

    @cached_property
    def _plain(self) -> dict[str, Any]:
        return self.spec.model_dump()

    @cached_property
    def _node(self) -> Node:
        stages = {
            name: {
                key: _apart(value, self._plain[key]) if key in STAGE_PARTS else value
                for key, value in stage.items()
            }
            for name, stage in self._plain["stages"].items()
        }
        return _node({**self._plain, "stages": stages})

    def value(self, key: str) -> Any:
        """Return the spec's own value at a dotted key; None where there is nothing."""
        value: Any = self._plain
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def read(self, changes: Mapping[str, Any]) -> Spec:
        """Return the spec with other values at some keys; raise SpecError if it is none.

        A value `=KEY`, `=2*KEY` or `=KEY+1` is that of another key.
        """
        overrides = (
            _override(key, self._value(value, changes))
            for key, value in changes.items()
            if referred(value) != key
        )
        node = inherit(reduce(merge, overrides, self._node))
        return validate(node.plain(), lambda path, is_key: _CHANGED)

    def _value(self, value: Any, changes: Mapping[str, Any]) -> Any:
        """Return what a value refers to, which is no reference itself."""
        other = referred(value)
        if other is None:
            return value
        found = changes.get(other, self.value(other))
        if referred(found) == other:
            found = self.value(other)
        matched = _REFERENCE.fullmatch(value)
        if isinstance(found, bool) or not isinstance(found, int) or not matched:
            raise SpecError([Problem.at(_CHANGED, (), f"{value!r}: {other} is {show(found)}")])
        factor, _, sign, number = matched.groups(default="")
        return int(factor or 1) * found + int(f"{sign}{number or 0}")

    def problem(self, key: str, value: Any) -> str | None:
        """Say what is wrong with a value at a dotted key, if anything is."""
        first, *rest = key.split(".")
        if first not in NETWORK_KEYS:
            near = did_you_mean(first, NETWORK_KEYS)
            return f"{first!r} is no key of the network{near}"
        if first == "stages" and rest and rest[0] not in self.spec.stages:
            return f"unknown stage{did_you_mean(rest[0], self.spec.stages)}"
        try:
            self.read({key: value})
        except SpecError as error:
            return "; ".join(_relative(problem, key) for problem in error.problems)
        return None


def referred(value: Any) -> str | None:
    """Return the key that a value `=KEY` refers to; None for a value that stands for itself."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found and found[2]


def parse_alternative(text: str) -> tuple[str, tuple[Any, ...]]:
    """Read `key.path=[value, ...]`; raise SpecError for other text."""
    key, _, _ = text.partition("=")
    key = ".".join(part.strip() for part in key.split("."))
    value = parse_override(text).plain()
    for name in key.split("."):
        value = value[name]
    if not isinstance(value, tuple) or not value:
        problem = Problem.at(_CHANGED, (key,), f"found {show(value)}, expected a list of values")
        raise SpecError([problem])
    return key, value


def checked_alternatives(
    spec: Spec, locate: Callable[[str, int], Origin], strict: Callable[[str], bool]
) -> tuple[Spec, tuple[Problem, ...]]:
    """Return the spec with the alternatives that apply to it, and what is wrong with the others.

    Those that need not hold (`strict`) are left out silently where they do not: a spec inherits
    them from another, of which it may change the part they are about.
    """
    if not spec.alternatives:
        return spec, ()
    readings = Readings(spec)
    kept: dict[str, tuple[Any, ...]] = {}
    problems: list[Problem] = []
    for key, values in spec.alternatives.items():
        found = {
            index: message
            for index, value in enumerate(values)
            if (message := readings.problem(key, value))
        }
        if strict(key):
            problems += (
                Problem.at(locate(key, index), ("alternatives", key), message)
                for index, message in found.items()
            )
        elif usable := tuple(value for index, value in enumerate(values) if index not in found):
            kept[key] = usable
            continue
        if not found:
            kept[key] = values
    return spec.model_copy(update={"alternatives": kept}), tuple(problems)


def _relative(problem: Problem, key: str) -> str:
    return problem.message if problem.key in (key, "") else f"{problem.key}: {problem.message}"


def _override(key: str, value: Any) -> Node:
    node = _node(value)
    for name in reversed(key.split(".")):
        node = Node({name: node}, _CHANGED, _CHANGED)
    return in_full(node)


def _apart(own: Any, network: Any) -> Any:
    """Return what a stage's part says other than the network's."""
    if not isinstance(own, dict) or own.get("kind") != network.get("kind"):
        return own
    return {
        key: _apart(value, network[key]) if isinstance(value, dict) else value
        for key, value in own.items()
        if value != network[key]
    }


def _node(value: Any) -> Node:
    match value:
        case dict():
            entries = {key: _node(item) for key, item in value.items()}
            return Node(entries, _CHANGED, _CHANGED)
        case tuple() | list():
            return Node(tuple(map(_node, value)), _CHANGED, _CHANGED)
        case _:
            return Node(value, _CHANGED, _CHANGED)
