"""How ONNX writes each operation: nodes of operator set 20 on maps (N, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ranspec.ir import operations as ops
from ranspec.ir.operation import Operation
from ranspec_onnx.body import Site

HEIGHT_AND_WIDTH = (2, 3)
CHANNELS = (1,)


def convolution(op: ops.Convolution, site: Site, x: str) -> None:
    (top, bottom), (left, right) = op.padding
    site.result(
        "Conv",
        x,
        *site.arrays(op),
        kernel_shape=op.kernel,
        strides=(op.stride.value, op.stride.value),
        pads=(top, left, bottom, right),
        group=op.groups.value,
    )


def linear(op: ops.Linear, site: Site, x: str) -> None:
    site.result("Gemm", x, *site.arrays(op), transB=1)


def batch_norm(op: ops.BatchNorm, site: Site, x: str) -> None:
    weight, bias, mean, variance = site.arrays(op)
    epsilon = op.epsilon
    if site.double:
        # An attribute is a float32, which 1e-5 is not: add the epsilon as a double.
        variance, epsilon = site.node("Add", variance, site.scalar(epsilon)), 0.0
    site.result("BatchNormalization", x, weight, bias, mean, variance, epsilon=epsilon)


def channel_normalize(op: ops.ChannelNormalize, site: Site, x: str) -> None:
    squares = site.node("ReduceSumSquare", x, site.integers(CHANNELS))
    combine = {"added": "Add", "least": "Max"}[op.epsilon_use]
    norm = site.node("Sqrt", site.node(combine, squares, site.scalar(op.epsilon)))
    site.result("Div", x, norm)


def standardize(axes: tuple[int, ...]) -> Callable[[Any, Site, str], None]:
    def write(op: ops.SpatialNormalize | ops.ChannelStandardize, site: Site, x: str) -> None:
        deviation = site.node("Sub", x, site.node("ReduceMean", x, site.integers(axes)))
        squares = site.node("Mul", deviation, deviation)
        variance = site.node("ReduceMean", squares, site.integers(axes))
        root = site.node("Sqrt", site.node("Add", variance, site.scalar(op.epsilon)))
        site.result("Div", deviation, root)

    return write


def spatial_affine(op: ops.SpatialAffine, site: Site, x: str) -> None:
    scale, shift = site.arrays(op)
    site.result("Add", site.node("Mul", scale, x), shift)


def channel_affine(op: ops.ChannelAffine, site: Site, x: str) -> None:
    scale, shift = site.arrays(op)
    if len(site.sizes[0]) == 3:
        scale, shift = (
            site.node("Unsqueeze", values, site.integers((1, 2))) for values in (scale, shift)
        )
    site.result("Add", site.node("Mul", scale, x), shift)


def pool(operator: str) -> Callable[[Any, Site, str], None]:
    def write(op: ops.MaxPool | ops.AveragePool, site: Site, x: str) -> None:
        height, width, _ = site.sizes[0]
        (top, bottom), (left, right) = op.margins(height), op.margins(width)
        site.result(
            operator,
            x,
            kernel_shape=(op.kernel, op.kernel),
            strides=(op.stride, op.stride),
            pads=(top, left, bottom, right),
        )

    return write


def global_average_pool(op: ops.GlobalAveragePool, site: Site, x: str) -> None:
    site.result("Flatten", site.node("GlobalAveragePool", x))


def resize(op: ops.Resize, site: Site, x: str, like: str) -> None:
    if op.interpolation == "nearest":
        # Resize finds positions by a quotient in float32, which may fall short of an integer.
        (rows, columns), (height, width) = (size[:2] for size in site.sizes)
        y = site.node("Gather", x, site.integers(_nearest(rows, height)), axis=2)
        site.result("Gather", y, site.integers(_nearest(columns, width)), axis=3)
        return
    site.result(
        "Resize",
        x,
        "",
        "",
        site.node("Shape", like, start=2),
        axes=HEIGHT_AND_WIDTH,
        mode="linear",
        coordinate_transformation_mode="align_corners" if op.align_corners else "half_pixel",
    )


def _nearest(size: int, count: int) -> tuple[int, ...]:
    """Return the position that each of `count` positions is read from."""
    return tuple(position * size // count for position in range(count))


def pad_channels(op: ops.PadChannels, site: Site, x: str) -> None:
    channels = site.sizes[0][2]
    pads = site.integers((0, op.channels.value - channels))
    site.result("Pad", x, pads, "", site.integers(CHANNELS))


def subsample(op: ops.Subsample, site: Site, x: str) -> None:
    stride = (op.stride.value, op.stride.value)
    site.result("MaxPool", x, kernel_shape=(1, 1), strides=stride)


def scaled(op: ops.Scale, site: Site, x: str) -> None:
    site.result("Mul", site.scalar(op.factor), x)


def increased(op: ops.AddScalar, site: Site, x: str) -> None:
    site.result("Add", site.scalar(op.value), x)


def gate(op: ops.Gate, site: Site, mask: str, trunk: str) -> None:
    weight = site.node("Add", site.scalar(1.0), mask) if op.learning == "residual" else mask
    site.result("Mul", weight, trunk)


def vector_to_map(op: ops.VectorToMap, site: Site, x: str) -> None:
    site.result("Unsqueeze", x, site.integers(HEIGHT_AND_WIDTH))


def plain(operator: str, **attributes: int) -> Callable[..., None]:
    """Return the writer of an operation that is one operator on its operands."""

    def write(op: Operation, site: Site, *operands: str) -> None:
        site.result(operator, *operands, **attributes)

    return write


OPERATIONS: Mapping[type[Operation], Callable[..., None]] = {
    ops.Add: plain("Add"),
    ops.AddScalar: increased,
    ops.AveragePool: pool("AveragePool"),
    ops.BatchNorm: batch_norm,
    ops.ChannelAffine: channel_affine,
    ops.ChannelNormalize: channel_normalize,
    ops.ChannelStandardize: standardize(CHANNELS),
    ops.Concatenate: plain("Concat", axis=1),
    ops.Convolution: convolution,
    ops.Dropout: plain("Identity"),
    ops.Flatten: plain("Flatten"),
    ops.Gate: gate,
    ops.GlobalAveragePool: global_average_pool,
    ops.Linear: linear,
    ops.MaxPool: pool("MaxPool"),
    ops.Multiply: plain("Mul"),
    ops.PadChannels: pad_channels,
    ops.Relu: plain("Relu"),
    ops.Resize: resize,
    ops.Scale: scaled,
    ops.Sigmoid: plain("Sigmoid"),
    ops.SpatialAffine: spatial_affine,
    ops.SpatialNormalize: standardize(HEIGHT_AND_WIDTH),
    ops.Subsample: subsample,
    ops.VectorToMap: vector_to_map,
}
"""Each writes an operation's nodes at its place; what it computes is the last one's output."""
