"""Layers that PyTorch does not have with the semantics this network needs."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EpsilonUse = Literal["added", "least"]


class Conv2dPadded(nn.Conv2d):
    """A convolution whose zero padding differs between sides."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        padding: tuple[int, int, int, int],
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        """Take the padding as (left, right, top, bottom)."""
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)
        self.margins = padding

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.margins))


class ChannelAffine(nn.Module):
    """Scale and shift that are learned for each channel and shared by all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class SpatialAffine(nn.Module):
    """Scale and shift that are learned for each position and shared by all channels."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(height, width))
        self.shift = nn.Parameter(torch.zeros(height, width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def channel_normalize(x: Tensor, epsilon: float, epsilon_use: EpsilonUse = "added") -> Tensor:
    """Divide each position's channels by their L2 norm.

    Epsilon is added to the sum of squares, or is the least that it is taken for.
    """
    squares = x.square().sum(dim=1, keepdim=True)
    return x * torch.rsqrt(
        squares.clamp(min=epsilon) if epsilon_use == "least" else squares + epsilon
    )


def spatial_normalize(x: Tensor, epsilon: float) -> Tensor:
    """Give each channel's map zero mean and unit variance."""
    centred = x - x.mean(dim=(2, 3), keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=(2, 3), keepdim=True) + epsilon)


def channel_standardize(x: Tensor, epsilon: float) -> Tensor:
    """Give each position's channels zero mean and unit variance."""
    centred = x - x.mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + epsilon)


def max_pool_same(x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Max-pool to ceil(size / stride), the surplus of the windows split between both sides."""
    margins = _same_margins(x, kernel_size, stride)
    return F.max_pool2d(F.pad(x, margins, value=-torch.inf), kernel_size, stride)


def average_pool_same(x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Average-pool to ceil(size / stride), over the values inside the map alone."""
    margins = _same_margins(x, kernel_size, stride)
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), margins), kernel_size, stride)
    return F.avg_pool2d(F.pad(x, margins), kernel_size, stride) / inside


def resize_nearest(x: Tensor, size: torch.Size) -> Tensor:
    """Give a map (height, width): position i of m is position floor(i n / m) of n.

    PyTorch rounds that quotient in float32, which is exact where sizes double.
    """
    pairs = list(zip(x.shape[-2:], size, strict=True))
    if all(new % old == 0 and (new // old).bit_count() == 1 for old, new in pairs):
        return F.interpolate(x, size=size, mode="nearest")
    rows, columns = (torch.arange(new, device=x.device) * old // new for old, new in pairs)
    return x[:, :, rows[:, None], columns]


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Append channels of zeros, so that there are `channels`."""
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


def _same_margins(x: Tensor, kernel_size: int, stride: int) -> tuple[int, int, int, int]:
    margins: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        surplus = max((-(-size // stride) - 1) * stride + kernel_size - size, 0)
        margins += [surplus // 2, surplus - surplus // 2]
    return margins[0], margins[1], margins[2], margins[3]
