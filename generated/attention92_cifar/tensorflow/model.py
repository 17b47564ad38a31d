"""attention92_cifar in TensorFlow: Wang et al., "Residual Attention Network for Image
Classification", CVPR 2017.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from layers import BatchNorm, Block, Conv2D, Sequence, max_pool_ceil, resize_bilinear


class Stem(Block):
    """The first convolution and what prepares its output for the first stage."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2D(channels, kernel_size=3, padding=1, use_bias=False)
        self.norm = BatchNorm()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(self.norm(self.conv(x)))


class ProjectionBottleneck(Block):
    """Pre-activation bottleneck whose shortcut projects the activated input."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // 4
        self.norm1 = BatchNorm()
        self.shortcut = Conv2D(channels, kernel_size=1, strides=stride, use_bias=False)
        self.conv1 = Conv2D(width, kernel_size=1, use_bias=False)
        self.norm2 = BatchNorm()
        self.conv2 = Conv2D(width, kernel_size=3, strides=stride, padding=1, use_bias=False)
        self.norm3 = BatchNorm()
        self.conv3 = Conv2D(channels, kernel_size=1, use_bias=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        activated = tf.nn.relu(self.norm1(x))
        y = self.conv1(activated)
        y = self.conv2(tf.nn.relu(self.norm2(y)))
        y = self.conv3(tf.nn.relu(self.norm3(y)))
        return self.shortcut(activated) + y


class PreactivationBottleneck(Block):
    """Pre-activation bottleneck unit with identity shortcut (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // 4
        self.norm1 = BatchNorm()
        self.conv1 = Conv2D(width, kernel_size=1, use_bias=False)
        self.norm2 = BatchNorm()
        self.conv2 = Conv2D(width, kernel_size=3, padding=1, use_bias=False)
        self.norm3 = BatchNorm()
        self.conv3 = Conv2D(channels, kernel_size=1, use_bias=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = self.conv1(tf.nn.relu(self.norm1(x)))
        y = self.conv2(tf.nn.relu(self.norm2(y)))
        y = self.conv3(tf.nn.relu(self.norm3(y)))
        return x + y


class SoftMaskDepth3(Block):
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
        self.norm1 = BatchNorm()
        self.conv1 = Conv2D(channels, kernel_size=1, use_bias=False)
        self.norm2 = BatchNorm()
        self.conv2 = Conv2D(channels, kernel_size=1, use_bias=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        down1 = self.down1(max_pool_ceil(x, 3, strides=2))
        down2 = self.down2(max_pool_ceil(down1, 3, strides=2))
        y = self.down3(max_pool_ceil(down2, 3, strides=2))
        y = self.bottom(y)
        y = resize_bilinear(y, down2.shape[1:3], align_corners=True)
        y = self.up2(y + self.skip2(down2))
        y = resize_bilinear(y, down1.shape[1:3], align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(tf.nn.relu(self.norm1(y)))
        y = self.conv2(tf.nn.relu(self.norm2(y)))
        return tf.sigmoid(y)


class AttentionModuleDepth3(Block):
    """Attention module, (1 + mask) * trunk, with a mask of depth 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = Sequence(PreactivationBottleneck(channels), PreactivationBottleneck(channels))
        self.mask = SoftMaskDepth3(channels)
        self.after = PreactivationBottleneck(channels)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth2(Block):
    """Soft mask branch that pools twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = PreactivationBottleneck(channels)
        self.down2 = PreactivationBottleneck(channels)
        self.bottom = PreactivationBottleneck(channels)
        self.skip1 = PreactivationBottleneck(channels)
        self.up1 = PreactivationBottleneck(channels)
        self.norm1 = BatchNorm()
        self.conv1 = Conv2D(channels, kernel_size=1, use_bias=False)
        self.norm2 = BatchNorm()
        self.conv2 = Conv2D(channels, kernel_size=1, use_bias=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        down1 = self.down1(max_pool_ceil(x, 3, strides=2))
        y = self.down2(max_pool_ceil(down1, 3, strides=2))
        y = self.bottom(y)
        y = resize_bilinear(y, down1.shape[1:3], align_corners=True)
        y = self.up1(y + self.skip1(down1))
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(tf.nn.relu(self.norm1(y)))
        y = self.conv2(tf.nn.relu(self.norm2(y)))
        return tf.sigmoid(y)


class AttentionModuleDepth2(Block):
    """Attention module, (1 + mask) * trunk, with a mask of depth 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = Sequence(PreactivationBottleneck(channels), PreactivationBottleneck(channels))
        self.mask = SoftMaskDepth2(channels)
        self.after = PreactivationBottleneck(channels)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class SoftMaskDepth1(Block):
    """Soft mask branch that pools once."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = PreactivationBottleneck(channels)
        self.bottom = PreactivationBottleneck(channels)
        self.norm1 = BatchNorm()
        self.conv1 = Conv2D(channels, kernel_size=1, use_bias=False)
        self.norm2 = BatchNorm()
        self.conv2 = Conv2D(channels, kernel_size=1, use_bias=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = self.down1(max_pool_ceil(x, 3, strides=2))
        y = self.bottom(y)
        y = resize_bilinear(y, x.shape[1:3], align_corners=True)
        y = self.conv1(tf.nn.relu(self.norm1(y)))
        y = self.conv2(tf.nn.relu(self.norm2(y)))
        return tf.sigmoid(y)


class AttentionModuleDepth1(Block):
    """Attention module, (1 + mask) * trunk, with a mask of depth 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = PreactivationBottleneck(channels)
        self.trunk = Sequence(PreactivationBottleneck(channels), PreactivationBottleneck(channels))
        self.mask = SoftMaskDepth1(channels)
        self.after = PreactivationBottleneck(channels)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.before(x)
        trunk = self.trunk(x)
        mask = self.mask(x)
        return self.after((1 + mask) * trunk)


class Head(Block):
    """Global average pooling and the classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm()
        self.classifier = keras.layers.Dense(classes)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.reduce_mean(tf.nn.relu(self.norm(x)), axis=(1, 2))
        return self.classifier(x)


class Attention92(keras.Model):
    """Wang et al., "Residual Attention Network for Image Classification", CVPR 2017."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = Stem(16)
        self.stage1 = Sequence(
            ProjectionBottleneck(64, stride=1),
            AttentionModuleDepth3(64),
            AttentionModuleDepth3(64),
            PreactivationBottleneck(64),
        )
        self.stage2 = Sequence(
            ProjectionBottleneck(128, stride=2),
            AttentionModuleDepth2(128),
            AttentionModuleDepth2(128),
            PreactivationBottleneck(128),
        )
        self.stage3 = Sequence(
            ProjectionBottleneck(256, stride=2),
            AttentionModuleDepth1(256),
            AttentionModuleDepth1(256),
            PreactivationBottleneck(256),
        )
        self.head = Head(classes)
        self(keras.Input((32, 32, 3)))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = self.stem(x)  # 32x32x16
        x = self.stage1(x)  # 32x32x64
        x = self.stage2(x)  # 16x16x128
        x = self.stage3(x)  # 8x8x256
        return self.head(x)
