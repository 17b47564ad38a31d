"""Normalisation and augmentation on the device, from uint8 images and draws of the host."""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = 2**16
"""Maps count in these shares of a pixel."""


def normalize(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Turn numbers of 0..255 [N, H, W, C] into float [N, C, H, W] in channels-last memory."""
    return ((images.to(mean.dtype) / 255 - mean) * scale).permute(0, 3, 1, 2)


def augment(
    images: Tensor, offsets: Tensor, flips: Tensor, pad: int, mean: Tensor, scale: Tensor
) -> Tensor:
    """Normalise, zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes images of 0..255 [N, H, W, C], offsets [N, 2] in 0..2 * pad (row, column), flips bool [N];
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


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Sample images [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3] take (row, column, 1) to the row and column of a point, in units of 2**-16
    pixels; returns float32 [N, H, W, C].
    """
    count, height, width, _ = images.shape
    rows = torch.arange(height, dtype=maps.dtype, device=maps.device)[:, None]
    columns = torch.arange(width, dtype=maps.dtype, device=maps.device)
    by_row, by_column, constant = maps[..., None, None].unbind(2)
    points = by_row * rows + by_column * columns + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    image = torch.arange(count, device=maps.device)[:, None, None]

    def blend(row: Tensor) -> Tensor:
        first, second = images[image, row, left].float(), images[image, row, right].float()
        return first + across * (second - first)

    above = blend(top)
    return above + down * (blend(bottom) - above)


def shift_colors(images: Tensor, shares: Tensor, directions: Tensor) -> Tensor:
    """Add to images of 0..255 [N, H, W, C] the directions [C, C] (rows) in the shares [N, C]."""
    shifts = (shares[:, :, None] * directions).sum(dim=1)
    return images + 255 * shifts[:, None, None]


def _neighbours(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels before and after points [N, H, W], and the latter's share, with C last."""
    points = points.clamp(0, (size - 1) * UNIT)
    before = points // UNIT
    return before, (before + 1).clamp(max=size - 1), (points % UNIT / UNIT)[..., None]
