"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def normalize(images: Array, mean: Array, scale: Array) -> Array:
    """Turn uint8 [N, H, W, C] into float [N, H, W, C]."""
    return (images.astype(mean.dtype) / 255 - mean) * scale


def augment(
    images: Array, offsets: Array, flips: Array, pad: int, mean: Array, scale: Array
) -> Array:
    """Normalise, zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes images uint8 [N, H, W, C], offsets [N, 2] in 0..2 * pad (row, column), flips bool [N];
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
