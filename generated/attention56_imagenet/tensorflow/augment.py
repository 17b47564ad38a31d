"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import tensorflow as tf


def normalize(images: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Turn uint8 [N, H, W, C] into float [N, H, W, C]."""
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

    Takes images uint8 [N, H, W, C], offsets int32 [N, 2] in 0..2 * pad (row, column), flips
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
