"""What each layer of a network computes and moves, from the IR alone.

Traffic is counted in values, for each image and for each step. Without fusion every operation reads
its inputs from memory and writes its output there; backward it reads the gradient and what it
keeps, and writes the gradients of its inputs. With fusion a run of element-wise operations is one
pass over memory: what one hands to the next stays on the chip, and is computed again by the
backward pass. A batch norm needs the statistics of its whole input first, and so begins a pass;
with fusion they are taken while an element-wise operation writes that input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from ranspec.ir import operations as ops
from ranspec.ir.graph import Graph, Layer
from ranspec.ir.operation import OWN_POSITION, Operation, Positionwise, chosen
from ranspec.ir.trace import OperationNode, Trace

IMAGES = 0
"""The number of the value that a network is given; it needs no gradient."""


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations for each image, values moved for each image and for each step."""

    flops: int = 0
    values: int = 0
    parameters: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops,
            self.values + other.values,
            self.parameters + other.parameters,
        )


@dataclass(frozen=True, slots=True)
class LayerWork:
    """A layer's work in both directions; two are equal that do the same at different places."""

    path: str = field(compare=False)
    kind: str
    """What its speed is known by: see `kind_of`."""
    channels: int | None
    """Of what multiplies by weights, the fewer of those that a group reads and writes."""
    size: int
    """Values of an image in its largest input or output."""
    forward: Work
    backward: Work
    starts: bool
    """Whether it is started by itself: not where it is part of a pass that another began."""

    def extent(self, images: float) -> float:
        """Return what its slowness depends on: its channels, else its values of all images."""
        return self.size * images if self.channels is None else self.channels


@lru_cache(maxsize=8)
def network_work(graph: Graph, *, fused: bool) -> tuple[LayerWork, ...]:
    """Return the work of every layer, in the order of execution."""
    flow = _flow(graph, fused)
    return tuple(_layer_work(item, flow) for item in flow.items)


def kind_of(operation: Operation) -> str:
    """Return what an operation's speed is known by: its label, and what makes much of a difference.

    1x1 convolutions are products of matrices, grouped ones many small products.
    """
    match operation:
        case ops.Convolution(groups=groups) if int(groups) > 1:
            return f"grouped {operation.label}"
        case ops.Convolution(kernel=(1, 1)):
            return f"pointwise {operation.label}"
        case ops.Resize(interpolation="nearest"):
            return f"nearest {operation.label}"
        case _:
            return operation.label


def begins_pass(layer: Layer) -> bool:
    """Tell whether a layer's inputs must be in memory before it begins.

    All must that depend on more than one position of them: only element-wise operations that take
    no statistics go on with what another has just computed.
    """
    operation = layer.operation
    reaches = operation.reach(layer.inputs)
    return (
        not isinstance(operation, Positionwise)
        or takes_statistics(operation)
        or any(reach != OWN_POSITION for reach in reaches)
    )


def takes_statistics(operation: Operation) -> bool:
    """Tell whether an operation needs sums over the whole batch before it writes anything."""
    return any(not spec.trainable for spec in operation.parameters().values())


@dataclass(frozen=True, eq=False)
class _Item:
    """A layer, and the numbers of the values that it reads and writes, unique in the network."""

    layer: Layer
    inputs: tuple[int, ...]
    output: int
    passes: int
    """How many passes over memory must come before what it belongs to."""

    @property
    def operation(self) -> Operation:
        return self.layer.operation

    @property
    def elementwise(self) -> bool:
        return isinstance(self.operation, Positionwise)

    @property
    def sizes(self) -> list[int]:
        return [prod(shape) for shape in self.layer.inputs]

    @property
    def uses(self) -> list[bool]:
        """Whether the values of each input are used, not its size alone."""
        return [reach.neighbours is not None for reach in self.operation.reach(self.layer.inputs)]

    @property
    def is_view(self) -> bool:
        """Whether it only gives values another shape, which moves nothing."""
        moves = self.elementwise or self.operation.flops(self.layer.inputs, self.layer.output)
        return not moves and self.sizes == [prod(self.layer.output)]


