"""How JAX writes each operation: channels-last Flax NNX modules and functions."""

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
    code,
    scalar,
    unless,
)
from ranspec.ir import operations as ops
from ranspec.ir.dimension import Constant
from ranspec_jax.reserved import RESERVED

RNGS = Name("rngs")


def convolution(op: ops.Convolution) -> Code:
    (top, bottom), (left, right) = op.padding
    equal = top == bottom == left == right
    padding: Literal = top if equal else Items((_pair(top, bottom), _pair(left, right)), "()")
    grouped = op.groups.expression != Constant(1)
    return call(
        "GroupedConv" if grouped else "nnx.Conv",
        op.in_channels,
        op.channels,
        kernel_size=op.kernel,
        strides=unless(op.stride, 1),
        padding=padding,
        feature_group_count=unless(op.groups, 1),
        use_bias=unless(op.bias, True),
        rngs=RNGS,
    )


def linear(op: ops.Linear) -> Code:
    return call(
        "nnx.Linear", op.in_features, op.features, use_bias=unless(op.bias, True), rngs=RNGS
    )


def batch_norm(op: ops.BatchNorm) -> Code:
    epsilon = OMIT if op.epsilon == 1e-5 else op.epsilon
    momentum = OMIT if op.momentum == 0.1 else op.momentum
    return call("BatchNorm", op.channels, epsilon=epsilon, momentum=momentum)


def max_pool(op: ops.MaxPool, x: Code) -> Code:
    return call("max_pool", x, op.kernel, stride=op.stride, padding=op.padding)


def average_pool(op: ops.AveragePool, x: Code) -> Code:
    return call("average_pool", x, op.kernel, stride=op.stride, padding=op.padding)


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    size = Attribute(like, "shape[1:3]")
    if op.interpolation == "nearest":
        return call("resize_nearest", x, size)
    return call("resize_bilinear", x, size, align_corners=op.align_corners)


def construct(block: Call) -> Code:
    return Call(block.function, block.arguments, (*block.keywords, ("rngs", RNGS)))


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("nnx.Sequential"), tuple(blocks))


def _pair(before: int, after: int) -> Code:
    return code((before, after))


BACKEND = CodeBackend(
    name="jax",
    title="JAX",
    package="ranspec_jax",
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
        ops.Concatenate: Function(lambda op, *xs: call("jnp.concatenate", Items(xs), axis=-1)),
        ops.Convolution: Member(convolution),
        ops.Dropout: Member(lambda op: call("nnx.Dropout", op.rate, rngs=RNGS)),
        ops.Flatten: Function(lambda op, x: call("flatten", x)),
        ops.GlobalAveragePool: Function(lambda op, x: call(Attribute(x, "mean"), axis=(1, 2))),
        ops.Linear: Member(linear),
        ops.MaxPool: Function(max_pool),
        ops.Multiply: Function(lambda op, x, y: Infix("*", x, y)),
        ops.PadChannels: Function(lambda op, x: call("pad_channels", x, op.channels)),
        ops.Relu: Function(lambda op, x: call("nnx.relu", x)),
        ops.Resize: Function(resize),
        ops.Scale: Function(lambda op, x: Infix("*", scalar(op.factor), x)),
        ops.Sigmoid: Function(lambda op, x: call("nnx.sigmoid", x)),
        ops.SpatialAffine: Member(lambda op: call("SpatialAffine", op.height, op.width)),
        ops.SpatialNormalize: Function(
            lambda op, x: call("spatial_normalize", x, epsilon=op.epsilon)
        ),
        ops.Subsample: Function(lambda op, x: call("subsample", x, stride=op.stride)),
        ops.VectorToMap: Function(lambda op, x: call("jnp.expand_dims", x, axis=(1, 2))),
    },
    sequence=sequence,
    imports={"jnp": "import jax.numpy as jnp"},
    layers_module=(
        "BatchNorm",
        "GroupedConv",
        "SpatialAffine",
        "average_pool",
        "channel_normalize",
        "channel_standardize",
        "flatten",
        "max_pool",
        "pad_channels",
        "resize_bilinear",
        "resize_nearest",
        "spatial_normalize",
        "subsample",
    ),
    construct=construct,
    requirements={"flax": "flax>=0.12", "jax": "jax>=0.7", "optax": "optax>=0.2.4"},
    reserved=RESERVED,
)
