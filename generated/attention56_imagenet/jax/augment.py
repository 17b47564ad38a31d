"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

UNIT = 2**16
"""Maps count in these shares of a pixel."""


def normalize(images: Array, mean: Array, scale: Array) -> Array:
    """Turn numbers of 0..255 [N, H, W, C] into float [N, H, W, C]."""
    return (images.astype(mean.dtype) / 255 - mean) * scale


def augment(
    images: Array, offsets: Array, flips: Array, pad: int, mean: Array, scale: Array
) -> Array:
    """Normalise, zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes images of 0..255 [N, H, W, C], offsets [N, 2] in 0..2 * pad (row, column), flips bool [N];
    returns float [N, H, W, C]. Done by one gather.
    """
    count, height, width, _ = images.shape
    rows = jnp.arange(height) + offsets[:, :1] - pad
    columns = jnp.arange(width) + offsets[:, 1:] - pad
    columns = jnp.where(flips[:, None], columns[:, ::-1], columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    pixels = normalize(images, mean, scale)[
        jnp.arange(count)[:, None, None],
        rows.clip(0, height - 1)[:, :, None],
        columns.clip(0, width - 1)[:, None, :],
    ]
    return pixels * inside


def warp(images: Array, maps: Array) -> Array:
    """Sample images [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3] take (row, column, 1) to the row and column of a point, in units of 2**-16
    pixels; returns float32 [N, H, W, C].
    """
    count, height, width, _ = images.shape
    rows = jnp.arange(height, dtype=maps.dtype)[:, None]
    columns = jnp.arange(width, dtype=maps.dtype)
    by_row, by_column, constant = jnp.moveaxis(maps, 2, 0)[..., None, None]
    points = by_row * rows + by_column * columns + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    image = jnp.arange(count)[:, None, None]

    def blend(row: Array) -> Array:
        first = images[image, row, left].astype(jnp.float32)
        second = images[image, row, right].astype(jnp.float32)
        return first + across * (second - first)

    above = blend(top)
    return above + down * (blend(bottom) - above)


def shift_colors(images: Array, shares: Array, directions: Array) -> Array:
    """Add to images of 0..255 [N, H, W, C] the directions [C, C] (rows) in the shares [N, C]."""
    shifts = (shares[:, :, None] * directions).sum(axis=1)
    return images + 255 * shifts[:, None, None]


def _neighbours(points: Array, size: int) -> tuple[Array, Array, Array]:
    """Return the pixels before and after points [N, H, W], and the latter's share, with C last."""
    points = points.clip(0, (size - 1) * UNIT)
    before = points // UNIT
    share = (points % UNIT).astype(jnp.float32) / UNIT
    return before, (before + 1).clip(max=size - 1), share[..., None]