@dataclass(frozen=True, eq=False)
class _Flow:
    """All layers with who makes and who reads each value."""

    items: Sequence[_Item]
    makers: Mapping[int, _Item]
    readers: Mapping[int, Sequence[_Item]]
    fused: bool

    def hands_on(self, value: int, reader: _Item) -> bool:
        """Tell whether a value reaches a reader within one pass over memory."""
        maker = self.makers.get(value)
        if maker is None or not self.fused:
            return False
        return maker.elementwise and reader.elementwise and maker.passes == reader.passes

    def from_memory(self, item: _Item) -> list[int]:
        """Return how many values an item reads of each input."""
        return [
            0 if self.hands_on(value, item) or not used else size
            for value, size, used in zip(item.inputs, item.sizes, item.uses, strict=True)
        ]

    def in_memory(self, value: int) -> int:
        """Count who needs a value in memory; of a network's output that is its loss."""
        readers = self.readers.get(value)
        return sum(not self.hands_on(value, item) for item in readers) if readers else 1


def _flow(graph: Graph, fused: bool) -> _Flow:
    layers = iter(graph.layers)
    items: list[_Item] = []

    def follow(trace: Trace, inputs: Sequence[int]) -> int:
        """Number the values of a block, and return that of its result."""
        numbers = dict(enumerate(inputs))
        for node in trace.nodes:
            given = [numbers[index] for index in node.inputs]
            if isinstance(node, OperationNode):
                layer = next(layers)
                before = max(items[value - 1].passes if value else 0 for value in given)
                passes = before + begins_pass(layer)
                items.append(_Item(layer, tuple(given), len(items) + 1, passes))
                numbers[node.output] = len(items)
                continue
            for instance in node.instances:
                given = [follow(instance.trace, given)]
            numbers[node.output] = given[0]
        return numbers[trace.output]

    follow(graph.root, [IMAGES])
    readers: dict[int, list[_Item]] = {}
    for item in items:
        for value, used in zip(item.inputs, item.uses, strict=True):
            if used:
                readers.setdefault(value, []).append(item)
    return _Flow(items, {item.output: item for item in items}, readers, fused)


def _layer_work(item: _Item, flow: _Flow) -> LayerWork:
    layer, operation = item.layer, item.operation
    channels = None
    if operation.counts_in_depth:
        groups = int(getattr(operation, "groups", 1))
        channels = max(1, min(layer.inputs[0][-1], layer.output[-1]) // groups)
    known = layer.path, kind_of(operation), channels, max(*item.sizes, prod(layer.output))
    if item.is_view:
        return LayerWork(*known, Work(), Work(), starts=False)
    starts = not any(flow.hands_on(value, item) for value in item.inputs)
    return LayerWork(*known, _forward(item, flow), _backward(item, flow), starts)


def _forward(item: _Item, flow: _Flow) -> Work:
    read = sum(flow.from_memory(item))
    written = prod(item.layer.output) if flow.in_memory(item.output) else 0
    flops = item.operation.flops(item.layer.inputs, item.layer.output)
    return Work(flops, read + _statistics(item, flow) + written, _owned(item.operation))


def _statistics(item: _Item, flow: _Flow) -> int:
    """Return how many values are read to take the statistics of a batch."""
    maker = flow.makers.get(item.inputs[0])
    along = flow.fused and maker is not None and maker.elementwise
    return item.sizes[0] if takes_statistics(item.operation) and not along else 0


def _backward(item: _Item, flow: _Flow) -> Work:
    operation, output = item.operation, prod(item.layer.output)
    flops, owned = operation.flops(item.layer.inputs, item.layer.output), _owned(operation)
    read = flow.from_memory(item)
    written = sum(size for value, size in zip(item.inputs, read, strict=True) if value != IMAGES)
    gradients, sums = flow.in_memory(item.output), 0
    if not (flow.fused and item.elementwise):
        # The gradients that several readers give are added up first, two at a time.
        gradients, sums = min(gradients, 1), 3 * output * max(gradients - 1, 0)
    if operation.counts_in_depth:
        products = 1 + (IMAGES not in item.inputs)
        values = products * output + sum(item.sizes) + written + sums
        return Work(products * flops, values, products * owned)
    keeps = operation.keeps
    if item.elementwise and not keeps.inputs and not keeps.output:
        return Work(values=sums)  # The gradient is handed on as it is.
    kept = sum(chosen(keeps.inputs, read)) + (output if keeps.output and all(read) else 0)
    passes = 2 if takes_statistics(item.operation) else 1
    gradients += passes - 1
    return Work(flops, gradients * output + passes * kept + written + sums, owned)


def _owned(operation: Operation) -> int:
    arrays = operation.parameters().values()
    return sum(prod(int(size) for size in spec.shape) for spec in arrays)
