"""Residual units that normalise after each convolution (He et al., 2015; Xie et al., 2017)."""

from __future__ import annotations

from typing import Literal

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension, Setting


@block
def bottleneck(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    reduction: Setting,
    groups: int,
    stride_on: Literal["conv1", "conv2"],
) -> Value:
    """Bottleneck unit with identity shortcut (He et al., 2015)."""
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    name = "Bottleneck" if groups == 1 else "GroupedBottleneck"
    if b.all_equal((stride, 1), (x.channels, channels)):
        b.variant(name, None if groups == 1 else f"Bottleneck unit of {groups} groups.")
        skip = x
    else:
        of_groups = "" if groups == 1 else f" of {groups} groups"
        b.variant(f"Projection{name}", f"Bottleneck unit{of_groups} with projection shortcut.")
        skip = _project(b, x, channels, stride)
    first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
    y = b.convolution("conv1", x, width, kernel=1, stride=first)
    y = b.convolution(
        "conv2", b.norm_relu("norm1", y), width, kernel=3, stride=second, groups=groups
    )
    y = b.convolution("conv3", b.norm_relu("norm2", y), channels, kernel=1)
    return b.relu(b.add(skip, b.batch_norm("norm3", y)))


@block
def basic(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    shortcut: Literal["projection", "zero_padding"],
) -> Value:
    """Unit of two 3x3 convolutions with identity shortcut (He et al., 2015)."""
    if b.all_equal((stride, 1), (x.channels, channels)):
        skip = x
    elif shortcut == "projection":
        b.variant("ProjectionBasic", "Unit of two 3x3 convolutions with projection shortcut.")
        skip = _project(b, x, channels, stride)
    else:
        b.variant("PaddedBasic", "Unit of two 3x3 convolutions whose shortcut appends zeros.")
        skip = b.variable("shortcut", b.pad_channels(b.subsample(x, stride), channels))
    y = b.convolution("conv1", x, channels, kernel=3, stride=stride)
    y = b.convolution("conv2", b.norm_relu("norm1", y), channels, kernel=3)
    return b.relu(b.add(skip, b.batch_norm("norm2", y)))


def _project(b: Builder, x: Value, channels: Dimension, stride: Dimension) -> Value:
    projected = b.convolution("shortcut", x, channels, kernel=1, stride=stride)
    return b.variable("shortcut", b.batch_norm("shortcut_norm", projected))
