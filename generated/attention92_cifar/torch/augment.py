"""Normalisation and augmentation on the device, from uint8 images and draws of the host.

Every function gives the same bytes in every framework, compiled or not: no product is added before
it is rounded (a compiler may fuse the two), no sum is left to be ordered, and what is divided is
divided by a power of two.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from data import Statistics

UNIT_BITS = 16
UNIT = 1 << UNIT_BITS
"""Maps count in these shares of a pixel, warped pixels and shifts of colour of a level of 256."""

MIXED = 2**20
"""Mixed images are rounded to these shares of 1."""


class DeviceStatistics(NamedTuple):
    """What images of 0..255 are normalised by, and the colours that they are shifted along."""

    mean: Tensor
    scale: Tensor
    directions: Tensor | None = None


def put_statistics(
    statistics: Statistics, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> DeviceStatistics:
    """Put the statistics of images in [0, 1] on the device; `dtype` is that of the batches."""
    levels = {"mean": statistics.mean * 255, "scale": statistics.scale / 255}
    if statistics.directions is not None:
        levels["directions"] = statistics.directions * 255
    return DeviceStatistics(
        **{name: torch.from_numpy(array).to(device, dtype) for name, array in levels.items()}
    )


def normalize(images: Tensor, statistics: DeviceStatistics) -> Tensor:
    """Turn numbers of 0..255 [N, H, W, C] into the network's input, float [N, C, H, W].

    It is in channels-last memory.
    """
    pixels = (images.to(statistics.mean.dtype) - statistics.mean) * statistics.scale
    return pixels.permute(0, 3, 1, 2)


def crop_and_flip_images(images: Tensor, offsets: Tensor, flips: Tensor, pad: int) -> Tensor:
    """Zero-pad each side by `pad`, crop to the old size at `offsets`, then flip.

    Takes the network's input [N, C, H, W], offsets [N, 2] in 0..2 * pad (row, column), flips bool
    [N]. Done by one gather.
    """
    count, channels, height, width = images.shape
    device = images.device
    rows = torch.arange(height, device=device) + offsets[:, :1] - pad
    columns = torch.arange(width, device=device) + offsets[:, 1:] - pad
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    rows = torch.arange(count, device=device)[:, None] * height + rows.clamp(0, height - 1)
    places = rows[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    pixels = pixels.index_select(0, places.flatten()).reshape(count, height, width, channels)
    return torch.where(inside, pixels, 0.0).permute(0, 3, 1, 2)


def warp(images: Tensor, maps: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Sample images uint8 [N, H, W, C] bilinearly at other points; beyond an edge its pixels go on.

    Maps int32 [N, 2, 3], or one for all [1, 2, 3], take (row, column, 1) of an image of `size`
    (height, width; else the old one) to the row and column of a point, in units of 2**-16 pixels.
    Returns float32 [N, *size, C], numbers of 0..255 rounded to units of 2**-16.
    """
    count, height, width, channels = images.shape
    rows, columns = (
        torch.arange(length, dtype=maps.dtype, device=maps.device)
        for length in size or (height, width)
    )
    by_row, by_column, constant = maps[..., None, None].unbind(2)
    points = by_row * rows[:, None] + by_column * columns + constant
    top, bottom, down = _neighbours(points[:, 0], height)
    left, right, across = _neighbours(points[:, 1], width)
    first_row = torch.arange(count, device=maps.device)[:, None, None] * height
    pixels = images.reshape(-1, channels).float()

    def pixel(row: Tensor, column: Tensor) -> Tensor:
        places = (first_row + row) * width + column
        return pixels.index_select(0, places.flatten()).reshape(*places.shape, channels)

    def blend(row: Tensor) -> Tensor:
        first, second = pixel(row, left), pixel(row, right)
        return first * UNIT + across * (second - first)

    above = blend(top)
    return (above + ((blend(bottom) - above) * (down / UNIT)).round()) / UNIT


def shift_colors(images: Tensor, shares: Tensor, statistics: DeviceStatistics) -> Tensor:
    """Add to images of 0..255 [N, H, W, C] the principal colours in the shares [N, C].

    Each colour's part is rounded to units of 2**-16.
    """
    directions = statistics.directions
    assert directions is not None
    products = (shares.to(directions.dtype)[:, :, None] * directions * UNIT).round()
    first, *others = products.unbind(1)
    shifts = sum(others, start=first) / UNIT
    return images.to(directions.dtype) + shifts[:, None, None]


def partners(array: Tensor) -> Tensor:
    """Return for each sample of a batch the one it is mixed with: its neighbour, [N, ...]."""
    return array.reshape(-1, 2, *array.shape[1:]).flip(1).flatten(0, 1)


def mixup(images: Tensor, shares: Tensor) -> Tensor:
    """Blend the network's input [N, C, H, W] with its partners', keeping the shares [N] of its own.

    Shares are whole numbers of 2**-10; each part is rounded to units of 2**-20.
    """
    kept = shares.to(images.dtype)[:, None, None, None] * MIXED
    blended = (kept * images).round() + ((MIXED - kept) * partners(images)).round()
    return blended / MIXED


def cutmix(images: Tensor, boxes: Tensor) -> Tensor:
    """Replace boxes of the network's input [N, C, H, W] by the same parts of its partners.

    Boxes int32 [N, 4] are top, left, bottom, right, the last two not within.
    """
    _, _, height, width = images.shape
    top, left, bottom, right = boxes[..., None].unbind(1)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    inside_rows = (rows >= top) & (rows < bottom)
    inside_columns = (columns >= left) & (columns < right)
    inside = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return torch.where(inside, partners(images), images)


def mix_labels(labels: Tensor, shares: Tensor, classes: int) -> Tensor:
    """Mix labels [N] with their partners', keeping the shares [N] of their own: [N, classes]."""
    targets = F.one_hot(labels, classes).to(shares.dtype)
    return shares[:, None] * targets + (1 - shares[:, None]) * partners(targets)


def _neighbours(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels before and after points [N, H, W], and the latter's units, with C last."""
    points = points.clamp(0, (size - 1) * UNIT)
    before = points >> UNIT_BITS
    share = points & (UNIT - 1)
    return before, (before + 1).clamp(max=size - 1), share.float()[..., None]
