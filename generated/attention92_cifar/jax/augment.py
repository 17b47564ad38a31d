"""Normalisation and augmentation on the device, from uint8 images and draws of the host.

Every function gives the same bytes in every framework, compiled or not: no product is added before
it is rounded (a compiler may fuse the two), no sum is left to be ordered, and what is divided is
divided by a power of two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from data import Statistics

UNIT = 2**16
"""Maps count in these shares of a pixel, warped pixels and shifts of colour of a level of 256."""

MIXED = 2**20
"""Mixed images are rounded to these shares of 1."""


class DeviceStatistics(NamedTuple):
    """What images of 0..255 are normalised by, and the colours that they are shifted along."""

    mean: Array
    scale: Array
    directions: Array | None = None


def put_statistics(statistics: Statistics, dtype: Any = jnp.float32) -> DeviceStatistics:
    """Put the statistics of images in [0, 1] on the device; `dtype` is that of the batches."""
    levels = {"mean": statistics.mean * 255, "scale": statistics.scale / 255}
    if statistics.directions is not None:
        levels["directions"] = statistics.directions * 255
    return DeviceStatistics(**{name: jnp.asarray(array, dtype) for name, array in levels.items()})


def normalize(images: Array, statistics: DeviceStatistics) -> Array:
    """Turn numbers of 0..255 [N, H, W, C] into the network's input, float [N, H, W, C]."""
    return (images.astype(statistics.mean.dtype) - statistics.mean) * statistics.scale


def crop_and_flip_images(images: Array, offsets: Array, flips: Array, pad: int) -> Array:
    """Zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes the network's input [N, H, W, C], offsets [N, 2] in 0..2 * pad (row, column), flips bool
    [N]. Done by one gather.
    """
    count, height, width, _ = images.shape
    rows = jnp.arange(height) + offsets[:, :1] - pad
    columns = jnp.arange(width) + offsets[:, 1:] - pad
    columns = jnp.where(flips[:, None], columns[:, ::-1], columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    pixels = images[
        jnp.arange(count)[:, None, None],
        rows.clip(0, height - 1)[:, :, None],
        columns.clip(0, width - 1)[:, None, :],
    ]
    return jnp.where(inside, pixels, 0)


def warp(images: Array, maps: Array, size: tuple[int, int] | None = None) -> Array:
    """Sample images uint8 [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3], or one for all [1, 2, 3], take (row, column, 1) of an image of `size`
    (height, width; else the old one) to the row and column of a point, in units of 2**-16 pixels.
    Returns float32 [N, *size, C], numbers of 0..255 rounded to units of 2**-16.
    """
    count, height, width, _ = images.shape
    rows, columns = (jnp.arange(length, dtype=maps.dtype) for length in size or (height, width))
    by_row, by_column, constant = jnp.moveaxis(maps, 2, 0)[..., None, None]
    points = by_row * rows[:, None] + by_column * columns + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    image = jnp.arange(count)[:, None, None]

    def blend(row: Array) -> Array:
        first = images[image, row, left].astype(jnp.float32)
        second = images[image, row, right].astype(jnp.float32)
        return first * UNIT + across * (second - first)

    above = blend(top)
    return (above + jnp.round((blend(bottom) - above) * (down / UNIT))) / UNIT


def shift_colors(images: Array, shares: Array, statistics: DeviceStatistics) -> Array:
    """Add to images of 0..255 [N, H, W, C] the principal colours in the shares [N, C].

    Each colour's part is rounded to units of 2**-16.
    """
    directions = statistics.directions
    assert directions is not None
    products = jnp.round(shares.astype(directions.dtype)[:, :, None] * directions * UNIT)
    first, *others = jnp.unstack(products, axis=1)
    shifts = sum(others, start=first) / UNIT
    return images.astype(directions.dtype) + shifts[:, None, None]


def partners(array: Array) -> Array:
    """Return for each sample of a batch the one it is mixed with: its neighbour, [N, ...]."""
    pairs = array.reshape(-1, 2, *array.shape[1:])
    return pairs[:, ::-1].reshape(array.shape)


def mixup(images: Array, shares: Array) -> Array:
    """Blend the network's input [N, H, W, C] with its partners', keeping the shares [N] of its own.

    Shares are whole numbers of 2**-10; each part is rounded to units of 2**-20.
    """
    kept = shares.astype(images.dtype)[:, None, None, None] * MIXED
    blended = jnp.round(kept * images) + jnp.round((MIXED - kept) * partners(images))
    return blended / MIXED


def cutmix(images: Array, boxes: Array) -> Array:
    """Replace boxes of the network's input [N, H, W, C] by the same parts of its partners.

    Boxes int32 [N, 4] are top, left, bottom, right, the last two not within.
    """
    _, height, width, _ = images.shape
    top, left, bottom, right = boxes.T[..., None]
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return jnp.where(inside, partners(images), images)


def mix_labels(labels: Array, shares: Array, classes: int) -> Array:
    """Mix labels [N] with their partners', keeping the shares [N] of their own: [N, classes]."""
    targets = jax.nn.one_hot(labels, classes, dtype=shares.dtype)
    return shares[:, None] * targets + (1 - shares[:, None]) * partners(targets)


def _neighbours(points: Array, size: int) -> tuple[Array, Array, Array]:
    """Return the pixels before and after points [N, H, W], and the latter's units, with C last."""
    points = points.clip(0, (size - 1) * UNIT)
    before = points // UNIT
    return before, (before + 1).clip(max=size - 1), (points % UNIT).astype(jnp.float32)[..., None]
