"""Receptive fields: how much of the image a value of a feature map can depend on.

Every value is followed by the size of its window on the image and by how far the windows of
neighbours lie apart. Where maps are added or joined the larger window counts. Windows are not cut
at the image's edges: one larger than the image says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from ranspec.ir.graph import Graph
from ranspec.ir.operation import Operation, Sizes
from ranspec.ir.operations import (
    AveragePool,
    Convolution,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Multiply,
    Resize,
    SpatialNormalize,
    Subsample,
)
from ranspec.ir.trace import BlockNode, Trace

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Field:
    """The window of a value on the image and the stride of the map, (vertical, horizontal)."""

    size: Pair
    stride: Pair

    def reading(self, neighbours: Pair, step: int = 1) -> Field:
        """Return the field of values that read so many neighbours, at every `step`-th place."""
        (height, width), (down, right) = self.size, self.stride
        size = height + neighbours[0] * down, width + neighbours[1] * right
        return Field(size, (down * step, right * step))

    def joined(self, other: Field) -> Field:
        """Return the field of values that read both maps."""
        height, width = (max(pair) for pair in zip(self.size, other.size, strict=True))
        down, right = (max(pair) for pair in zip(self.stride, other.stride, strict=True))
        return Field((height, width), (down, right))


@dataclass(frozen=True, slots=True)
class StageField:
    """The receptive field at the end of a stage's trunk, and the largest of its masks."""

    path: str
    trunk: Field
    mask: Field | None


def receptive_fields(graph: Graph) -> tuple[StageField, ...]:
    """Return the receptive fields of every stage of a network.

    Of maps that are multiplied the last is the trunk and the others are masks.
    """
    values = {0: Field((1, 1), (1, 1))}
    stages = []
    for node in graph.root.nodes:
        inputs = [values[index] for index in node.inputs]
        masks: list[Field] = []
        if isinstance(node, BlockNode):
            values[node.output] = _follow_instances(node, inputs, masks)
            mask = reduce(Field.joined, masks) if masks else None
            stages.append(StageField(node.name, values[node.output], mask))
        else:
            sizes = [graph.root.sizes[index] for index in node.inputs]
            values[node.output] = _apply(node.operation, inputs, sizes, masks)
    return tuple(stages)


def _follow(trace: Trace, inputs: Sequence[Field], masks: list[Field]) -> Field:
    """Return the field of a block's output; append those of the masks inside it."""
    values = dict(enumerate(inputs))
    for node in trace.nodes:
        fields = [values[index] for index in node.inputs]
        if isinstance(node, BlockNode):
            values[node.output] = _follow_instances(node, fields, masks)
        else:
            sizes = [trace.sizes[index] for index in node.inputs]
            values[node.output] = _apply(node.operation, fields, sizes, masks)
    return values[trace.output]


def _follow_instances(node: BlockNode, fields: Sequence[Field], masks: list[Field]) -> Field:
    for instance in node.instances:
        fields = [_follow(instance.trace, fields, masks)]
    return fields[0]


def _apply(
    operation: Operation, fields: Sequence[Field], sizes: Sequence[Sizes], masks: list[Field]
) -> Field:
    first = fields[0]
    match operation:
        case Convolution(kernel=(height, width), stride=stride):
            return first.reading((height - 1, width - 1), stride.value)
        case MaxPool() | AveragePool():
            neighbours = operation.kernel - 1
            return first.reading((neighbours, neighbours), operation.stride)
        case Subsample(stride=stride):
            return first.reading((0, 0), stride.value)
        case Resize():
            neighbours = 0 if operation.interpolation == "nearest" else 1
            return Field(first.reading((neighbours, neighbours)).size, fields[1].stride)
        case GlobalAveragePool() | SpatialNormalize() | Flatten():
            height, width = sizes[0][:2]
            return first.reading((height - 1, width - 1))
        case Multiply():
            masks.extend(fields[:-1])
            return fields[-1]
        case _:
            return reduce(Field.joined, fields)
