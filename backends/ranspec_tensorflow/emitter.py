"""How TensorFlow writes each operation: Keras layers and TensorFlow functions on NHWC maps."""

from __future__ import annotations

from collections.abc import Sequence

from ranspec.codegen.backend import CodeBackend, Function, Member
from ranspec.codegen.code import Call, Code, Literal, Name
from ranspec.codegen.quotation import COMMON, function, member, quote
from ranspec.ir import operations as ops
from ranspec.ir.operation import Padding
from ranspec_tensorflow.reserved import RESERVED

CONVOLUTION = quote(
    "Conv2D(op.channels, kernel_size=kernel, strides=op.stride, padding=padding,"
    " groups=op.groups, use_bias=op.bias)",
    strides=1,
    padding=0,
    groups=1,
    use_bias=True,
)
POOL = quote("pool(x, op.kernel, strides=op.stride, padding=padding)")
POOL_CEIL = quote("pool(x, op.kernel, strides=op.stride)")
NEAREST = quote("resize_nearest(x, y.shape[1:3])")
BILINEAR = quote("resize_bilinear(x, y.shape[1:3], align_corners=op.align_corners)")


def convolution(op: ops.Convolution) -> Code:
    kernel = op.kernel[0] if op.kernel[0] == op.kernel[1] else op.kernel
    return CONVOLUTION(op, kernel=kernel, padding=_padding(op.padding))


def max_pool(op: ops.MaxPool, x: Code) -> Code:
    return _pool(op, x, "tf.nn.max_pool2d", "max_pool")


def average_pool(op: ops.AveragePool, x: Code) -> Code:
    return _pool(op, x, "tf.nn.avg_pool2d", "average_pool")


def _pool(op: ops.MaxPool | ops.AveragePool, x: Code, pool: str, own: str) -> Code:
    if isinstance(op.padding, int):
        return POOL(op, x, pool=Name(f"{own}_padded"), padding=op.padding)
    if op.padding == "ceil":
        return POOL_CEIL(op, x, pool=Name(f"{own}_ceil"))
    return POOL(op, x, pool=Name(pool), padding=op.padding.upper())


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    return (NEAREST if op.interpolation == "nearest" else BILINEAR)(op, x, like)


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("Sequence"), tuple(blocks))


def _padding(padding: Padding) -> Literal:
    (top, bottom), (left, right) = padding
    if (top, left) == (bottom, right):
        return top if top == left else (top, left)
    return Name(repr(padding))


BACKEND = CodeBackend(
    name="tensorflow",
    aliases=("keras", "tf"),
    title="TensorFlow",
    package="ranspec_tensorflow",
    operations={
        **COMMON,
        ops.AveragePool: Function(average_pool),
        ops.BatchNorm: member(
            "BatchNorm(momentum=op.momentum, epsilon=op.epsilon)", momentum=0.1, epsilon=1e-5
        ),
        ops.ChannelAffine: member("ChannelAffine()"),
        ops.Concatenate: function("tf.concat([*xs], axis=-1)"),
        ops.Convolution: Member(convolution),
        ops.Dropout: member("Dropout(op.rate)"),
        ops.Flatten: function("flatten_channels_first(x)"),
        ops.GlobalAveragePool: function("tf.reduce_mean(x, axis=(1, 2))"),
        ops.Linear: member("keras.layers.Dense(op.features, use_bias=op.bias)", use_bias=True),
        ops.MaxPool: Function(max_pool),
        ops.Relu: function("tf.nn.relu(x)"),
        ops.Resize: Function(resize),
        ops.Sigmoid: function("tf.sigmoid(x)"),
        ops.SpatialAffine: member("SpatialAffine()"),
        ops.Subsample: function("subsample(x, op.stride)"),
        ops.VectorToMap: function("vector_to_map(x)"),
    },
    sequence=sequence,
    imports={"tf": "import tensorflow as tf"},
    requirements={"keras": "keras>=3.8", "tensorflow": "tensorflow>=2.18"},
    reserved=RESERVED,
)
