"""The compiled network: a tree of block calls over primitive operations."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from ranspec.ir.dimension import Dimension, arguments_of
from ranspec.ir.operation import Operation, ParameterSpec, Sizes
from ranspec.ir.trace import BlockNode, OperationNode, Trace


@dataclass(frozen=True, eq=False)
class Layer:
    """An operation at its place in the network."""

    path: str
    operation: Operation
    inputs: tuple[Sizes, ...]
    output: Sizes


@dataclass(frozen=True)
class Tensor:
    """An array of the network under its canonical name and layout."""

    shape: Sizes
    spec: ParameterSpec
    """What the operation says of it: its initial value, its axes, whether it is trained, decays."""

    @property
    def trainable(self) -> bool:
        return self.spec.trainable


@dataclass(frozen=True, eq=False)
class Definition:
    """A class of the generated code: all traces that have one structure."""

    class_name: str
    trace: Trace
    """One of those traces; its expressions hold for all of them."""
    arguments: tuple[str, ...]
    """The constructor arguments that the class's operations depend on."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network with all shapes inferred."""

    name: str
    root: Trace

    @property
    def input(self) -> Sizes:
        """(height, width, channels) of the images."""
        return self.root.sizes[0]

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """The distinct classes, children before parents, the network itself last."""
        return tuple(dict.fromkeys(self.definition_of.values()))

    @cached_property
    def definition_of(self) -> Mapping[Trace, Definition]:
        """The class of every distinct trace."""
        return _group(self.root)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every operation in the order of execution."""
        return tuple(_layers(self.root, ""))

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every array of the network by canonical name, in the order of the layers."""
        return {
            f"{layer.path}.{name}": Tensor(tuple(size.value for size in spec.shape), spec)
            for layer in self.layers
            for name, spec in layer.operation.parameters().items()
        }


def structure_of(operation: Operation) -> Hashable:
    """Return an operation's class and attributes, dimensions by their expressions."""
    attributes = (getattr(operation, item.name) for item in fields(operation))
    return type(operation), tuple(
        value.expression if isinstance(value, Dimension) else value for value in attributes
    )


def unique_traces(root: Trace) -> tuple[Trace, ...]:
    """Return the distinct traces below and including `root`, children before parents."""
    found: dict[Trace, None] = {}

    def visit(trace: Trace) -> None:
        if trace in found:
            return
        for node in trace.nodes:
            if isinstance(node, BlockNode):
                for instance in node.instances:
                    visit(instance.trace)
        found[trace] = None

    visit(root)
    return tuple(found)


def _layers(trace: Trace, prefix: str) -> Iterator[Layer]:
    for node in trace.nodes:
        if isinstance(node, BlockNode):
            for path, instance in node.children():
                yield from _layers(instance.trace, f"{prefix}{path}.")
        else:
            inputs = tuple(trace.sizes[index] for index in node.inputs)
            path = f"{prefix}{node.name}"
            yield Layer(path, node.operation, inputs, trace.sizes[node.output])


def _group(root: Trace) -> dict[Trace, Definition]:
    groups: dict[Hashable, Definition] = {}
    names: dict[str, int] = {}
    result: dict[Trace, Definition] = {}
    for trace in unique_traces(root):
        key = _structure(trace, result)
        if key not in groups:
            names[trace.class_name] = count = names.get(trace.class_name, 0) + 1
            name = trace.class_name if count == 1 else f"{trace.class_name}{count}"
            groups[key] = Definition(name, trace, _used(trace, result))
        result[trace] = groups[key]
    return result


def _structure(trace: Trace, definitions: Mapping[Trace, Definition]) -> Hashable:
    nodes: list[Hashable] = []
    for node in trace.nodes:
        if isinstance(node, OperationNode):
            nodes.append((node.name, node.inputs, structure_of(node.operation), node.variable))
            continue
        instances = []
        for instance in node.instances:
            definition = definitions[instance.trace]
            numbers = tuple(instance.arguments[name].expression for name in definition.arguments)
            instances.append((id(definition), numbers))
        nodes.append((node.name, node.inputs, tuple(instances), node.variable))
    return trace.class_name, trace.description, trace.inputs, tuple(nodes), trace.output


def _used(trace: Trace, definitions: Mapping[Trace, Definition]) -> tuple[str, ...]:
    used: set[str] = set()
    for node in trace.nodes:
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
