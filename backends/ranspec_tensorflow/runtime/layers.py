"""Layers that Keras does not have with the semantics this network needs. Maps are NHWC."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from ranspec_tensorflow.runtime.weights import children

EpsilonUse = Literal["added", "least"]
Margins = tuple[tuple[int, int], tuple[int, int]]
NO_MARGINS: Margins = ((0, 0), (0, 0))


class Block(keras.Layer):
    """A layer made of others, each of which is built when it is first called.

    Keras would otherwise run every block once more to build it, and its parts within it again.
    """

    def build(self, shape: tuple[int, ...]) -> None:
        self.built = True


class Sequence(Block):
    """Layers in a row."""

    def __init__(self, *row: keras.Layer) -> None:
        super().__init__()
        self.row = list(row)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        for layer in self.row:
            x = layer(x)
        return x


class Conv2D(keras.Layer):
    """A convolution with explicit zero padding: ((top, bottom), (left, right)) or short forms.

    Keras' `same` padding is lopsided for a stride of 2. Where it is what is asked for, the kernel
    pads by itself: a padded copy of the map costs a quarter more.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int = 1,
        padding: int | tuple[int, int] | Margins = 0,
        groups: int = 1,
        use_bias: bool = True,
    ) -> None:
        super().__init__()
        self.filters = filters
        self.kernel_size = _pair(kernel_size)
        self.strides = strides
        self.margins = tuple(_pair(side) for side in _pair(padding))
        self.groups = groups
        self.use_bias = use_bias

    def build(self, shape: tuple[int, ...]) -> None:
        kernel_shape = (*self.kernel_size, shape[-1] // self.groups, self.filters)
        self.kernel = self.add_weight(shape=kernel_shape, initializer="he_normal", name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        padding = "VALID"
        if self.margins == _same_margins(x, self.kernel_size, self.strides):
            padding = "SAME"
        else:
            x = _pad(x, self.margins)
        kernel = tf.convert_to_tensor(self.kernel)
        y = _convolution(x, kernel, self.strides, padding, self.groups)
        return y + self.bias if self.use_bias else y


class BatchNorm(keras.Layer):
    """Batch norm whose running variance is unbiased, with the momentum of new values.

    Keras' own has a biased running variance. Statistics are never below float32. Of several devices
    all images of a batch count, or, where `local`, those of the device; running statistics are then
    the means over the devices.
    """

    local = False

    def __init__(self, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, shape: tuple[int, ...]) -> None:
        self.gamma = self._add_vector("gamma", "ones", shape[-1], trainable=True)
        self.beta = self._add_vector("beta", "zeros", shape[-1], trainable=True)
        self.moving_mean = self._add_vector("moving_mean", "zeros", shape[-1], trainable=False)
        self.moving_variance = self._add_vector(
            "moving_variance", "ones", shape[-1], trainable=False
        )

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        values = tf.cast(x, self.variable_dtype)
        alone = not training or _replicas() == 1
        fused = alone and values.dtype == tf.float32 and len(x.shape) == 4 and _on_cpu()
        y = (self._fused if fused else self._explicit)(values, bool(training))
        return tf.cast(y, x.dtype)

    def _fused(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Use TensorFlow's kernel: faster on a CPU, float32 alone, not exact under XLA."""
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.gamma,
            offset=self.beta,
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            exponential_avg_factor=self.momentum,
            is_training=training,
        )
        if training:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return y

    def _explicit(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        if training:
            axes = list(range(len(x.shape) - 1))
            mean = self._over_images(tf.reduce_mean(x, axes))
            deviation = x - mean
            variance = self._over_images(tf.reduce_mean(tf.square(deviation), axes))
            devices = 1 if self.local else _replicas()
            self._update_statistics(mean, variance, devices * (tf.size(x) // x.shape[-1]))
        else:
            deviation = x - self.moving_mean
            variance = tf.convert_to_tensor(self.moving_variance)
        scale = tf.math.rsqrt(variance + self.epsilon) * self.gamma
        return deviation * scale + self.beta

    def _over_images(self, mean: tf.Tensor) -> tf.Tensor:
        return mean if self.local else _mean_of_devices(mean)

    def _update_statistics(self, mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor) -> None:
        n = tf.cast(count, variance.dtype)
        unbiased = variance * (n / tf.maximum(n - 1, 1))
        for statistic, new in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            old = tf.convert_to_tensor(statistic)
            new = _mean_of_devices(new) if self.local else new
            statistic.assign((1 - self.momentum) * old + self.momentum * new)

    def _add_vector(
        self, name: str, initializer: str, size: int, trainable: bool
    ) -> keras.Variable:
        return self.add_weight(
            shape=(size,), initializer=initializer, trainable=trainable, autocast=False, name=name
        )


class Dropout(keras.Layer):
    """Dropout whose masks are a function of a seed, and on several devices parts of the same mask.

    Keras' own draws one for each device.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training or self.rate == 0:
            return x
        count = tf.shape(x)[0]
        shape = tf.concat([[_replicas() * count], tf.shape(x)[1:]], axis=0)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        numbers = tf.random.stateless_uniform(shape, seed)
        first = count * tf.distribute.get_replica_context().replica_id_in_sync_group
        kept = numbers[first : first + count] >= self.rate
        return tf.where(kept, x / (1 - self.rate), tf.zeros_like(x))


class ChannelAffine(keras.Layer):
    """Scale and shift that are learned for each channel and shared by all positions."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")
        self.shift = self.add_weight(shape=shape[-1:], initializer="zeros", name="shift")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.scale + self.shift


class SpatialAffine(keras.Layer):
    """Scale and shift that are learned for each position and shared by all channels."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.scale = self.add_weight(shape=shape[1:3], initializer="ones", name="scale")
        self.shift = self.add_weight(shape=shape[1:3], initializer="zeros", name="shift")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        scale, shift = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.shift)
        return x * scale[:, :, None] + shift[:, :, None]


def seed_dropout(model: keras.Model, seed: tf.Tensor) -> None:
    """Make the masks of dropout a function of a step's seed."""
    states = [v for v in model.non_trainable_variables if v.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(tf.cast(tf.stack([seed, tf.constant(number, seed.dtype)]), state.dtype))


def norm_locally(model: keras.Model) -> None:
    """Have batch norm count the images of a device alone."""
    pending: list[keras.Layer] = [model]
    while pending:
        layer = pending.pop()
        pending += children(layer).values()
        if isinstance(layer, BatchNorm):
            layer.local = True


def max_pool_ceil(x: tf.Tensor, kernel_size: int, strides: int) -> tf.Tensor:
    """Max-pool from the first position on, with as many windows as cover the map."""
    x = _pad(x, _ceil_margins(x, kernel_size, strides), value=-np.inf)
    return tf.nn.max_pool2d(x, kernel_size, strides, "VALID")


def average_pool_ceil(x: tf.Tensor, kernel_size: int, strides: int) -> tf.Tensor:
    """Average-pool from the first position on, over the values inside the map alone."""
    return _average_inside(x, kernel_size, strides, _ceil_margins(x, kernel_size, strides))


def max_pool_padded(x: tf.Tensor, kernel_size: int, strides: int, padding: int) -> tf.Tensor:
    """Max-pool with the same padding on each side."""
    margins = ((padding, padding), (padding, padding))
    return tf.nn.max_pool2d(_pad(x, margins, value=-np.inf), kernel_size, strides, "VALID")


def average_pool_padded(x: tf.Tensor, kernel_size: int, strides: int, padding: int) -> tf.Tensor:
    """Average-pool with the same padding on each side, over the values inside the map alone."""
    return _average_inside(x, kernel_size, strides, ((padding, padding), (padding, padding)))


def resize_bilinear(x: tf.Tensor, size: tf.TensorShape, align_corners: bool) -> tf.Tensor:
    """Interpolate linearly to (height, width).

    TensorFlow's own has no `align_corners` and no precision but float32.
    """
    rows = _linear_weights(x.shape[1], size[0], align_corners)
    columns = _linear_weights(x.shape[2], size[1], align_corners)
    return _interpolate(x, rows, columns)


def resize_nearest(x: tf.Tensor, size: tf.TensorShape) -> tf.Tensor:
    """Repeat positions to (height, width)."""
    return _interpolate(
        x, _nearest_weights(x.shape[1], size[0]), _nearest_weights(x.shape[2], size[1])
    )


def channel_normalize(x: tf.Tensor, epsilon: float, epsilon_use: EpsilonUse = "added") -> tf.Tensor:
    """Divide each position's channels by their L2 norm.

    Epsilon is added to the sum of squares, or is the least that it is taken for.
    """
    values = _at_least_float32(x)
    squares = tf.reduce_sum(tf.square(values), axis=-1, keepdims=True)
    squares = tf.maximum(squares, epsilon) if epsilon_use == "least" else squares + epsilon
    return tf.cast(values * tf.math.rsqrt(squares), x.dtype)


def channel_standardize(x: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Give each position's channels zero mean and unit variance."""
    return _standardize(x, (-1,), epsilon)


def spatial_normalize(x: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Give each channel's map zero mean and unit variance."""
    return _standardize(x, (1, 2), epsilon)


def flatten_channels_first(x: tf.Tensor) -> tf.Tensor:
    """Turn maps into vectors: channels first, then rows, then columns."""
    return tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, x.shape[1] * x.shape[2] * x.shape[3]))


def pad_channels(x: tf.Tensor, channels: int) -> tf.Tensor:
    """Append channels of zeros, so that there are `channels`."""
    return tf.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


def subsample(x: tf.Tensor, strides: int) -> tf.Tensor:
    """Keep every `strides`-th row and column, from the first."""
    return x[:, ::strides, ::strides]


def vector_to_map(x: tf.Tensor) -> tf.Tensor:
    """Make vectors maps of one position."""
    return x[:, None, None]


def _convolution(
    x: tf.Tensor, kernel: tf.Tensor, strides: int, padding: str, groups: int
) -> tf.Tensor:
    # TensorFlow has no gradient of grouped convolutions on a CPU.
    if groups == 1 or not _on_cpu():
        return tf.nn.conv2d(x, kernel, strides, padding)
    parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
    return tf.concat([tf.nn.conv2d(a, b, strides, padding) for a, b in parts], axis=-1)


def _same_margins(x: tf.Tensor, kernel_size: tuple[int, int], strides: int) -> Margins:
    """Return how TensorFlow pads for `SAME`."""
    sizes = zip(x.shape[1:3], kernel_size, strict=True)
    totals = ((-(-size // strides) - 1) * strides + kernel - size for size, kernel in sizes)
    rows, columns = ((max(total, 0) // 2, (max(total, 0) + 1) // 2) for total in totals)
    return rows, columns


def _standardize(x: tf.Tensor, axes: tuple[int, ...], epsilon: float) -> tf.Tensor:
    values = _at_least_float32(x)
    deviation = values - tf.reduce_mean(values, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(deviation), axes, keepdims=True)
    return tf.cast(deviation * tf.math.rsqrt(variance + epsilon), x.dtype)


def _interpolate(x: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    """Multiply by matrices (output size, input size) along rows and columns."""
    values = _at_least_float32(x)
    values = tf.matmul(tf.constant(columns, values.dtype), values)
    flat = tf.reshape(values, (-1, x.shape[1], len(columns) * x.shape[3]))
    flat = tf.matmul(tf.constant(rows, values.dtype), flat)
    return tf.cast(tf.reshape(flat, (-1, len(rows), len(columns), x.shape[3])), x.dtype)


def _linear_weights(size: int, count: int, align_corners: bool) -> np.ndarray:
    position = np.arange(count)
    if align_corners:
        source = position * (size - 1) / max(count - 1, 1)
    else:
        source = np.maximum((position + 0.5) * size / count - 0.5, 0.0)
    low = source.astype(int)
    high = np.minimum(low + 1, size - 1)
    fraction = (source - low)[:, None]
    identity = np.eye(size)
    weights: np.ndarray = (1 - fraction) * identity[low] + fraction * identity[high]
    return weights


def _nearest_weights(size: int, count: int) -> np.ndarray:
    return np.eye(size)[np.arange(count) * size // count]


def _average_inside(x: tf.Tensor, kernel_size: int, strides: int, margins: Margins) -> tf.Tensor:
    pooled = tf.nn.avg_pool2d(_pad(x, margins), kernel_size, strides, "VALID")
    ones = tf.ones((1, x.shape[1], x.shape[2], 1), x.dtype)
    return pooled / tf.nn.avg_pool2d(_pad(ones, margins), kernel_size, strides, "VALID")


def _ceil_margins(x: tf.Tensor, kernel_size: int, strides: int) -> Margins:
    return _surplus(x.shape[1], kernel_size, strides), _surplus(x.shape[2], kernel_size, strides)


def _surplus(size: int, kernel_size: int, strides: int) -> tuple[int, int]:
    """Return how far the windows hang over a map's end; each starts inside the map."""
    last = min(-(-(size - kernel_size) // strides), (size - 1) // strides) * strides
    return 0, max(last + kernel_size - size, 0)


def _pad(x: tf.Tensor, margins: Margins, value: float = 0.0) -> tf.Tensor:
    if margins == NO_MARGINS:
        return x
    return tf.pad(x, ((0, 0), *margins, (0, 0)), constant_values=value)


def _pair(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value, value)


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def _replicas() -> int:
    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def _mean_of_devices(value: tf.Tensor) -> tf.Tensor:
    if _replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value) / _replicas()


def _on_cpu() -> bool:
    return not tf.config.get_visible_devices("GPU")
