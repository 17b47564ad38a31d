"""Layers that Flax does not have with the semantics this network needs.

Feature maps are (batch, height, width, channels). What is summed over many values is computed in
float32 at least, whatever the type of the map.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from numpy.typing import NDArray

EpsilonUse = Literal["added", "least"]
Margins = tuple[tuple[int, int], tuple[int, int]]
Matrix = NDArray[np.float64]
Padding = int | Literal["ceil", "same", "valid"]


class BatchNorm(nnx.Module):
    """Batch normalisation with PyTorch's running statistics: the variance is the unbiased one."""

    def __init__(self, channels: int, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        """Take as momentum the weight of the new batch."""
        self.weight = nnx.Param(_constant(channels, 1.0))
        self.bias = nnx.Param(_constant(channels, 0.0))
        self.running_mean = nnx.BatchStat(_constant(channels, 0.0))
        self.running_var = nnx.BatchStat(_constant(channels, 1.0))
        self.epsilon = epsilon
        self.momentum = momentum
        self.use_running_average = False

    def __call__(self, x: Array) -> Array:
        values = _wide(x)
        if self.use_running_average:
            centred = values - self.running_mean[...]
            variance = self.running_var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            mean = values.mean(axes)
            centred = values - mean
            variance = jnp.square(centred).mean(axes)
            count = x.size // x.shape[-1]
            self._move(self.running_mean, mean)
            self._move(self.running_var, variance * (count / max(count - 1, 1)))
        factor = lax.rsqrt(variance + self.epsilon) * self.weight[...]
        return (centred * factor + self.bias[...]).astype(x.dtype)

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Choose running statistics or the batch's; `nnx.view` calls this."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def _move(self, statistic: nnx.BatchStat[Array], value: Array) -> None:
        new = self.momentum * lax.stop_gradient(value)
        # Assigned to `[...]`, a value is asked for its sharding: each costs a search of the trace.
        statistic.set_value((1 - self.momentum) * statistic[...] + new)


class PointwiseConv(nnx.Conv):
    """A 1 x 1 convolution; on CPUs a product of two matrices.

    XLA's own convolution and its gradients take three times as long there.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        strides: int = 1,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        super().__init__(
            in_channels,
            channels,
            kernel_size=(1, 1),
            strides=strides,
            padding=0,
            use_bias=use_bias,
            rngs=rngs,
        )

    def __call__(self, inputs: Array) -> Array:  # type: ignore[override]
        if jax.default_backend() != "cpu":
            return super().__call__(inputs)
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((inputs, self.kernel[...], bias), dtype=self.dtype)
        x = subsample(x, cast(int, self.strides))
        # As one matrix: maps of four axes are multiplied as slowly as they are convolved.
        y = x.reshape(-1, self.in_features) @ kernel[0, 0]
        y = y.reshape(*x.shape[:3], self.out_features)
        return y if bias is None else y + bias


class GroupedConv(nnx.Conv):
    """A grouped convolution; on CPUs a sum over the kernel's positions of products by group.

    The weight gradient of XLA's own grouped convolution is two hundred times slower there.
    """

    def __call__(self, inputs: Array) -> Array:  # type: ignore[override]
        if jax.default_backend() != "cpu":
            return super().__call__(inputs)
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((inputs, self.kernel[...], bias), dtype=self.dtype)
        groups, padding = self.feature_group_count, cast(Margins | int, self.padding)
        margins = ((padding, padding),) * 2 if isinstance(padding, int) else padding
        x = jnp.pad(x, ((0, 0), *margins, (0, 0)))
        x = x.reshape(*x.shape[:3], groups, -1)
        height, width, group_channels, _ = kernel.shape
        taps = _taps(x, (height, width), cast(int, self.strides))
        weights = kernel.reshape(len(taps), group_channels, groups, -1)
        y = reduce(jnp.add, map(partial(jnp.einsum, "nhwgi,igo->nhwgo"), taps, weights))
        y = y.reshape(*y.shape[:3], self.out_features)
        return y if bias is None else y + bias


class ChannelAffine(nnx.Module):
    """Scale and shift that are learned for each channel and shared by all positions."""

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.shift = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return (x * self.scale[...] + self.shift[...]).astype(x.dtype)


class SpatialAffine(nnx.Module):
    """Scale and shift that are learned for each position and shared by all channels."""

    def __init__(self, height: int, width: int) -> None:
        self.scale = nnx.Param(jnp.ones((height, width), jnp.float32))
        self.shift = nnx.Param(jnp.zeros((height, width), jnp.float32))

    def __call__(self, x: Array) -> Array:
        return (x * self.scale[..., None] + self.shift[..., None]).astype(x.dtype)


def channel_normalize(x: Array, epsilon: float, epsilon_use: EpsilonUse = "added") -> Array:
    """Divide each position's channels by their L2 norm.

    Epsilon is added to the sum of squares, or is the least that it is taken for.
    """
    values = _wide(x)
    squares = jnp.square(values).sum(axis=-1, keepdims=True)
    squares = jnp.maximum(squares, epsilon) if epsilon_use == "least" else squares + epsilon
    return (values * lax.rsqrt(squares)).astype(x.dtype)


def channel_standardize(x: Array, epsilon: float) -> Array:
    """Give each position's channels zero mean and unit variance."""
    return _standardize(x, (3,), epsilon)


def spatial_normalize(x: Array, epsilon: float) -> Array:
    """Give each channel's map zero mean and unit variance."""
    return _standardize(x, (1, 2), epsilon)


def max_pool(x: Array, kernel: int, stride: int, padding: Padding) -> Array:
    """Return the largest value of each window; the gradient goes to the first of equal ones.

    `ceil` has windows hang over the end so that all values are covered, `same` splits the surplus
    between both sides, a number is the padding of each side. Comparing slices is faster than XLA's
    windowed reduction, backward most.
    """
    first, *others = _windows(x, kernel, stride, padding, -jnp.inf)
    for other in others:
        first = jnp.where(other > first, other, first)
    return first


def average_pool(x: Array, kernel: int, stride: int, padding: Padding) -> Array:
    """Return the mean of each window over the values inside the map; padding as in `max_pool`."""
    values = _wide(x)
    inside = jnp.ones((1, *x.shape[1:3], 1), values.dtype)
    total, count = (
        reduce(jnp.add, _windows(part, kernel, stride, padding, 0.0)) for part in (values, inside)
    )
    return (total / count).astype(x.dtype)


def resize_bilinear(x: Array, size: tuple[int, int], align_corners: bool) -> Array:
    """Interpolate to (height, width), by a product with a matrix along each axis."""
    rows, columns = (
        _bilinear_matrix(old, new, align_corners)
        for old, new in zip(x.shape[1:3], size, strict=True)
    )
    return _resize(x, rows, columns)


def resize_nearest(x: Array, size: tuple[int, int]) -> Array:
    """Repeat or drop values to give (height, width)."""
    rows, columns = (
        np.eye(old)[np.arange(new) * old // new]
        for old, new in zip(x.shape[1:3], size, strict=True)
    )
    return _resize(x, rows, columns)


def pad_channels(x: Array, channels: int) -> Array:
    """Append channels of zeros, so that there are `channels`."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[3])))


def subsample(x: Array, stride: int) -> Array:
    """Keep every stride-th row and column, from the first."""
    return x[:, ::stride, ::stride]


def flatten(x: Array) -> Array:
    """Turn maps into vectors: channels first, then rows, then columns, as PyTorch does."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def _windows(x: Array, kernel: int, stride: int, padding: Padding, fill: float) -> list[Array]:
    """Return, for each position in a window, the values that all windows have there."""
    margins = [_margins(size, kernel, stride, padding) for size in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *margins, (0, 0)), constant_values=fill)
    return _taps(padded, (kernel, kernel), stride)


def _margins(size: int, kernel: int, stride: int, padding: Padding) -> tuple[int, int]:
    """Return how far the first and the last window may hang over a map's edges."""
    if isinstance(padding, int):
        return padding, padding
    if padding == "valid":
        return 0, 0
    count = -(-size // stride)
    if padding == "ceil":
        count = min(count, -(-(size - kernel) // stride) + 1)
    surplus = max((count - 1) * stride + kernel - size, 0)
    before = surplus // 2 if padding == "same" else 0
    return before, surplus - before


def _taps(x: Array, kernel: tuple[int, int], stride: int) -> list[Array]:
    """Return, for each position in the kernel, the values that it meets while it slides."""
    batch, height, width, *channels = x.shape
    rows = (height - kernel[0]) // stride * stride + 1
    columns = (width - kernel[1]) // stride * stride + 1
    rest = (0,) * len(channels), (1,) * len(channels)
    return [
        lax.slice(
            x,
            (0, row, column, *rest[0]),
            (batch, row + rows, column + columns, *channels),
            (1, stride, stride, *rest[1]),
        )
        for row in range(kernel[0])
        for column in range(kernel[1])
    ]


def _bilinear_matrix(size: int, count: int, align_corners: bool) -> Matrix:
    """Return the matrix (count, size) that interpolates a line of values."""
    position = np.arange(count)
    if align_corners:
        source = position * (size - 1) / max(count - 1, 1)
    else:
        source = np.maximum((position + 0.5) * size / count - 0.5, 0.0)
    low = source.astype(int)
    fraction = (source - low)[:, None]
    identity = np.eye(size)
    high = np.minimum(low + 1, size - 1)
    matrix: Matrix = (1 - fraction) * identity[low] + fraction * identity[high]
    return matrix


def _resize(x: Array, rows: Matrix, columns: Matrix) -> Array:
    y = _wide(x)
    for equation, matrix in (("ow,nhwc->nhoc", columns), ("oh,nhwc->nowc", rows)):
        y = jnp.einsum(equation, matrix.astype(y.dtype), y, precision=lax.Precision.HIGHEST)
    return y.astype(x.dtype)


def _standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    values = _wide(x)
    centred = values - values.mean(axes, keepdims=True)
    variance = jnp.square(centred).mean(axes, keepdims=True)
    return (centred * lax.rsqrt(variance + epsilon)).astype(x.dtype)


def _constant(size: int, value: float) -> Array:
    """Return float32 values that start so; JAX's own would take long to trace in deep networks."""
    return cast(Array, np.full(size, value, np.float32))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
