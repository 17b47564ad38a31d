"""Array routines of the operations, imported inside their methods to keep counting free of NumPy.

Feature maps are (batch, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ranspec.ir.operation import Array, Interpolation, Padding


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows that slide over a padded map."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: int
    padding: Padding

    def gather(self, x: Array, fill: float = 0.0) -> Array:
        """Return what every window sees, (N, C, taps, rows, columns), taps in row-major order."""
        padded = np.pad(x, ((0, 0), (0, 0), *self.padding), constant_values=fill)
        return np.stack([padded[..., rows, columns] for rows, columns in self._taps()], axis=2)

    def scatter(self, gradient: Array) -> Array:
        """Sum what each window gives to each position of the map: the adjoint of `gather`."""
        (top, bottom), (left, right) = self.padding
        height, width = self.size
        padded = np.zeros(
            (*gradient.shape[:2], top + height + bottom, left + width + right), gradient.dtype
        )
        for tap, (rows, columns) in enumerate(self._taps()):
            padded[..., rows, columns] += gradient[:, :, tap]
        return padded[..., top : top + height, left : left + width]

    def _taps(self) -> Iterator[tuple[slice, slice]]:
        """Yield, for each position in the kernel, the positions of the map it meets."""
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                yield self._meets(0, row), self._meets(1, column)

    def _meets(self, axis: int, offset: int) -> slice:
        reach = self.size[axis] + sum(self.padding[axis]) - self.kernel[axis]
        return slice(offset, offset + reach + 1, self.stride)


def interpolation_matrix(
    size: int, count: int, interpolation: Interpolation, align_corners: bool
) -> Array:
    """Return the float64 matrix (count, size) that resizes a line of values."""
    position = np.arange(count)
    identity = np.eye(size)
    if interpolation == "nearest":
        return identity[position * size // count]
    if align_corners:
        source = position * (size - 1) / max(count - 1, 1)
    else:
        source = np.maximum((position + 0.5) * size / count - 0.5, 0.0)
    low = source.astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    fraction = (source - low)[:, None]
    return (1 - fraction) * identity[low] + fraction * identity[high]


def reciprocal_root(x: Array) -> Array:
    """Return 1 / sqrt(x)."""
    return 1 / np.sqrt(x)


def per_channel(values: Array, rank: int) -> Array:
    """Reshape one value per channel to broadcast over arrays of a rank, channels second."""
    return values.reshape(-1, *(1,) * (rank - 2))


def sum_to(shape: tuple[int, ...], gradient: Array) -> Array:
    """Sum over the axes along which values of size 1 were repeated: the adjoint of repeating."""
    axes = tuple(axis for axis, size in enumerate(shape) if size < gradient.shape[axis])
    return gradient.sum(axes, keepdims=True) if axes else gradient


def standardize_gradient(
    gradient: Array, normalized: Array, inverse_deviation: Array, axes: tuple[int, ...]
) -> Array:
    """Return the gradient of (x - mean) / sqrt(biased variance + epsilon) over some axes."""
    mean = gradient.mean(axes, keepdims=True)
    correlation = (gradient * normalized).mean(axes, keepdims=True)
    result: Array = inverse_deviation * (gradient - mean - normalized * correlation)
    return result
