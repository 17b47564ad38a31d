"""Counting gives the exact figures of the networks."""

from __future__ import annotations

import re

import pytest

from ranspec.analysis.conventions import report
from ranspec.analysis.count import Count, count
from ranspec.analysis.depth import trunk_depth
from ranspec.analysis.memory import activation_bytes
from ranspec.analysis.receptive_field import receptive_fields
from ranspec.compile import compile_spec
from ranspec.ir.builder import BlockCall, Builder, NetworkSettings, Tracer, Value, block
from ranspec.ir.graph import Graph
from ranspec.ir.operation import Sizes
from ranspec.spec import available_specs, load_spec

DEPTHS = {
    name: int(found[1])
    for name in available_specs()
    if (found := re.match(r"attention(\d+)_\w*(cifar|imagenet)", name))
}


def counted(name: str, *overrides: str, size: tuple[int, int] | None = None) -> Count:
    loaded = load_spec(name, overrides)
    return count(compile_spec(loaded, input_size=size))


def graph_of(call: BlockCall, image: Sizes) -> Graph:
    return Graph("toy", Tracer(NetworkSettings(1e-5, 0.1)).trace(call, [image]))


@pytest.mark.parametrize("name", DEPTHS)
def test_the_trunk_is_as_deep_as_the_name_says(name: str) -> None:
    assert counted(name).trunk_depth == DEPTHS[name]


def test_the_depth_formula_of_the_paper_holds_for_other_trunks() -> None:
    assert counted("attention56_cifar", "attention.t=3").trunk_depth == 56 + 9


def test_another_input_size_changes_the_cost_and_not_the_parameters() -> None:
    original = counted("attention56_imagenet")
    larger = counted("attention56_imagenet", size=(320, 320))
    assert larger.graph.input == (320, 320, 3)
    assert larger.trainable_parameters == original.trainable_parameters
    assert 2.0 < larger.macs / original.macs < 2.1


@pytest.mark.parametrize("by", ["layer", "block", "stage"])
def test_rows_add_up_to_the_whole(by: str) -> None:
    item = counted("attention452_cifar")
    rows = item.rows(by)  # type: ignore[arg-type]
    assert sum(row.cost.parameters for row in rows) == item.trainable_parameters
    assert sum(row.cost.statistics for row in rows) == item.batch_norm_statistics
    assert sum(row.cost.macs for row in rows) == item.macs
    assert sum(row.cost.flops for row in rows) == item.flops


def test_stages_name_the_classes_they_are_made_of() -> None:
    stage = {row.path: row for row in counted("attention92_cifar").rows("stage")}["stage1"]
    assert stage.op == "ProjectionBottleneck, 2 x AttentionModuleDepth3, PreactivationBottleneck"
    assert stage.output == (32, 32, 64)


def test_the_difference_from_the_paper_is_relative_to_the_paper() -> None:
    item = counted("attention92_cifar", "paper.parameters=2e6")
    assert item.relative_differences["parameters"] == pytest.approx(1_841_274 / 2e6 - 1)
    assert item.relative_differences["macs"] is None


def test_a_figure_that_counts_batch_norm_statistics_is_explained() -> None:
    assert "31,883,432" in (counted("attention56_imagenet").explanation or "")
    assert counted("attention92_cifar", "paper.parameters=2.5e6").explanation is None


def test_json_has_what_programs_rely_on() -> None:
    result = counted("attention56_imagenet").as_dict()
    assert result["name"] == "attention56_imagenet"
    assert result["input"] == [224, 224, 3]
    assert result["parameters"] == {"trainable": 31_810_728, "batch_norm_statistics": 72_704}
    assert result["macs"] == 6_270_836_736
    assert result["flops"] > 2 * result["macs"]
    assert result["trunk_depth"] == 56
    assert result["layers"][0] == {
        "path": "stem.conv",
        "op": "convolution",
        "output": [112, 112, 64],
        "parameters": 9408,
        "batch_norm_statistics": 0,
        "macs": 118_013_952,
        "flops": 236_027_904,
    }
    assert result["paper"]["parameters"] == 31.9e6
    assert counted("attention_digits").as_dict()["paper"] is None


