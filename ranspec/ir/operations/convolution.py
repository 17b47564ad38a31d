"""Convolution and linear layers: the operations that multiply and accumulate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import (
    KEEPS_INPUTS,
    OWN_POSITION,
    Kept,
    Operation,
    Padding,
    ParameterSpec,
    Positions,
    Reach,
    Shape,
    ShapeError,
    Sizes,
)

if TYPE_CHECKING:
    from ranspec.ir.operation import Array
    from ranspec.ir.operations._arrays import Windows


@dataclass(frozen=True, eq=False)
class _Layer(Operation, abstract=True):
    arity: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_INPUTS
    counts_in_depth: ClassVar[bool] = True
    trunk: ClassVar[Positions] = "all"

    bias: bool = field(kw_only=True)

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return 2 * self.macs(output) + (math.prod(output) if self.bias else 0)

    def _bias(self, channels: Dimension) -> dict[str, ParameterSpec]:
        spec = ParameterSpec((channels,), ("channel",), initial=0.0, decays=False)
        return {"bias": spec} if self.bias else {}


@dataclass(frozen=True, eq=False)
class Convolution(_Layer):
    """Two-dimensional cross-correlation with zero padding."""

    label: ClassVar[str] = "convolution"

    in_channels: Dimension
    channels: Dimension
    kernel: tuple[int, int]
    stride: Dimension
    padding: Padding
    groups: Dimension

    def infer(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        groups = self.groups.value
        if channels.value % groups:
            message = f"{channels.value} input channels do not divide into {groups} groups"
            raise ShapeError(message, "groups")
        if self.channels.value % groups:
            message = f"{self.channels.value} channels do not divide into {groups} groups"
            raise ShapeError(message, "groups")
        return (
            _window_count(height, self.kernel[0], self.stride, self.padding[0]),
            _window_count(width, self.kernel[1], self.stride, self.padding[1]),
            self.channels,
        )

    def parameters(self) -> Mapping[str, ParameterSpec]:
        kernel = tuple(Dimension(size) for size in self.kernel)
        weight = ParameterSpec(
            (self.channels, self.in_channels // self.groups, *kernel),
            ("output", "input", "row", "column"),
            initial="drawn",
            decays=True,
        )
        return {"weight": weight} | self._bias(self.channels)

    def macs(self, output: Sizes) -> int:
        per_position = math.prod(self.kernel) * self.in_channels.value // self.groups.value
        return math.prod(output) * per_position

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        height, width = self.kernel
        return (Reach((height - 1, width - 1), (self.stride.value, self.stride.value)),)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        windows = self._layout(x)
        columns = windows.gather(x)
        output = self._by_group(arrays["weight"]) @ self._columns(columns)
        output = output.reshape(len(x), self.channels.value, *columns.shape[-2:])
        if self.bias:
            output = output + arrays["bias"][:, None, None]
        return output, x

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        x: Array = saved
        windows = self._layout(x)
        columns = windows.gather(x)
        weight = self._by_group(arrays["weight"])
        positions = gradient.reshape(len(x), *weight.shape[:2], -1)
        by_column = weight.swapaxes(-1, -2) @ positions
        by_weight = (positions @ self._columns(columns).swapaxes(-1, -2)).sum(0)
        gradients = {"weight": by_weight.reshape(arrays["weight"].shape)}
        if self.bias:
            gradients["bias"] = gradient.sum((0, 2, 3))
        return (windows.scatter(by_column.reshape(columns.shape)),), gradients

    def _layout(self, x: Array) -> Windows:
        from ranspec.ir.operations._arrays import Windows

        height, width = x.shape[2:]
        return Windows((height, width), self.kernel, self.stride.value, self.padding)

    def _by_group(self, weight: Array) -> Array:
        """Reshape to (groups, output channels, input channels x taps) of a group."""
        groups = self.groups.value
        return weight.reshape(groups, self.channels.value // groups, -1)

    def _columns(self, gathered: Array) -> Array:
        """Reshape to (N, groups, input channels x taps, positions)."""
        batch, _, _, height, width = gathered.shape
        return gathered.reshape(batch, self.groups.value, -1, height * width)


@dataclass(frozen=True, eq=False)
class Linear(_Layer):
    """A matrix product with the features of each image."""

    label: ClassVar[str] = "linear"

    in_features: Dimension
    features: Dimension

    def infer(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError("a linear layer takes a vector; pool or flatten the map first")
        return (self.features,)

    def parameters(self) -> Mapping[str, ParameterSpec]:
        weight = ParameterSpec(
            (self.features, self.in_features), ("output", "input"), initial="drawn", decays=True
        )
        return {"weight": weight} | self._bias(self.features)

    def macs(self, output: Sizes) -> int:
        return self.in_features.value * self.features.value

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (OWN_POSITION,)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        output = x @ arrays["weight"].T
        return (output + arrays["bias"] if self.bias else output), x

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        x: Array = saved
        gradients = {"weight": gradient.T @ x}
        if self.bias:
            gradients["bias"] = gradient.sum(0)
        return (gradient @ arrays["weight"],), gradients


def _window_count(
    size: Dimension, kernel: int, stride: Dimension, padding: tuple[int, int]
) -> Dimension:
    count = (size + (sum(padding) - kernel)) // stride + 1
    if count.value < 1:
        message = f"a {kernel}-wide window does not fit a map of size {size.value}"
        raise ShapeError(message, "kernel")
    return count
