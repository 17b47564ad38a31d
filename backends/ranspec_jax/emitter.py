"""How JAX writes each operation: channels-last Flax NNX modules and functions."""

from __future__ import annotations

from collections.abc import Sequence

from ranspec.codegen.backend import CodeBackend, Function, Member
from ranspec.codegen.code import Call, Code, Items, Literal, Name, code
from ranspec.codegen.quotation import COMMON, function, member, quote
from ranspec.ir import operations as ops
from ranspec.ir.dimension import Constant
from ranspec_jax.reserved import RESERVED

CONVOLUTION = quote(
    "layer(op.in_channels, op.channels, kernel_size=op.kernel, strides=op.stride, padding=padding,"
    " feature_group_count=op.groups, use_bias=op.bias, rngs=rngs)",
    strides=1,
    feature_group_count=1,
    use_bias=True,
)
POINTWISE = quote(
    "PointwiseConv(op.in_channels, op.channels, strides=op.stride, use_bias=op.bias, rngs=rngs)",
    strides=1,
    use_bias=True,
)
NEAREST = quote("resize_nearest(x, y.shape[1:3])")
BILINEAR = quote("resize_bilinear(x, y.shape[1:3], align_corners=op.align_corners)")


def convolution(op: ops.Convolution) -> Code:
    rows, columns = op.padding
    grouped = op.groups.expression != Constant(1)
    if op.kernel == (1, 1) and not (grouped or any((*rows, *columns))):
        return POINTWISE(op)
    equal = len({*rows, *columns}) == 1
    padding: Literal = rows[0] if equal else Items((code(rows), code(columns)), "()")
    return CONVOLUTION(op, layer=Name("GroupedConv" if grouped else "nnx.Conv"), padding=padding)


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    return (NEAREST if op.interpolation == "nearest" else BILINEAR)(op, x, like)


def construct(block: Call) -> Code:
    return Call(block.function, block.arguments, (*block.keywords, ("rngs", Name("rngs"))))


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("nnx.Sequential"), tuple(blocks))


BACKEND = CodeBackend(
    name="jax",
    aliases=("flax", "nnx"),
    title="JAX",
    package="ranspec_jax",
    operations={
        **COMMON,
        ops.AveragePool: function(
            "average_pool(x, op.kernel, stride=op.stride, padding=op.padding)"
        ),
        ops.BatchNorm: member(
            "BatchNorm(op.channels, epsilon=op.epsilon, momentum=op.momentum)",
            epsilon=1e-5,
            momentum=0.1,
        ),
        ops.ChannelAffine: member("ChannelAffine(op.channels)"),
        ops.Concatenate: function("jnp.concatenate([*xs], axis=-1)"),
        ops.Convolution: Member(convolution),
        ops.Dropout: member("nnx.Dropout(op.rate, rngs=rngs)"),
        ops.Flatten: function("flatten(x)"),
        ops.GlobalAveragePool: function("x.mean(axis=(1, 2))"),
        ops.Linear: member(
            "nnx.Linear(op.in_features, op.features, use_bias=op.bias, rngs=rngs)", use_bias=True
        ),
        ops.MaxPool: function("max_pool(x, op.kernel, stride=op.stride, padding=op.padding)"),
        ops.Relu: function("nnx.relu(x)"),
        ops.Resize: Function(resize),
        ops.Sigmoid: function("nnx.sigmoid(x)"),
        ops.SpatialAffine: member("SpatialAffine(op.height, op.width)"),
        ops.Subsample: function("subsample(x, stride=op.stride)"),
        ops.VectorToMap: function("jnp.expand_dims(x, axis=(1, 2))"),
    },
    sequence=sequence,
    imports={"jnp": "import jax.numpy as jnp"},
    construct=construct,
    requirements={"flax": "flax>=0.12", "jax": "jax>=0.7", "optax": "optax>=0.2.4"},
    reserved=RESERVED,
)
