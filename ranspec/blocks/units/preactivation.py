"""Residual units that normalise and activate before each convolution (He et al., 2016)."""

from __future__ import annotations

from typing import Literal

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension

Projection = Literal["when_needed", "always"]
ShortcutInput = Literal["activated", "raw", "normalized"]


@block
def preactivation_bottleneck(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Dimension,
    reduction: int,
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
) -> Value:
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    activated, skip = _start(
        b, x, "Bottleneck", "bottleneck", channels, stride, bias, projection, shortcut
    )
    y = b.convolution("conv1", activated, width, kernel=1, bias=bias)
    y = b.norm_relu("norm2", y)
    y = b.convolution("conv2", y, width, kernel=3, stride=stride, bias=bias)
    y = b.norm_relu("norm3", y)
    y = b.convolution("conv3", y, channels, kernel=1, bias=bias)
    return b.add(skip, y)


@block
def preactivation_basic(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Dimension,
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
    dropout: float,
) -> Value:
    """Pre-activation unit of two 3x3 convolutions with identity shortcut (He et al., 2016)."""
    activated, skip = _start(
        b, x, "Basic", "unit of two 3x3 convolutions", channels, stride, bias, projection, shortcut
    )
    y = b.convolution("conv1", activated, channels, kernel=3, stride=stride, bias=bias)
    y = b.dropout("dropout", b.norm_relu("norm2", y), dropout)
    y = b.convolution("conv2", y, channels, kernel=3, bias=bias)
    return b.add(skip, y)


@block
def preactivation_inception(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Dimension,
    reductions: tuple[int, int, int],
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
) -> Value:
    """Pre-activation unit of 1x1, 3x3 and double 3x3 branches with identity shortcut."""
    names = ("width1", "width2", "width3")
    width1, width2, width3 = (
        b.let(name, b.divide(channels, reduction, "reductions"))
        for name, reduction in zip(names, reductions, strict=True)
    )
    activated, skip = _start(
        b, x, "Inception", "Inception unit", channels, stride, bias, projection, shortcut
    )
    activated = b.variable("activated", activated)
    branch1 = b.convolution("branch1", activated, width1, kernel=1, stride=stride, bias=bias)
    y = b.convolution("branch2_conv1", activated, width2, kernel=1, bias=bias)
    y = b.norm_relu("branch2_norm2", y)
    branch2 = b.convolution("branch2_conv2", y, width2, kernel=3, stride=stride, bias=bias)
    y = b.convolution("branch3_conv1", activated, width3, kernel=1, bias=bias)
    y = b.norm_relu("branch3_norm2", y)
    y = b.convolution("branch3_conv2", y, width3, kernel=3, bias=bias)
    y = b.norm_relu("branch3_norm3", y)
    branch3 = b.convolution("branch3_conv3", y, width3, kernel=3, stride=stride, bias=bias)
    y = b.concatenate(
        [
            b.variable("branch1", branch1),
            b.variable("branch2", branch2),
            b.variable("branch3", branch3),
        ]
    )
    y = b.convolution("conv", b.norm_relu("norm", y), channels, kernel=1, bias=bias)
    return b.add(skip, y)


def _start(
    b: Builder,
    x: Value,
    name: str,
    description: str,
    channels: Dimension,
    stride: Dimension,
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
) -> tuple[Value, Value]:
    """Return the activated input and the shortcut, an identity where it can and may be one."""
    activated = b.norm_relu("norm1", x)
    if projection == "when_needed" and b.all_equal((stride, 1), (x.channels, channels)):
        b.variant(f"Preactivation{name}")
        return activated, x
    strided = "Strided" if b.same_padding and stride.value > 1 else ""
    source = {
        "activated": "the activated input",
        "raw": "the raw input",
        "normalized": "the input after a BN-ReLU of its own",
    }[shortcut]
    b.variant(
        f"{strided}Projection{name}",
        f"Pre-activation {description} whose shortcut projects {source}.",
    )
    projected = x
    if shortcut == "activated":
        projected = activated = b.variable("activated", activated)
    elif shortcut == "normalized":
        projected = b.norm_relu("shortcut_norm", x)
    return activated, b.convolution(
        "shortcut", projected, channels, kernel=1, stride=stride, bias=bias
    )
