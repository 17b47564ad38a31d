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
from ranspec.ir.operation import Operation, Pair, Sizes, chosen
from ranspec.ir.trace import BlockNode, Trace


@dataclass(frozen=True, slots=True)
class Field:
    """The window of a value on the image and the stride of the map, (vertical, horizontal)."""

    size: Pair
    stride: Pair

    def window(self, neighbours: Pair) -> Pair:
        """Return the window of values that read so many neighbours."""
        (height, width), (down, right) = self.size, self.stride
        return height + neighbours[0] * down, width + neighbours[1] * right

    def spacing(self, step: Pair) -> Pair:
        """Return the stride of a map that has every `step`-th position."""
        return self.stride[0] * step[0], self.stride[1] * step[1]

    def joined(self, other: Field) -> Field:
        """Return the field of values that read both maps."""
        return Field(_larger(self.size, other.size), _larger(self.stride, other.stride))


@dataclass(frozen=True, slots=True)
class StageField:
    """The receptive field at the end of a stage's trunk, and the largest of its masks."""

    path: str
    trunk: Field
    mask: Field | None


def receptive_fields(graph: Graph) -> tuple[StageField, ...]:
    """Return the receptive fields of every stage of a network."""
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
    """Return the field of what an operation computes, masks apart."""
    masks.extend(chosen(operation.mask, fields))
    told_apart = chosen(operation.mask, range(len(fields)))
    sizes_read, strides = [], []
    for position, (field, reach) in enumerate(zip(fields, operation.reach(sizes), strict=True)):
        if reach.neighbours is not None and position not in told_apart:
            sizes_read.append(field.window(reach.neighbours))
        if reach.step is not None:
            strides.append(field.spacing(reach.step))
    return Field(reduce(_larger, sizes_read), reduce(_larger, strides))


def _larger(left: Pair, right: Pair) -> Pair:
    return max(left[0], right[0]), max(left[1], right[1])
