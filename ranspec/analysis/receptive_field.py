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


@dataclass(frozen=True, slots=True)
class MaskField:
    """The receptive fields of a trunk and of the mask that weights it.

    `path` is the layer that does so, `sizes` those of the trunk's map.
    """

    path: str
    trunk: Field
    mask: Field
    sizes: Sizes


def receptive_fields(graph: Graph) -> tuple[StageField, ...]:
    """Return the receptive fields of every stage of a network."""
    fields, masks = _followed(graph)
    stages = []
    for path, trunk in fields.items():
        own = [item.mask for item in masks if item.path.startswith(f"{path}.")]
        stages.append(StageField(path, trunk, reduce(Field.joined, own) if own else None))
    return tuple(stages)


def mask_fields(graph: Graph) -> tuple[MaskField, ...]:
    """Return the receptive fields of every mask of a network and of its trunk."""
    return _followed(graph)[1]


def _followed(graph: Graph) -> tuple[dict[str, Field], tuple[MaskField, ...]]:
    """Return the field of each block of the network, and those of all masks, in order."""
    masks: list[MaskField] = []
    values = {0: Field((1, 1), (1, 1))}
    _follow_nodes(graph.root, values, "", masks)
    blocks = (node for node in graph.root.nodes if isinstance(node, BlockNode))
    return {node.name: values[node.output] for node in blocks}, tuple(masks)


def _follow_nodes(
    trace: Trace, values: dict[int, Field], prefix: str, masks: list[MaskField]
) -> None:
    """Add the fields of a block's values; append those of the masks inside it."""
    for node in trace.nodes:
        fields = [values[index] for index in node.inputs]
        if isinstance(node, BlockNode):
            for path, instance in node.children():
                inner = dict(enumerate(fields))
                _follow_nodes(instance.trace, inner, f"{prefix}{path}.", masks)
                fields = [inner[instance.trace.output]]
            values[node.output] = fields[0]
            continue
        sizes = [trace.sizes[index] for index in node.inputs]
        operation = node.operation
        values[node.output] = _apply(operation, fields, sizes)
        if operation.mask:
            trunk, mask = (
                reduce(Field.joined, chosen(positions, fields))
                for positions in (operation.trunk, operation.mask)
            )
            size = trace.sizes[node.output]
            masks.append(MaskField(f"{prefix}{node.name}", trunk, mask, size))


def _apply(operation: Operation, fields: Sequence[Field], sizes: Sequence[Sizes]) -> Field:
    """Return the field of what an operation computes, masks apart."""
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
