"""The compiled network: a tree of block calls over primitive operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ranspec.ir.definitions import Definition, define
from ranspec.ir.operation import Operation, ParameterSpec, Sizes
from ranspec.ir.trace import BlockNode, Node, Trace


@dataclass(frozen=True, eq=False)
class Layer:
    """An operation at its place in the network."""

    path: str
    operation: Operation
    inputs: tuple[Sizes, ...]
    output: Sizes
    owner: str
    """The path under which its arrays are known: another than its own where they are used again."""

    @property
    def parameters(self) -> Mapping[str, ParameterSpec]:
        """The arrays that it owns, by their canonical names."""
        if self.owner != self.path:
            return {}
        owned = self.operation.parameters()
        return {f"{self.path}.{leaf}": spec for leaf, spec in owned.items()}


@dataclass(frozen=True)
class Tensor:
    """An array of the network under its canonical name and layout."""

    shape: Sizes
    spec: ParameterSpec
    """What the operation says of it: its initial value, its axes, whether it is trained, decays."""

    @property
    def trainable(self) -> bool:
        return self.spec.trainable


@dataclass(frozen=True, slots=True)
class Paper:
    """Figures that a source prints of a network."""

    parameters: float | None
    macs: float | None
    macs_input: tuple[int, ...]
    """Height and width of the images for which `macs` is printed."""
    source: str
    comment: str | None


@dataclass(frozen=True, eq=False)
class Graph:
    """A network with all shapes inferred."""

    name: str
    root: Trace
    paper: Paper | None = None
    """What the source of the network prints of it."""

    def __repr__(self) -> str:
        size = "x".join(map(str, self.input))
        parts = f"{len(self.layers):,} layers, {len(self.definitions)} classes"
        return f"<Graph {self.name}: {parts}, input {size}>"

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
        return define(unique_traces(self.root))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every operation in the order of execution."""
        return tuple(_layers(self.root, "", ""))

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every array of the network by canonical name, in the order of the layers."""
        return {
            name: Tensor(tuple(size.value for size in spec.shape), spec)
            for layer in self.layers
            for name, spec in layer.parameters.items()
        }


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a block is with all that it calls."""

    layers: int = 0
    parameters: int = 0
    """Numbers in all its arrays."""

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.layers + other.layers, self.parameters + other.parameters)


def extent(root: Trace) -> Extent:
    """Return a block's extent without listing its layers."""
    return _extents(root)[root]


def extents(root: Trace) -> dict[str, Extent]:
    """Return the extent of each of a block's own blocks, by name."""
    known = _extents(root)
    return {node.name: _extent(node, known) for node in root.nodes if isinstance(node, BlockNode)}


def _extents(root: Trace) -> dict[Trace, Extent]:
    known: dict[Trace, Extent] = {}
    for trace in unique_traces(root):
        known[trace] = sum((_extent(node, known) for node in trace.nodes), Extent())
    return known


def _extent(node: Node, known: Mapping[Trace, Extent]) -> Extent:
    if isinstance(node, BlockNode):
        return sum((known[instance.trace] for instance in node.instances), Extent())
    arrays = node.operation.parameters().values()
    return Extent(1, sum(prod(size.value for size in spec.shape) for spec in arrays))


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


def _layers(trace: Trace, prefix: str, owner: str) -> Iterator[Layer]:
    for node in trace.nodes:
        if isinstance(node, BlockNode):
            owners = (path for path, _ in node.owners())
            for (path, instance), owning in zip(node.children(), owners, strict=True):
                yield from _layers(instance.trace, f"{prefix}{path}.", f"{owner}{owning}.")
        else:
            inputs = tuple(trace.sizes[index] for index in node.inputs)
            output = trace.sizes[node.output]
            path = f"{prefix}{node.name}"
            yield Layer(path, node.operation, inputs, output, f"{owner}{node.layer}")
