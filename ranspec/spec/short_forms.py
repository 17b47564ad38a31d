"""What may be written shorter: `optimizer: adam`, `learning_rate: 0.05`, `iterations: 1e5`."""

from __future__ import annotations

from dataclasses import replace

from ranspec.spec.language import ROOT, Place
from ranspec.spec.yaml_source import Node

MOST_EXACT = 2**53
"""Whole numbers up to here are exact as floating-point numbers."""


def in_full(node: Node, place: Place | None = ROOT) -> Node:
    """Return a value with its short forms written in full, each where it was written.

    A bare name stands for a mapping of that kind, a bare number for the keys that the models name,
    and a number such as 1e5 or 2.0 is a whole number where one is expected.
    """
    if place is None:
        return node
    match node.value:
        case dict() as entries:
            given = {key: item.value for key, item in entries.items()}
            full = {key: in_full(item, place.inside(key, given)) for key, item in entries.items()}
            return replace(node, value=full)
        case tuple() as items:
            inner = (place.inside(str(index), items) for index in range(len(items)))
            return replace(node, value=tuple(map(in_full, items, inner)))
        case bool():
            return node
        case str() if place.kinds():
            return replace(node, value={"kind": replace(node, key=None)})
        case int() | float() if place.number_keys:
            mapping = {key: replace(node, key=None) for key in place.number_keys}
            return in_full(replace(node, value=mapping), place)
        case float() as number if place.is_whole and abs(number) < MOST_EXACT:
            return replace(node, value=int(number)) if number.is_integer() else node
        case _:
            return node
