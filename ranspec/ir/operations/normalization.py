"""Normalisation over the batch, over channels, and over positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import (
    KEEPS_INPUTS,
    KEEPS_OUTPUT,
    Kept,
    ParameterSpec,
    Positionwise,
    Reach,
    Sizes,
    whole_map,
)

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


EpsilonUse = Literal["added", "least"]


class _Normalized(NamedTuple):
    """What a batch normalisation was, and the batch's moments if it used them."""

    values: Array
    inverse_deviation: Array
    moments: tuple[Array, Array] | None
    """Mean and unbiased variance of each channel."""


@dataclass(frozen=True, eq=False)
class BatchNorm(Positionwise):
    """Batch normalisation (Ioffe and Szegedy, 2015), with a learned scale and shift.

    Training normalises by the batch's mean and biased variance and moves the running statistics
    by `momentum` towards the mean and the *unbiased* variance; evaluation uses the statistics.
    """

    label: ClassVar[str] = "batch_norm"
    cost: ClassVar[int] = 2
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    channels: Dimension
    epsilon: float
    momentum: float
    """Weight of the new batch in the running statistics."""

    def parameters(self) -> Mapping[str, ParameterSpec]:
        def per_channel(initial: float, trainable: bool) -> ParameterSpec:
            return ParameterSpec((self.channels,), ("channel",), initial, False, trainable)

        return {
            "weight": per_channel(1.0, trainable=True),
            "bias": per_channel(0.0, trainable=True),
            "running_mean": per_channel(0.0, trainable=False),
            "running_var": per_channel(1.0, trainable=False),
        }

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        from ranspec.ir.operations._arrays import per_channel, reciprocal_root

        (x,) = inputs
        moments = None
        if training:
            axes = _all_but_channels(x)
            mean = x.mean(axes)
            deviation = x - per_channel(mean, x.ndim)
            variance = (deviation * deviation).mean(axes)
            count = x.size // x.shape[1]
            moments = mean, variance * (count / max(count - 1, 1))
        else:
            deviation = x - per_channel(arrays["running_mean"], x.ndim)
            variance = arrays["running_var"]
        inverse = per_channel(reciprocal_root(variance + self.epsilon), x.ndim)
        values = deviation * inverse
        weight, bias = (per_channel(arrays[name], x.ndim) for name in ("weight", "bias"))
        return values * weight + bias, _Normalized(values, inverse, moments)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        from ranspec.ir.operations._arrays import per_channel, standardize_gradient

        values, inverse, moments = saved
        axes = _all_but_channels(gradient)
        scaled = gradient * per_channel(arrays["weight"], gradient.ndim)
        by_input = (
            scaled * inverse
            if moments is None
            else standardize_gradient(scaled, values, inverse, axes)
        )
        return (by_input,), {"weight": (gradient * values).sum(axes), "bias": gradient.sum(axes)}

    def updated_statistics(self, arrays: Mapping[str, Array], saved: Any) -> Mapping[str, Array]:
        if saved.moments is None:
            return {}
        mean, variance = saved.moments
        keep = 1 - self.momentum
        return {
            "running_mean": keep * arrays["running_mean"] + self.momentum * mean,
            "running_var": keep * arrays["running_var"] + self.momentum * variance,
        }


@dataclass(frozen=True, eq=False)
class ChannelNormalize(Positionwise):
    """x divided at each position by its L2 norm over the channels (Wang et al., f2).

    With s the sum of squares the norm is sqrt(s + epsilon), or sqrt(max(s, epsilon)) where
    epsilon is the least sum (TensorFlow's l2_normalize).
    """

    label: ClassVar[str] = "channel_normalize"
    cost: ClassVar[int] = 3
    keeps: ClassVar[Kept] = KEEPS_OUTPUT

    epsilon: float
    epsilon_use: EpsilonUse = "added"

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        from ranspec.ir.operations._arrays import reciprocal_root

        (x,) = inputs
        squares = (x * x).sum(1, keepdims=True)
        if self.epsilon_use == "least":
            inverse = reciprocal_root(np.maximum(squares, self.epsilon))
            return x * inverse, (x * inverse * (squares > self.epsilon), inverse)
        inverse = reciprocal_root(squares + self.epsilon)
        output = x * inverse
        return output, (output, inverse)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        output, inverse = saved
        along = (gradient * output).sum(1, keepdims=True)
        return (inverse * (gradient - output * along),), {}


