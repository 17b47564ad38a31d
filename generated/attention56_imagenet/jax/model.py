"""attention56_imagenet in JAX: Wang et al., "Residual Attention Network for Image
Classification", CVPR 2017; layers as in its authors' released files.
"""

from __future__ import annotations

from flax import nnx
from jax import Array

from layers import BatchNorm, PointwiseConv, max_pool, resize_bilinear


class Stem(nnx.Module):
    """The first convolution and what prepares its output for the first stage."""

    def __init__(self, in_channels: int, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(
            in_channels,
            channels,
            kernel_size=(7, 7),
            strides=2,
            padding=3,
            use_bias=False,
            rngs=rngs,
        )
        self.norm = BatchNorm(channels)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm(self.conv(x)))
        return max_pool(x, 3, stride=2, padding="ceil")


class ProjectionBottleneck(nnx.Module):
    """Pre-activation bottleneck whose shortcut projects the activated input."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, rngs: nnx.Rngs) -> None:
        width = channels // 4
        self.norm1 = BatchNorm(in_channels)
        self.shortcut = PointwiseConv(
            in_channels, channels, strides=stride, use_bias=False, rngs=rngs
        )
        self.conv1 = PointwiseConv(in_channels, width, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(width)
        self.conv2 = nnx.Conv(
            width, width, kernel_size=(3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs
        )
        self.norm3 = BatchNorm(width)
        self.conv3 = PointwiseConv(width, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        activated = nnx.relu(self.norm1(x))
        y = self.conv1(activated)
        y = self.conv2(nnx.relu(self.norm2(y)))
        y = self.conv3(nnx.relu(self.norm3(y)))
        return self.shortcut(activated) + y


class PreactivationBottleneck(nnx.Module):
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        width = channels // 4
        self.norm1 = BatchNorm(channels)
        self.conv1 = PointwiseConv(channels, width, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(width)
        self.conv2 = nnx.Conv(
            width, width, kernel_size=(3, 3), padding=1, use_bias=False, rngs=rngs
        )
        self.norm3 = BatchNorm(width)
        self.conv3 = PointwiseConv(width, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        y = self.conv1(nnx.relu(self.norm1(x)))
        y = self.conv2(nnx.relu(self.norm2(y)))
        y = self.conv3(nnx.relu(self.norm3(y)))
        return x + y


class SoftMaskDepth3(nnx.Module):
    """Soft mask branch that pools 3 times."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.down1 = PreactivationBottleneck(channels, rngs=rngs)
        self.down2 = PreactivationBottleneck(channels, rngs=rngs)
        self.down3 = PreactivationBottleneck(channels, rngs=rngs)
        self.bottom = PreactivationBottleneck(channels, rngs=rngs)
        self.skip2 = PreactivationBottleneck(channels, rngs=rngs)
        self.up2 = PreactivationBottleneck(channels, rngs=rngs)
        self.skip1 = PreactivationBottleneck(channels, rngs=rngs)
        self.up1 = PreactivationBottleneck(channels, rngs=rngs)
        self.norm1 = BatchNorm(channels)
        self.conv1 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(channels)
        self.conv2 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        down1 = self.down1(max_pool(x, 3, stride=2, padding="ceil"))
        down2 = self.down2(max_pool(down1, 3, stride=2, padding="ceil"))
        y = self.down3(max_pool(down2, 3, stride=2, padding="ceil"))
        y = self.bottom(y)
        y = resize_bilinear(y, down2.shape[1:3], align_corners=True)
        y = self.up2(y + self.skip2(down2))
        y = resize_bilinear(y, down1.shape[1:3], align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(nnx.relu(self.norm1(y)))
        y = self.conv2(nnx.relu(self.norm2(y)))
        return nnx.sigmoid(y)


class AttentionModuleDepth3(nnx.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 3."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.before = PreactivationBottleneck(channels, rngs=rngs)
        self.trunk = nnx.Sequential(
            PreactivationBottleneck(channels, rngs=rngs),
            PreactivationBottleneck(channels, rngs=rngs),
        )
        self.mask = SoftMaskDepth3(channels, rngs=rngs)
        self.after = PreactivationBottleneck(channels, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth2(nnx.Module):
    """Soft mask branch that pools twice."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.down1 = PreactivationBottleneck(channels, rngs=rngs)
        self.down2 = PreactivationBottleneck(channels, rngs=rngs)
        self.bottom = PreactivationBottleneck(channels, rngs=rngs)
        self.skip1 = PreactivationBottleneck(channels, rngs=rngs)
        self.up1 = PreactivationBottleneck(channels, rngs=rngs)
        self.norm1 = BatchNorm(channels)
        self.conv1 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(channels)
        self.conv2 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        down1 = self.down1(max_pool(x, 3, stride=2, padding="ceil"))
        y = self.down2(max_pool(down1, 3, stride=2, padding="ceil"))
        y = self.bottom(y)
        y = resize_bilinear(y, down1.shape[1:3], align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(nnx.relu(self.norm1(y)))
        y = self.conv2(nnx.relu(self.norm2(y)))
        return nnx.sigmoid(y)


class AttentionModuleDepth2(nnx.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 2."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.before = PreactivationBottleneck(channels, rngs=rngs)
        self.trunk = nnx.Sequential(
            PreactivationBottleneck(channels, rngs=rngs),
            PreactivationBottleneck(channels, rngs=rngs),
        )
        self.mask = SoftMaskDepth2(channels, rngs=rngs)
        self.after = PreactivationBottleneck(channels, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth1(nnx.Module):
    """Soft mask branch that pools once."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.down1 = PreactivationBottleneck(channels, rngs=rngs)
        self.bottom = PreactivationBottleneck(channels, rngs=rngs)
        self.norm1 = BatchNorm(channels)
        self.conv1 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)
        self.norm2 = BatchNorm(channels)
        self.conv2 = PointwiseConv(channels, channels, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        y = self.down1(max_pool(x, 3, stride=2, padding="ceil"))
        y = self.bottom(y)
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(nnx.relu(self.norm1(y)))
        y = self.conv2(nnx.relu(self.norm2(y)))
        return nnx.sigmoid(y)


class AttentionModuleDepth1(nnx.Module):
    """Attention module, (1 + mask) * trunk, with a mask of depth 1."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.before = PreactivationBottleneck(channels, rngs=rngs)
        self.trunk = nnx.Sequential(
            PreactivationBottleneck(channels, rngs=rngs),
            PreactivationBottleneck(channels, rngs=rngs),
        )
        self.mask = SoftMaskDepth1(channels, rngs=rngs)
        self.after = PreactivationBottleneck(channels, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class Head(nnx.Module):
    """Global average pooling and the classifier."""

    def __init__(self, in_channels: int, classes: int, *, rngs: nnx.Rngs) -> None:
        self.norm = BatchNorm(in_channels)
        self.classifier = nnx.Linear(in_channels, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.classifier(nnx.relu(self.norm(x)).mean(axis=(1, 2)))


class Attention56(nnx.Module):
    """Wang et al., "Residual Attention Network for Image Classification", CVPR 2017; layers as
    in its authors' released files.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1000, *, rngs: nnx.Rngs) -> None:
        self.stem = Stem(in_channels, 64, rngs=rngs)
        self.stage1 = nnx.Sequential(
            ProjectionBottleneck(64, 256, stride=1, rngs=rngs),
            AttentionModuleDepth3(256, rngs=rngs),
        )
        self.stage2 = nnx.Sequential(
            ProjectionBottleneck(256, 512, stride=2, rngs=rngs),
            AttentionModuleDepth2(512, rngs=rngs),
        )
        self.stage3 = nnx.Sequential(
            ProjectionBottleneck(512, 1024, stride=2, rngs=rngs),
            AttentionModuleDepth1(1024, rngs=rngs),
        )
        self.tail = nnx.Sequential(
            ProjectionBottleneck(1024, 2048, stride=2, rngs=rngs),
            PreactivationBottleneck(2048, rngs=rngs),
            PreactivationBottleneck(2048, rngs=rngs),
        )
        self.head = Head(2048, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)  # 56x56x64
        x = self.stage1(x)  # 56x56x256
        x = self.stage2(x)  # 28x28x512
        x = self.stage3(x)  # 14x14x1024
        x = self.tail(x)  # 7x7x2048
        return self.head(x)
