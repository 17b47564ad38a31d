"""How TensorFlow writes each operation: Keras layers and TensorFlow functions on NHWC maps."""

from __future__ import annotations

from collections.abc import Sequence

from ranspec.codegen.backend import CodeBackend, Function, Member
from ranspec.codegen.code import (
    OMIT,
    Attribute,
    Call,
    Code,
    Infix,
    Items,
    Literal,
    Name,
    call,
    scalar,
    unless,
)
from ranspec.ir import operations as ops
from ranspec.ir.operation import Padding
from ranspec_tensorflow.reserved import RESERVED

AXES_OF_POSITIONS = (1, 2)


def convolution(op: ops.Convolution) -> Code:
    return call(
        "Conv2D",
        op.channels,
        kernel_size=op.kernel[0] if op.kernel[0] == op.kernel[1] else op.kernel,
        strides=unless(op.stride, 1),
        padding=_padding(op.padding),
        groups=unless(op.groups, 1),
        use_bias=unless(op.bias, True),
    )


def linear(op: ops.Linear) -> Code:
    return call("keras.layers.Dense", op.features, use_bias=unless(op.bias, True))


def batch_norm(op: ops.BatchNorm) -> Code:
    momentum = OMIT if op.momentum == 0.1 else op.momentum
    epsilon = OMIT if op.epsilon == 1e-5 else op.epsilon
    return call("BatchNorm", momentum=momentum, epsilon=epsilon)


def max_pool(op: ops.MaxPool, x: Code) -> Code:
    if isinstance(op.padding, int):
        return call("max_pool_padded", x, op.kernel, strides=op.stride, padding=op.padding)
    if op.padding == "ceil":
        return call("max_pool_ceil", x, op.kernel, strides=op.stride)
    return call("tf.nn.max_pool2d", x, op.kernel, strides=op.stride, padding=op.padding.upper())


def average_pool(op: ops.AveragePool, x: Code) -> Code:
    if isinstance(op.padding, int):
        return call("average_pool_padded", x, op.kernel, strides=op.stride, padding=op.padding)
    if op.padding == "ceil":
        return call("average_pool_ceil", x, op.kernel, strides=op.stride)
    return call("tf.nn.avg_pool2d", x, op.kernel, strides=op.stride, padding=op.padding.upper())


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    size = Attribute(like, "shape[1:3]")
    if op.interpolation == "nearest":
        return call("resize_nearest", x, size)
    return call("resize_bilinear", x, size, align_corners=op.align_corners)


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("Sequence"), tuple(blocks))


def _padding(padding: Padding) -> Literal:
    rows, columns = padding
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return unless(rows[0] if rows == columns else (rows[0], columns[0]), 0)
    return Name(repr(padding))


BACKEND = CodeBackend(
    name="tensorflow",
    title="TensorFlow",
    package="ranspec_tensorflow",
    operations={
        ops.Add: Function(lambda op, x, y: Infix("+", x, y)),
        ops.AddScalar: Function(lambda op, x: Infix("+", scalar(op.value), x)),
        ops.AveragePool: Function(average_pool),
        ops.BatchNorm: Member(batch_norm),
        ops.ChannelNormalize: Function(
            lambda op, x: call("channel_normalize", x, epsilon=op.epsilon)
        ),
        ops.ChannelStandardize: Function(
            lambda op, x: call("channel_standardize", x, epsilon=op.epsilon)
        ),
        ops.Concatenate: Function(lambda op, *xs: call("tf.concat", Items(xs), axis=-1)),
        ops.Convolution: Member(convolution),
        ops.Dropout: Member(lambda op: call("keras.layers.Dropout", op.rate)),
        ops.Flatten: Function(lambda op, x: call("flatten_channels_first", x)),
        ops.GlobalAveragePool: Function(
            lambda op, x: call("tf.reduce_mean", x, axis=AXES_OF_POSITIONS)
        ),
        ops.Linear: Member(linear),
        ops.MaxPool: Function(max_pool),
        ops.Multiply: Function(lambda op, x, y: Infix("*", x, y)),
        ops.PadChannels: Function(lambda op, x: call("pad_channels", x, op.channels)),
        ops.Relu: Function(lambda op, x: call("tf.nn.relu", x)),
        ops.Resize: Function(resize),
        ops.Scale: Function(lambda op, x: Infix("*", scalar(op.factor), x)),
        ops.Sigmoid: Function(lambda op, x: call("tf.sigmoid", x)),
        ops.SpatialAffine: Member(lambda op: call("SpatialAffine")),
        ops.SpatialNormalize: Function(
            lambda op, x: call("spatial_normalize", x, epsilon=op.epsilon)
        ),
        ops.Subsample: Function(lambda op, x: call("subsample", x, op.stride)),
        ops.VectorToMap: Function(lambda op, x: call("vector_to_map", x)),
    },
    sequence=sequence,
    imports={
        "tf": "import tensorflow as tf",
    },
    layers_module=(
        "BatchNorm",
        "Conv2D",
        "Sequence",
        "SpatialAffine",
        "average_pool_ceil",
        "average_pool_padded",
        "channel_normalize",
        "channel_standardize",
        "flatten_channels_first",
        "max_pool_ceil",
        "max_pool_padded",
        "pad_channels",
        "resize_bilinear",
        "resize_nearest",
        "spatial_normalize",
        "subsample",
        "vector_to_map",
    ),
    requirements={"keras": "keras>=3.8", "tensorflow": "tensorflow>=2.18"},
    reserved=RESERVED,
)
