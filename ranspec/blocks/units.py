"""Residual and other units: the smallest parts that a stage repeats.

Every unit takes `channels` and `stride` as numbers, and the fields of its spec model as structure.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranspec.ir.builder import Block, BlockCall, Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.model import Unit


@block
def preactivation_bottleneck(
    b: Builder, x: Value, *, channels: Dimension, stride: Dimension, reduction: int
) -> Value:
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    identity = b.all_equal((stride, 1), (x.channels, channels))
    y = b.norm_relu("norm1", x)
    if identity:
        shortcut = x
    else:
        b.variant(
            "ProjectionBottleneck",
            "Pre-activation bottleneck unit whose shortcut projects the activated input.",
        )
        y = b.label("activated", y)
        shortcut = b.convolution("shortcut", y, channels, kernel=1, stride=stride)
    y = b.convolution("conv1", y, width, kernel=1)
    y = b.convolution("conv2", b.norm_relu("norm2", y), width, kernel=3, stride=stride)
    y = b.convolution("conv3", b.norm_relu("norm3", y), channels, kernel=1)
    return b.add(shortcut, y)


UNITS: Mapping[str, Block] = {
    "preactivation_bottleneck": preactivation_bottleneck,
}
"""The block of each unit kind of the spec language."""


def make_unit(unit: Unit, channels: Dimension | int, stride: Dimension | int = 1) -> BlockCall:
    """Return the unit a spec asks for."""
    structure = {name: value for name, value in unit if name != "kind"}
    return UNITS[unit.kind](channels=channels, stride=stride, **structure)
