"""Residual units that normalise and activate before each convolution (He et al., 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension, Setting

Projection = Literal["when_needed", "always"]
ShortcutInput = Literal["activated", "raw", "norm", "norm_relu"]


@block
def preactivation_bottleneck(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    reduction: Setting,
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
    stride_on: Literal["conv1", "conv2"],
    preactivation: bool = True,
) -> Value:
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    start = _Start("Bottleneck", "bottleneck", channels, stride, bias, projection, shortcut)
    activated, skip = start.of(b, x, preactivation)
    first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
    y = b.convolution("conv1", activated, width, kernel=1, stride=first, bias=bias)
    y = b.norm_relu("norm2", y)
    y = b.convolution("conv2", y, width, kernel=3, stride=second, bias=bias)
    y = b.norm_relu("norm3", y)
    y = b.convolution("conv3", y, channels, kernel=1, bias=bias)
    return b.add(skip, y)


@block
def preactivation_basic(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
    dropout: float,
    preactivation: bool = True,
) -> Value:
    """Pre-activation unit of two 3x3 convolutions with identity shortcut (He et al., 2016)."""
    described = "unit of two 3x3 convolutions"
    start = _Start("Basic", described, channels, stride, bias, projection, shortcut)
    activated, skip = start.of(b, x, preactivation)
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
    stride: Setting,
    reductions: tuple[int, int, int],
    bias: bool,
    projection: Projection,
    shortcut: ShortcutInput,
    preactivation: bool = True,
) -> Value:
    """Pre-activation unit of 1x1, 3x3 and double 3x3 branches with identity shortcut."""
    names = ("width1", "width2", "width3")
    width1, width2, width3 = (
        b.let(name, b.divide(channels, reduction, "reductions"))
        for name, reduction in zip(names, reductions, strict=True)
    )
    start = _Start("Inception", "Inception unit", channels, stride, bias, projection, shortcut)
    activated, skip = start.of(b, x, preactivation)
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


@dataclass(frozen=True)
class _Start:
    """What pre-activation units begin with: BN-ReLU, and the shortcut."""

    name: str
    description: str
    channels: Dimension
    stride: Dimension
    bias: bool
    projection: Projection
    shortcut: ShortcutInput

    def of(self, b: Builder, x: Value, preactivation: bool) -> tuple[Value, Value]:
        """Return the activated input and the shortcut, an identity where it can and may be one.

        Without `preactivation` the input is taken as activated already.
        """
        prefix, described = "", f"Pre-activation {self.description}"
        if not preactivation:
            prefix, described = "Activated", f"{described} of an input that is activated already"
        activated = b.norm_relu("norm1", x) if preactivation else x
        unchanged = (self.stride, 1), (x.channels, self.channels)
        if self.projection == "when_needed" and b.all_equal(*unchanged):
            b.variant(
                f"{prefix or 'Preactivation'}{self.name}",
                None if preactivation else f"{described}, with identity shortcut.",
            )
            return activated, x
        strided = "Strided" if b.same_padding and self.stride.value > 1 else ""
        source = {
            "activated": "the activated input",
            "raw": "the raw input",
            "norm": "the input after a BN of its own",
            "norm_relu": "the input after a BN-ReLU of its own",
        }[self.shortcut]
        b.variant(
            f"{strided}{prefix}Projection{self.name}",
            f"{described} whose shortcut projects {source}."
            if preactivation
            else f"{described}; the shortcut projects {source}.",
        )
        if self.shortcut == "activated" and preactivation:
            activated = b.variable("activated", activated)
        projected = activated if self.shortcut == "activated" else x
        if self.shortcut in ("norm", "norm_relu"):
            projected = b.batch_norm("shortcut_norm", x)
        if self.shortcut == "norm_relu":
            projected = b.relu(projected)
        return activated, b.convolution(
            "shortcut", projected, self.channels, kernel=1, stride=self.stride, bias=self.bias
        )
