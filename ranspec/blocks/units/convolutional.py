"""Units of plain convolutions: one alone, and several branches side by side."""

from __future__ import annotations

from typing import Literal

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension, Setting
from ranspec.ir.naming import camel_case
from ranspec.ir.operation import Padding
from ranspec.spec.units import BranchLayer

NO_PADDING: Padding = ((0, 0), (0, 0))

ConvolutionKind = Literal["normalized", "activated", "linear"]


@block
def convolution(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    kernel: int | tuple[int, int],
    valid: bool,
) -> Value:
    """Convolution, batch norm and ReLU."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    unpadded = valid and (height, width) != (1, 1)
    b.variant(
        f"Convolution{height}x{width}{'Valid' if unpadded else ''}",
        f"{height}x{width} convolution{' without padding' if unpadded else ''}, "
        "batch norm and ReLU.",
    )
    padding = NO_PADDING if valid else None
    y = b.convolution("conv", x, channels, kernel=kernel, stride=stride, padding=padding)
    return b.norm_relu("norm", y)


@block
def inception(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    stride: Setting,
    name: str,
    branches: tuple[tuple[BranchLayer, ...], ...],
    convolution: ConvolutionKind,
    residual: bool,
    scale: float,
    normalization: Literal["none", "norm", "norm_relu"],
    activation: bool,
) -> Value:
    """Branches side by side, concatenated (Szegedy et al., 2016)."""
    kind = "Residual Inception unit" if residual else "Inception unit"
    b.variant(
        camel_case(name),
        f"{kind} of {len(branches)} branches." if len(branches) > 1 else "Layers in a row.",
    )
    if not b.all_equal((stride, 1)):
        b.fail("the stride of an inception unit is that of its branches' layers", "stride")
    y = x
    if normalization != "none":
        y = b.batch_norm("norm", y)
        y = b.variable("y", b.relu(y) if normalization == "norm_relu" else y)
    joined = [
        _branch(b, y, f"branch{i}", layers, convolution) for i, layers in enumerate(branches, 1)
    ]
    y = b.concatenate(joined) if len(joined) > 1 else joined[0]
    if residual:
        if not b.all_equal((x.channels, channels)):
            b.fail(f"a residual unit keeps its {x.channels.value} channels", "channels")
        y = b.convolution("projection", y, channels, kernel=1, bias=True)
        y = b.add(x, b.scale(y, scale) if scale != 1 else y)
    elif y.channels.value != channels.value:
        b.fail(f"the branches give {y.channels.value} channels, not {channels.value}", "channels")
    return b.relu(y) if activation else y


def _branch(
    b: Builder, x: Value, name: str, layers: tuple[BranchLayer, ...], kind: ConvolutionKind
) -> Value:
    """Apply a branch's layers in turn; its convolutions are numbered."""
    number = 0
    for layer in layers:
        if layer.pool is not None and isinstance(layer.kernel, int):
            apply = b.max_pool if layer.pool == "max" else b.average_pool
            pooled = apply(x, layer.kernel, layer.stride, "valid" if layer.valid else "same")
            x = b.variable(name, pooled)
            continue
        number += 1
        if kind == "normalized":
            normalized = convolution(
                channels=layer.channels or 0,
                stride=layer.stride,
                kernel=layer.kernel,
                valid=layer.valid,
            )
            x = b.variable(name, b.call(f"{name}_conv{number}", normalized, x))
            continue
        x = b.convolution(
            f"{name}_conv{number}",
            x,
            layer.channels or 0,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=NO_PADDING if layer.valid else None,
            bias=True,
        )
        x = b.variable(name, b.relu(x) if kind != "linear" else x)
    return b.variable(name, x) if layers else x
