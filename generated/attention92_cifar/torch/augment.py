"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import torch
from torch import Tensor


def normalize(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Turn uint8 [N, H, W, C] into float [N, C, H, W] in channels-last memory."""
    return ((images.to(mean.dtype) / 255 - mean) * scale).permute(0, 3, 1, 2)


def augment(
    images: Tensor, offsets: Tensor, flips: Tensor, pad: int, mean: Tensor, scale: Tensor
) -> Tensor:
    """Normalise, zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes images uint8 [N, H, W, C], offsets [N, 2] in 0..2 * pad (row, column), flips bool [N];
    returns float [N, C, H, W] in channels-last memory. Done by one gather.
    """
    count, height, width, _ = images.shape
    device = images.device
    rows = torch.arange(height, device=device) + offsets[:, :1] - pad
    columns = torch.arange(width, device=device) + offsets[:, 1:] - pad
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    pixels = normalize(images, mean, scale)[
        torch.arange(count, device=device)[:, None, None],
        :,
        rows.clamp(0, height - 1)[:, :, None],
        columns.clamp(0, width - 1)[:, None, :],
    ]
    return pixels.permute(0, 3, 1, 2) * inside
