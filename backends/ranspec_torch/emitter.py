"""How PyTorch writes each operation: NCHW modules and functions with PyTorch's own semantics."""

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
from ranspec.ir.operations.pooling import PoolPadding
from ranspec_torch.reserved import RESERVED


def convolution(op: ops.Convolution) -> Code:
    (top, bottom), (left, right) = op.padding
    function = "nn.Conv2d" if (top, left) == (bottom, right) else "Conv2dPadded"
    padding: Literal = _pair((top, left))
    if function == "Conv2dPadded":
        padding = (left, right, top, bottom)
    return call(
        function,
        op.in_channels,
        op.channels,
        kernel_size=_pair(op.kernel),
        stride=unless(op.stride, 1),
        padding=unless(padding, 0),
        groups=unless(op.groups, 1),
        bias=unless(op.bias, True),
    )


def linear(op: ops.Linear) -> Code:
    return call("nn.Linear", op.in_features, op.features, bias=unless(op.bias, True))


def batch_norm(op: ops.BatchNorm) -> Code:
    epsilon = OMIT if op.epsilon == 1e-5 else op.epsilon
    momentum = OMIT if op.momentum == 0.1 else op.momentum
    return call("nn.BatchNorm2d", op.channels, eps=epsilon, momentum=momentum)


def max_pool(op: ops.MaxPool, x: Code) -> Code:
    if op.padding == "same":
        return call("max_pool_same", x, op.kernel, stride=op.stride)
    return call("F.max_pool2d", x, op.kernel, stride=op.stride, **_pool_padding(op.padding))


def average_pool(op: ops.AveragePool, x: Code) -> Code:
    if op.padding == "same":
        return call("average_pool_same", x, op.kernel, stride=op.stride)
    padding = _pool_padding(op.padding)
    if op.padding in ("ceil", "valid", 0):
        return call("F.avg_pool2d", x, op.kernel, stride=op.stride, **padding)
    return call("F.avg_pool2d", x, op.kernel, stride=op.stride, **padding, count_include_pad=False)


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    size = Attribute(like, "shape[-2:]")
    if op.interpolation == "nearest":
        return call("F.interpolate", x, size=size, mode="nearest")
    return call("F.interpolate", x, size=size, mode="bilinear", align_corners=op.align_corners)


def pad_channels(op: ops.PadChannels, x: Code) -> Code:
    return call("pad_channels", x, op.channels)


def subsample(op: ops.Subsample, x: Code) -> Code:
    return call("F.max_pool2d", x, 1, stride=op.stride)


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("nn.Sequential"), tuple(blocks))


def _pool_padding(padding: PoolPadding) -> dict[str, Literal]:
    if isinstance(padding, int):
        return {"padding": unless(padding, 0)}
    return {"ceil_mode": unless(padding == "ceil", False)}


def _pair(size: tuple[int, int]) -> int | tuple[int, int]:
    return size[0] if size[0] == size[1] else size


BACKEND = CodeBackend(
    name="torch",
    title="PyTorch",
    package="ranspec_torch",
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
        ops.Concatenate: Function(lambda op, *xs: call("torch.cat", Items(xs), dim=1)),
        ops.Convolution: Member(convolution),
        ops.Dropout: Member(lambda op: call("nn.Dropout", op.rate)),
        ops.Flatten: Function(lambda op, x: call(Attribute(x, "flatten"), 1)),
        ops.GlobalAveragePool: Function(lambda op, x: call(Attribute(x, "mean"), dim=(2, 3))),
        ops.Linear: Member(linear),
        ops.MaxPool: Function(max_pool),
        ops.Multiply: Function(lambda op, x, y: Infix("*", x, y)),
        ops.PadChannels: Function(pad_channels),
        ops.Relu: Function(lambda op, x: call("F.relu", x)),
        ops.Resize: Function(resize),
        ops.Scale: Function(lambda op, x: Infix("*", scalar(op.factor), x)),
        ops.Sigmoid: Function(lambda op, x: call("torch.sigmoid", x)),
        ops.SpatialAffine: Member(lambda op: call("SpatialAffine", op.height, op.width)),
        ops.SpatialNormalize: Function(
            lambda op, x: call("spatial_normalize", x, epsilon=op.epsilon)
        ),
        ops.Subsample: Function(subsample),
        ops.VectorToMap: Function(lambda op, x: call(Attribute(x, "unflatten"), 1, (-1, 1, 1))),
    },
    sequence=sequence,
    imports={
        "torch": "import torch",
        "F": "import torch.nn.functional as F",
    },
    layers_module=(
        "Conv2dPadded",
        "SpatialAffine",
        "average_pool_same",
        "channel_normalize",
        "channel_standardize",
        "max_pool_same",
        "pad_channels",
        "spatial_normalize",
    ),
    requirements={"torch": "torch>=2.6"},
    reserved=RESERVED,
)
