"""Normalisation and augmentation on the device, from uint8 images and draws of the host.

Every function gives the same bytes in every framework, compiled or not: no product is added before
it is rounded (a compiler may fuse the two), no sum is left to be ordered, and what is divided is
divided by a power of two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from data import Statistics

UNIT = 2**16
"""Maps count in these shares of a pixel, warped pixels and shifts of colour of a level of 256."""

MIXED = 2**20
"""Mixed images are rounded to these shares of 1."""


class DeviceStatistics(NamedTuple):
    """What images of 0..255 are normalised by, and the colours that they are shifted along."""

    mean: tf.Tensor
    scale: tf.Tensor
    directions: tf.Tensor | None = None


def put_statistics(statistics: Statistics, dtype: Any = tf.float32) -> DeviceStatistics:
    """Put the statistics of images in [0, 1] on the device; `dtype` is that of the batches."""
    levels = {"mean": statistics.mean * 255, "scale": statistics.scale / 255}
    if statistics.directions is not None:
        levels["directions"] = statistics.directions * 255
    return DeviceStatistics(**{name: tf.constant(array, dtype) for name, array in levels.items()})


def normalize(images: tf.Tensor, statistics: DeviceStatistics) -> tf.Tensor:
    """Turn numbers of 0..255 [N, H, W, C] into the network's input, float [N, H, W, C]."""
    return (tf.cast(images, statistics.mean.dtype) - statistics.mean) * statistics.scale


def crop_and_flip_images(
    images: tf.Tensor, offsets: tf.Tensor, flips: tf.Tensor, pad: int
) -> tf.Tensor:
    """Zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes the network's input [N, H, W, C], offsets int32 [N, 2] in 0..2 * pad (row, column), flips
    bool [N]. Done by one gather for rows and one for columns.
    """
    _, height, width, _ = images.shape
    rows = tf.range(height) + offsets[:, :1] - pad
    columns = tf.range(width) + offsets[:, 1:] - pad
    columns = tf.where(flips[:, None], columns[:, ::-1], columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    pixels = tf.gather(images, tf.clip_by_value(rows, 0, height - 1), axis=1, batch_dims=1)
    pixels = tf.gather(pixels, tf.clip_by_value(columns, 0, width - 1), axis=2, batch_dims=1)
    return tf.where(inside, pixels, tf.zeros_like(pixels))


def warp(images: tf.Tensor, maps: tf.Tensor, size: tuple[int, int] | None = None) -> tf.Tensor:
    """Sample images uint8 [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3], or one for all [1, 2, 3], take (row, column, 1) of an image of `size`
    (height, width; else the old one) to the row and column of a point, in units of 2**-16 pixels.
    Returns float32 [N, *size, C], numbers of 0..255 rounded to units of 2**-16.
    """
    _, height, width, channels = images.shape
    rows, columns = (tf.range(length) for length in size or (height, width))
    maps = tf.broadcast_to(maps, [tf.shape(images)[0], 2, 3])
    by_row, by_column, constant = tf.unstack(maps[..., None, None], axis=2)
    points = by_row * rows[:, None] + by_column * columns + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    pixels = tf.reshape(images, [-1, height * width, channels])

    def blend(row: tf.Tensor) -> tf.Tensor:
        first = tf.cast(tf.gather(pixels, row * width + left, batch_dims=1), tf.float32)
        second = tf.cast(tf.gather(pixels, row * width + right, batch_dims=1), tf.float32)
        return first * UNIT + across * (second - first)

    above = blend(top)
    return (above + tf.round((blend(bottom) - above) * (down / UNIT))) / UNIT


def shift_colors(images: tf.Tensor, shares: tf.Tensor, statistics: DeviceStatistics) -> tf.Tensor:
    """Add to images of 0..255 [N, H, W, C] the principal colours in the shares [N, C].

    Each colour's part is rounded to units of 2**-16.
    """
    directions = statistics.directions
    assert directions is not None
    products = tf.round(tf.cast(shares, directions.dtype)[:, :, None] * directions * UNIT)
    first, *others = tf.unstack(products, axis=1)
    shifts = sum(others, start=first) / UNIT
    return tf.cast(images, directions.dtype) + shifts[:, None, None]


def partners(array: tf.Tensor) -> tf.Tensor:
    """Return for each sample of a batch the one it is mixed with: its neighbour, [N, ...]."""
    shape = tf.shape(array)
    pairs = tf.reshape(array, tf.concat([[-1, 2], shape[1:]], axis=0))
    return tf.reshape(pairs[:, ::-1], shape)


def mixup(images: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Blend the network's input [N, H, W, C] with its partners', keeping the shares [N] of its own.

    Shares are whole numbers of 2**-10; each part is rounded to units of 2**-20.
    """
    kept = tf.cast(shares, images.dtype)[:, None, None, None] * MIXED
    blended = tf.round(kept * images) + tf.round((MIXED - kept) * partners(images))
    return blended / MIXED


def cutmix(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Replace boxes of the network's input [N, H, W, C] by the same parts of its partners.

    Boxes int32 [N, 4] are top, left, bottom, right, the last two not within.
    """
    _, height, width, _ = images.shape
    top, left, bottom, right = tf.unstack(boxes[..., None], axis=1)
    rows, columns = tf.range(height), tf.range(width)
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return tf.where(inside, partners(images), images)


def mix_labels(labels: tf.Tensor, shares: tf.Tensor, classes: int) -> tf.Tensor:
    """Mix labels [N] with their partners', keeping the shares [N] of their own: [N, classes]."""
    targets = tf.one_hot(labels, classes, dtype=shares.dtype)
    return shares[:, None] * targets + (1 - shares[:, None]) * partners(targets)


def _neighbours(points: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the pixels before and after points [N, H, W], and the latter's units, with C last."""
    points = tf.clip_by_value(points, 0, (size - 1) * UNIT)
    before = points // UNIT
    share = tf.cast(points % UNIT, tf.float32)
    return before, tf.minimum(before + 1, size - 1), share[..., None]