@dataclass(frozen=True, eq=False)
class _Standardize(Positionwise, abstract=True):
    """(x - mean) / sqrt(variance + epsilon) over some axes; the variance is the biased one."""

    cost: ClassVar[int] = 6
    keeps: ClassVar[Kept] = KEEPS_INPUTS
    axes: ClassVar[tuple[int, ...]]

    epsilon: float

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        from ranspec.ir.operations._arrays import reciprocal_root

        (x,) = inputs
        deviation = x - x.mean(self.axes, keepdims=True)
        variance = (deviation * deviation).mean(self.axes, keepdims=True)
        inverse = reciprocal_root(variance + self.epsilon)
        output = deviation * inverse
        return output, (output, inverse)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        from ranspec.ir.operations._arrays import standardize_gradient

        output, inverse = saved
        return (standardize_gradient(gradient, output, inverse, self.axes),), {}


@dataclass(frozen=True, eq=False)
class SpatialNormalize(_Standardize):
    """(x - mean) / sqrt(variance + epsilon) over each channel's positions (Wang et al., f3)."""

    label: ClassVar[str] = "spatial_normalize"
    axes: ClassVar[tuple[int, ...]] = (2, 3)

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (whole_map(inputs[0]),)


@dataclass(frozen=True, eq=False)
class ChannelStandardize(_Standardize):
    """(x - mean) / sqrt(variance + epsilon) over each position's channels."""

    label: ClassVar[str] = "channel_standardize"
    axes: ClassVar[tuple[int, ...]] = (1,)


@dataclass(frozen=True, eq=False)
class ChannelAffine(Positionwise):
    """scale * x + shift, learned for each channel and shared by all positions."""

    label: ClassVar[str] = "channel_affine"
    cost: ClassVar[int] = 2
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    channels: Dimension

    def parameters(self) -> Mapping[str, ParameterSpec]:
        def per_channel(initial: float) -> ParameterSpec:
            return ParameterSpec((self.channels,), ("channel",), initial, False)

        return {"scale": per_channel(1.0), "shift": per_channel(0.0)}

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        from ranspec.ir.operations._arrays import per_channel

        (x,) = inputs
        scale, shift = (per_channel(arrays[name], x.ndim) for name in ("scale", "shift"))
        return scale * x + shift, x

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        from ranspec.ir.operations._arrays import per_channel

        x: Array = saved
        axes = _all_but_channels(x)
        gradients = {"scale": (gradient * x).sum(axes), "shift": gradient.sum(axes)}
        return (gradient * per_channel(arrays["scale"], x.ndim),), gradients


@dataclass(frozen=True, eq=False)
class SpatialAffine(Positionwise):
    """scale * x + shift, learned for each position and shared by all channels."""

    label: ClassVar[str] = "spatial_affine"
    cost: ClassVar[int] = 2
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    height: Dimension
    width: Dimension

    def parameters(self) -> Mapping[str, ParameterSpec]:
        def per_position(initial: float) -> ParameterSpec:
            return ParameterSpec((self.height, self.width), ("row", "column"), initial, False)

        return {"scale": per_position(1.0), "shift": per_position(0.0)}

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        return arrays["scale"] * x + arrays["shift"], x

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        x: Array = saved
        gradients = {"scale": (gradient * x).sum((0, 1)), "shift": gradient.sum((0, 1))}
        return (gradient * arrays["scale"],), gradients


def _all_but_channels(x: Array) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))
