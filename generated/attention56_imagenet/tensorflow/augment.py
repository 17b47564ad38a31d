"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import tensorflow as tf

UNIT = 2**16
"""Maps count in these shares of a pixel."""


def normalize(images: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Turn numbers of 0..255 [N, H, W, C] into float [N, H, W, C]."""
    return (tf.cast(images, mean.dtype) / 255 - mean) * scale


def augment(
    images: tf.Tensor,
    offsets: tf.Tensor,
    flips: tf.Tensor,
    pad: int,
    mean: tf.Tensor,
    scale: tf.Tensor,
) -> tf.Tensor:
    """Normalise, zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes images of 0..255 [N, H, W, C], offsets int32 [N, 2] in 0..2 * pad (row, column), flips
    bool [N]; returns float [N, H, W, C]. Done by one gather for rows and one for columns.
    """
    _, height, width, _ = images.shape
    rows = tf.range(height) + offsets[:, :1] - pad
    columns = tf.range(width) + offsets[:, 1:] - pad
    columns = tf.where(flips[:, None], columns[:, ::-1], columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    pixels = normalize(images, mean, scale)
    pixels = tf.gather(pixels, tf.clip_by_value(rows, 0, height - 1), axis=1, batch_dims=1)
    pixels = tf.gather(pixels, tf.clip_by_value(columns, 0, width - 1), axis=2, batch_dims=1)
    return tf.where(inside, pixels, tf.zeros_like(pixels))


def warp(images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Sample images [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3] take (row, column, 1) to the row and column of a point, in units of 2**-16
    pixels; returns float32 [N, H, W, C].
    """
    _, height, width, channels = images.shape
    by_row, by_column, constant = tf.unstack(maps[..., None, None], axis=2)
    points = by_row * tf.range(height)[:, None] + by_column * tf.range(width) + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    pixels = tf.reshape(images, [-1, height * width, channels])

    def blend(row: tf.Tensor) -> tf.Tensor:
        first = tf.cast(tf.gather(pixels, row * width + left, batch_dims=1), tf.float32)
        second = tf.cast(tf.gather(pixels, row * width + right, batch_dims=1), tf.float32)
        return first + across * (second - first)

    above = blend(top)
    return above + down * (blend(bottom) - above)


def shift_colors(images: tf.Tensor, shares: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
    """Add to images of 0..255 [N, H, W, C] the directions [C, C] (rows) in the shares [N, C]."""
    shifts = tf.reduce_sum(shares[:, :, None] * directions, axis=1)
    return tf.cast(images, shifts.dtype) + 255 * shifts[:, None, None]


def _neighbours(points: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the pixels before and after points [N, H, W], and the latter's share, with C last."""
    points = tf.clip_by_value(points, 0, (size - 1) * UNIT)
    before = points // UNIT
    share = tf.cast(points % UNIT, tf.float32) / UNIT
    return before, tf.minimum(before + 1, size - 1), share[..., None]
