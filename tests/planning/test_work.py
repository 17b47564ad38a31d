"""What layers compute and move, beside figures worked out by hand."""

from __future__ import annotations

import pytest

from ranspec.ir import operations as ops
from ranspec.ir.builder import Builder, NetworkSettings, Tracer, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.planning.work import LayerWork, Work, kind_of, network_work

SIDE, CHANNELS = 8, 16
MAP = SIDE * SIDE * CHANNELS


@block
def convolved(b: Builder, x: Value, *, channels: Dimension) -> Value:
    """Two convolutions, one after the other."""
    return b.convolution(
        "second", b.convolution("first", x, channels, kernel=3), channels, kernel=3
    )


@block
def unit(b: Builder, x: Value, *, channels: Dimension) -> Value:
    """Convolution, batch norm, ReLU and a convolution; its input is added."""
    first = b.convolution("first", x, channels, kernel=3)
    y = b.convolution("second", b.norm_relu("norm", first), channels, kernel=3)
    return b.relu(b.add(first, y))


def work_of(network: object, *, fused: bool) -> dict[str, LayerWork]:
    call = network(channels=CHANNELS)  # type: ignore[operator]
    root = Tracer(NetworkSettings(1e-5, 0.1)).trace(call, [(SIDE, SIDE, CHANNELS)])
    return {layer.path: layer for layer in network_work(Graph("small", root), fused=fused)}


def test_a_convolution_computes_twice_forward_what_each_product_of_its_gradients_does() -> None:
    layer = work_of(convolved, fused=False)["second"]
    weights = CHANNELS * CHANNELS * 9
    flops = 2 * MAP * CHANNELS * 9
    assert layer.forward == Work(flops, MAP + MAP, weights)
    # The gradient is read by both products, the input by one; the input's gradient is written.
    assert layer.backward == Work(2 * flops, 2 * MAP + MAP + MAP, 2 * weights)


def test_images_need_no_gradient() -> None:
    layers = work_of(convolved, fused=False)
    assert layers["first"].forward == layers["second"].forward
    assert layers["first"].backward.flops == layers["second"].backward.flops // 2
    assert layers["first"].backward.values == MAP + MAP


def test_batch_norm_and_relu_move_five_maps_each_way_and_three_when_fused() -> None:
    apart, fused = (work_of(unit, fused=fused) for fused in (False, True))

    def moved(layers: dict[str, LayerWork], direction: str) -> int:
        return sum(getattr(layers[name], direction).values for name in ("norm", "relu1"))

    assert (moved(apart, "forward"), moved(fused, "forward")) == (5 * MAP, 3 * MAP)
    # Batch norm reads gradient and input twice, and writes; ReLU reads gradient and output.
    assert (moved(apart, "backward"), moved(fused, "backward")) == (8 * MAP, 5 * MAP)
    assert apart["relu1"].starts
    assert not fused["relu1"].starts


def test_gradients_of_several_readers_are_added_up() -> None:
    first = work_of(unit, fused=False)["first"]
    # Batch norm and the sum read its output: one sum of two maps, and the weights' gradient.
    assert first.backward.values == 3 * MAP + MAP + MAP


@block
def enlarged(b: Builder, x: Value, *, channels: Dimension) -> Value:
    """A pooling, and an interpolation back to the size before."""
    x = b.convolution("first", x, channels, kernel=1)
    return b.resize(b.max_pool(x, 2, 2, 0), x, "bilinear", True)


def test_an_input_that_only_gives_a_size_is_not_read() -> None:
    layers = work_of(enlarged, fused=False)
    assert layers["resize1"].forward.values == MAP // 4 + MAP
    assert layers["resize1"].backward.values == MAP // 4 + MAP
    assert layers["first"].backward.values == 2 * MAP


def test_a_sum_hands_its_gradient_on() -> None:
    assert work_of(unit, fused=False)["add1"].backward == Work()
    assert work_of(unit, fused=True)["add1"].forward.values == 2 * MAP


def test_fusion_changes_no_arithmetic() -> None:
    apart, fused = (work_of(unit, fused=fused).values() for fused in (False, True))
    assert [layer.forward.flops for layer in apart] == [layer.forward.flops for layer in fused]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (ops.Relu(), "relu"),
        (ops.Resize("nearest", False), "nearest resize"),
        (ops.Resize("bilinear", True), "resize"),
        (ops.Linear(Dimension(2), Dimension(3), bias=True), "linear"),
    ],
)
def test_operations_are_known_by_kind(operation: ops.Relu, kind: str) -> None:
    assert kind_of(operation) == kind


@pytest.mark.parametrize(
    ("kernel", "groups", "kind"),
    [
        ((1, 1), 1, "pointwise convolution"),
        ((3, 3), 1, "convolution"),
        ((3, 3), 4, "grouped convolution"),
    ],
)
def test_convolutions_are_known_by_window_and_groups(
    kernel: tuple[int, int], groups: int, kind: str
) -> None:
    size, padding = Dimension(8), ((0, 0), (0, 0))
    convolution = ops.Convolution(
        size, size, kernel, Dimension(1), padding, Dimension(groups), bias=False
    )
    assert kind_of(convolution) == kind
