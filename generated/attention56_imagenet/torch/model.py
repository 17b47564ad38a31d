"""attention56_imagenet in PyTorch: Wang et al., "Residual Attention Network for Image
Classification", CVPR 2017; layers as in its authors' released files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stem(nn.Module):
    """The first convolution and what prepares its output for the first stage."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


class ProjectionBottleneck(nn.Module):
    """Pre-activation bottleneck whose shortcut projects the activated input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // 4
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.shortcut = nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride, bias=False)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x))
        y = self.conv1(activated)
        y = self.conv2(F.relu(self.norm2(y)))
        y = self.conv3(F.relu(self.norm3(y)))
        return self.shortcut(activated) + y


class PreactivationBottleneck(nn.Module):
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 4
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        y = self.conv3(F.relu(self.norm3(y)))
        return x + y


class SoftMaskDepth3(nn.Module):
    """Soft mask branch that pools 3 times."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = PreactivationBottleneck(channels)
        self.down2 = PreactivationBottleneck(channels)
        self.down3 = PreactivationBottleneck(channels)
        self.bottom = PreactivationBottleneck(channels)
        self.skip2 = PreactivationBottleneck(channels)
        self.up2 = PreactivationBottleneck(channels)
        self.skip1 = PreactivationBottleneck(channels)
        self.up1 = PreactivationBottleneck(channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.down1(F.max_pool2d(x, 3, stride=2, ceil_mode=True))
        down2 = self.down2(F.max_pool2d(down1, 3, stride=2, ceil_mode=True))
        y = self.down3(F.max_pool2d(down2, 3, stride=2, ceil_mode=True))
        y = self.bottom(y)
        y = F.interpolate(y, size=down2.shape[-2:], mode="bilinear", align_corners=True)
        y = self.up2(y + self.skip2(down2))
        y = F.interpolate(y, size=down1.shape[-2:], mode="bilinear", align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=True)
        y = self.conv1(F.relu(self.norm1(y)))
        y = self.conv2(F.relu(self.norm2(y)))
        return torch.sigmoid(y)


class AttentionModuleDepth3(nn.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = nn.Sequential(
            PreactivationBottleneck(channels), PreactivationBottleneck(channels)
        )
        self.mask = SoftMaskDepth3(channels)
        self.after = PreactivationBottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth2(nn.Module):
    """Soft mask branch that pools twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = PreactivationBottleneck(channels)
        self.down2 = PreactivationBottleneck(channels)
        self.bottom = PreactivationBottleneck(channels)
        self.skip1 = PreactivationBottleneck(channels)
        self.up1 = PreactivationBottleneck(channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.down1(F.max_pool2d(x, 3, stride=2, ceil_mode=True))
        y = self.down2(F.max_pool2d(down1, 3, stride=2, ceil_mode=True))
        y = self.bottom(y)
        y = F.interpolate(y, size=down1.shape[-2:], mode="bilinear", align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=True)
        y = self.conv1(F.relu(self.norm1(y)))
        y = self.conv2(F.relu(self.norm2(y)))
        return torch.sigmoid(y)


class AttentionModuleDepth2(nn.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = nn.Sequential(
            PreactivationBottleneck(channels), PreactivationBottleneck(channels)
        )
        self.mask = SoftMaskDepth2(channels)
        self.after = PreactivationBottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth1(nn.Module):
    """Soft mask branch that pools once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = PreactivationBottleneck(channels)
        self.bottom = PreactivationBottleneck(channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down1(F.max_pool2d(x, 3, stride=2, ceil_mode=True))
        y = self.bottom(y)
        y = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=True)
        y = self.conv1(F.relu(self.norm1(y)))
        y = self.conv2(F.relu(self.norm2(y)))
        return torch.sigmoid(y)


class AttentionModuleDepth1(nn.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = nn.Sequential(
            PreactivationBottleneck(channels), PreactivationBottleneck(channels)
        )
        self.mask = SoftMaskDepth1(channels)
        self.after = PreactivationBottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class Head(nn.Module):
    """Global average pooling and the classifier."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.classifier = nn.Linear(in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.norm(x)).mean(dim=(2, 3)))


class Attention56(nn.Module):
    """Wang et al., "Residual Attention Network for Image Classification", CVPR 2017; layers as
    in its authors' released files.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1000) -> None:
        super().__init__()
        self.stem = Stem(in_channels, 64)
        self.stage1 = nn.Sequential(
            ProjectionBottleneck(64, 256, stride=1), AttentionModuleDepth3(256)
        )
        self.stage2 = nn.Sequential(
            ProjectionBottleneck(256, 512, stride=2), AttentionModuleDepth2(512)
        )
        self.stage3 = nn.Sequential(
            ProjectionBottleneck(512, 1024, stride=2), AttentionModuleDepth1(1024)
        )
        self.tail = nn.Sequential(
            ProjectionBottleneck(1024, 2048, stride=2),
            PreactivationBottleneck(2048),
            PreactivationBottleneck(2048),
        )
        self.head = Head(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # 56x56x64
        x = self.stage1(x)  # 56x56x256
        x = self.stage2(x)  # 28x28x512
        x = self.stage3(x)  # 14x14x1024
        x = self.tail(x)  # 7x7x2048
        return self.head(x)
