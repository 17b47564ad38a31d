"""The classes of a network: traces of one structure, with what all of them agree on made constant.

A block that takes `reduction` as a setting is one class whatever the reduction; where every
instance of a network has the same one, the class has it too, and no constructor argument for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields

from ranspec.ir.dimension import Constant, Dimension, arguments_of
from ranspec.ir.operation import Operation
from ranspec.ir.trace import Node, OperationNode, Trace, rewritten

Constants = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Definition:
    """A class of the generated code: all traces that have one structure."""

    class_name: str
    trace: Trace
    """One of those traces; its expressions hold for all of them."""
    arguments: tuple[str, ...]
    """The constructor arguments that the class's operations depend on."""


def define(traces: Iterable[Trace]) -> dict[Trace, Definition]:
    """Return the class of every trace; they come children before parents."""
    traces = tuple(traces)
    members: dict[Definition, list[Trace]] = {}
    for trace, definition in _group(traces, {}).items():
        members.setdefault(definition, []).append(trace)
    constants = {
        trace: agreed
        for definition, alike in members.items()
        if (agreed := _agreed(definition, alike))
        for trace in alike
    }
    return _group(traces, constants)


def structure_of(operation: Operation) -> Hashable:
    """Return an operation's class and attributes, dimensions by their expressions."""
    attributes = (getattr(operation, item.name) for item in fields(operation))
    return type(operation), tuple(
        value.expression if isinstance(value, Dimension) else value for value in attributes
    )


def _agreed(definition: Definition, alike: list[Trace]) -> Constants:
    """Return the settings that have one value in all traces of a class."""
    first, *others = alike
    return {
        name: first.arguments[name]
        for name in definition.arguments
        if name in first.settings
        and all(other.arguments[name] == first.arguments[name] for other in others)
    }


def _group(
    traces: tuple[Trace, ...], constants: Mapping[Trace, Constants]
) -> dict[Trace, Definition]:
    groups: dict[Hashable, Definition] = {}
    taken = {trace.class_name for trace in traces}
    named: set[str] = set()
    result: dict[Trace, Definition] = {}
    for trace in traces:
        values = {name: Constant(value) for name, value in constants.get(trace, {}).items()}
        nodes = [rewritten(node, values) for node in trace.nodes] if values else trace.nodes
        key = _structure(trace, nodes, result)
        if key not in groups:
            name = trace.class_name
            if name in named:
                apart = f"{name}Variant" if name[-1].isdigit() else name
                numbered = (f"{apart}{count}" for count in itertools.count(2))
                name = next(free for free in numbered if free not in taken)
                taken.add(name)
            named.add(name)
            general = trace.with_nodes(nodes) if values else trace
            groups[key] = Definition(name, general, _used(trace, nodes, result))
        result[trace] = groups[key]
    return result


def _structure(
    trace: Trace, nodes: Iterable[Node], definitions: Mapping[Trace, Definition]
) -> Hashable:
    parts: list[Hashable] = []
    for node in nodes:
        if isinstance(node, OperationNode):
            operation = structure_of(node.operation)
            parts.append((node.name, node.inputs, operation, node.variable, node.again))
            continue
        instances = []
        for instance in node.instances:
            definition = definitions[instance.trace]
            numbers = tuple(instance.arguments[name].expression for name in definition.arguments)
            instances.append((id(definition), numbers))
        parts.append((node.name, node.inputs, tuple(instances), node.variable, node.again))
    return trace.class_name, trace.description, trace.inputs, tuple(parts), trace.output


def _used(
    trace: Trace, nodes: Iterable[Node], definitions: Mapping[Trace, Definition]
) -> tuple[str, ...]:
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, OperationNode):
            attributes = (getattr(node.operation, item.name) for item in fields(node.operation))
            numbers = [value for value in attributes if isinstance(value, Dimension)]
        else:
            numbers = [
                instance.arguments[name]
                for instance in node.instances
                for name in definitions[instance.trace].arguments
            ]
        for number in numbers:
            used.update(arguments_of(number.expression))
    return tuple(name for name in trace.arguments if name in used)
