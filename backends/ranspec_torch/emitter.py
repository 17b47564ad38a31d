"""How PyTorch writes each operation: NCHW modules and functions with PyTorch's own semantics."""

from __future__ import annotations

from collections.abc import Sequence

from ranspec.codegen.backend import CodeBackend, Function, Member
from ranspec.codegen.code import Call, Code, Name
from ranspec.codegen.quotation import COMMON, function, member, quote
from ranspec.ir import operations as ops
from ranspec_torch.reserved import RESERVED

CONVOLUTION = quote(
    "layer(op.in_channels, op.channels, kernel_size=kernel, stride=op.stride, padding=padding,"
    " groups=op.groups, bias=op.bias)",
    stride=1,
    padding=0,
    groups=1,
    bias=True,
)
POOL_SAME = quote("pool(x, op.kernel, stride=op.stride)")
POOL_CEIL = quote("pool(x, op.kernel, stride=op.stride, ceil_mode=True)")
POOL = quote("pool(x, op.kernel, stride=op.stride, padding=padding)", padding=0)
AVERAGE_INSIDE = quote(
    "F.avg_pool2d(x, op.kernel, stride=op.stride, padding=op.padding, count_include_pad=False)"
)
NEAREST = quote("resize_nearest(x, y.shape[-2:])")
BILINEAR = quote(
    "F.interpolate(x, size=y.shape[-2:], mode='bilinear', align_corners=op.align_corners)"
)


def convolution(op: ops.Convolution) -> Code:
    (top, bottom), (left, right) = op.padding
    kernel = _pair(op.kernel)
    if (top, left) == (bottom, right):
        return CONVOLUTION(op, layer=Name("nn.Conv2d"), kernel=kernel, padding=_pair((top, left)))
    sides = (left, right, top, bottom)
    return CONVOLUTION(op, layer=Name("Conv2dPadded"), kernel=kernel, padding=sides)


def max_pool(op: ops.MaxPool, x: Code) -> Code:
    return _pool(op, x, "F.max_pool2d", "max_pool_same")


def average_pool(op: ops.AveragePool, x: Code) -> Code:
    if isinstance(op.padding, int) and op.padding:
        return AVERAGE_INSIDE(op, x)
    return _pool(op, x, "F.avg_pool2d", "average_pool_same")


def _pool(op: ops.MaxPool | ops.AveragePool, x: Code, pool: str, pool_same: str) -> Code:
    if op.padding == "same":
        return POOL_SAME(op, x, pool=Name(pool_same))
    if op.padding == "ceil":
        return POOL_CEIL(op, x, pool=Name(pool))
    return POOL(op, x, pool=Name(pool), padding=0 if op.padding == "valid" else op.padding)


def resize(op: ops.Resize, x: Code, like: Code) -> Code:
    return (NEAREST if op.interpolation == "nearest" else BILINEAR)(op, x, like)


def sequence(blocks: Sequence[Code]) -> Code:
    return Call(Name("nn.Sequential"), tuple(blocks))


def _pair(size: tuple[int, int]) -> int | tuple[int, int]:
    return size[0] if size[0] == size[1] else size


BACKEND = CodeBackend(
    name="torch",
    aliases=("pytorch",),
    title="PyTorch",
    package="ranspec_torch",
    operations={
        **COMMON,
        ops.AveragePool: Function(average_pool),
        ops.BatchNorm: member(
            "nn.BatchNorm2d(op.channels, eps=op.epsilon, momentum=op.momentum)",
            eps=1e-5,
            momentum=0.1,
        ),
        ops.ChannelAffine: member("ChannelAffine(op.channels)"),
        ops.Concatenate: function("torch.cat([*xs], dim=1)"),
        ops.Convolution: Member(convolution),
        ops.Dropout: member("nn.Dropout(op.rate)"),
        ops.Flatten: function("x.flatten(1)"),
        ops.GlobalAveragePool: function("x.mean(dim=(2, 3))"),
        ops.Linear: member("nn.Linear(op.in_features, op.features, bias=op.bias)", bias=True),
        ops.MaxPool: Function(max_pool),
        ops.Relu: function("F.relu(x)"),
        ops.Resize: Function(resize),
        ops.Sigmoid: function("torch.sigmoid(x)"),
        ops.SpatialAffine: member("SpatialAffine(op.height, op.width)"),
        ops.Subsample: function("F.max_pool2d(x, 1, stride=op.stride)"),
        ops.VectorToMap: function("x.unflatten(1, (-1, 1, 1))"),
    },
    sequence=sequence,
    imports={"torch": "import torch", "F": "import torch.nn.functional as F"},
    requirements={"torch": "torch>=2.6"},
    reserved=RESERVED,
)