@pytest.mark.parametrize(
    ("convention", "parameters", "cost"),
    [
        ("ranspec", 31_810_728, 6_270_836_736),
        ("caffe", 31_883_432, 6_270_836_736),
        ("fvcore", 31_810_728, 6_312_206_848),
        ("thop", 31_810_728, 6_339_527_680),
        ("ptflops", 31_810_728, 6_326_671_080),
        ("torchinfo", 31_810_728, 6_270_910_440),
        ("torch", 31_810_728, 12_541_673_472),
    ],
)
def test_conventions_report_what_the_counters_print(
    convention: str, parameters: int, cost: int
) -> None:
    """Measured with the tools; `test_counters` measures those that are installed again."""
    found = report(counted("attention56_imagenet"), convention)
    assert (found.parameters, found.cost) == (parameters, cost)


@block
def _unit(b: Builder, x: Value) -> Value:
    y = b.convolution("conv", b.norm_relu("norm", x), 4, kernel=3)
    return b.add(x, y)


@block
def _toy(b: Builder, x: Value) -> Value:
    x = b.convolution("stem", x, 4, kernel=3, stride=2)
    return b.sequence("units", [_unit(), _unit()], x)


def test_training_keeps_what_gradients_need() -> None:
    """Kept: the image, each unit's input and its ReLU's output; the last sum is not needed."""
    image, maps = 8 * 8 * 3, 4 * 4 * 4
    assert activation_bytes(graph_of(_toy(), (8, 8, 3))) == 4 * (image + 4 * maps)


@block
def _masked(b: Builder, x: Value) -> Value:
    trunk = b.convolution("trunk", x, 3, kernel=3)
    mask = b.max_pool(x, 2, 2, "valid")
    mask = b.convolution("mask", mask, 3, kernel=3)
    mask = b.sigmoid(b.resize(mask, x, "bilinear", False))
    return b.gate(mask, trunk, "residual")


@block
def _stages(b: Builder, x: Value) -> Value:
    return b.call("tail", _toy(), b.call("masked", _masked(), x))


@block
def _excited(b: Builder, x: Value) -> Value:
    y = b.convolution("conv", x, 3, kernel=3)
    weights = b.linear("expand", b.linear("squeeze", b.global_average_pool(y), 2), 3)
    return b.multiply(y, b.vector_to_map(b.sigmoid(weights)))


@block
def _units(b: Builder, x: Value) -> Value:
    return b.sequence("units", [_excited(), _excited()], x)


def test_weights_of_a_product_are_no_mask_and_deepen_nothing() -> None:
    graph = graph_of(_units(), (8, 8, 3))
    (stage,) = receptive_fields(graph)
    assert stage.mask is None
    assert stage.trunk.size == (2 * (3 + 7) - 1, 2 * (3 + 7) - 1)
    assert trunk_depth(graph) == 2


def test_training_keeps_what_a_gate_weights() -> None:
    """Kept: the image, what the mask's convolution reads, the mask, the trunk."""
    image, pooled = 4 * 4 * 3, 2 * 2 * 3
    assert activation_bytes(graph_of(_masked(), (4, 4, 3))) == 4 * (3 * image + pooled)


def test_receptive_fields_follow_the_trunk_and_tell_the_masks_apart() -> None:
    masked, tail = receptive_fields(graph_of(_stages(), (16, 16, 3)))
    assert (masked.trunk.size, masked.trunk.stride) == ((3, 3), (1, 1))
    assert masked.mask is not None
    assert masked.mask.size == (2 + 2 * 2 + 2, 2 + 2 * 2 + 2)
    assert masked.mask.stride == (1, 1)
    assert (tail.trunk.size, tail.trunk.stride) == ((5 + 2 * 4, 5 + 2 * 4), (2, 2))
    assert tail.mask is None
