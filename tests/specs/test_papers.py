"""The networks of the papers have the sizes and costs that their sources print or imply."""

from __future__ import annotations

from functools import cache

import pytest

from ranspec.analysis.ledger import Entry, entry
from ranspec.compile import compile_spec
from ranspec.spec import load_spec
from tests.rendering import SPECS

TRAINABLE = {
    "attentionnext56_imagenet": 31_318_824,
    "attentionnext92_imagenet": 52_102_952,
    "yeah2020/attention56_cifar": 77_890,
    "attention128_imagenet": 65_294_504,
    "attention164_imagenet": 78_122_664,
    "attention236_imagenet": 103_778_984,
    "baselines/inception_resnet_v2_imagenet": 55_843_464,
}
MACS = {
    "attentionnext56_imagenet": 6_419_106_816,
    "attentionnext92_imagenet": 10_704_337_920,
}
WITH_STATISTICS = {
    "yeah2020/attention56_cifar": 82_002,
    "yeah2020/attention56_tiny_imagenet": 2_639_720,
    "lzlz2020/attention56_cifar": 35_161_482,
    **{f"lzlz2020/attention56_{kind}_cifar": 35_196_426 for kind in ("nal", "channel")},
    "lzlz2020/attention56_spatial_cifar": 35_198_218,
    "lzlz2020/attention92_cifar": 44_710_090,
    "lzlz2020/attention92_nal_cifar": 44_710_090,
    "lzlz2020/attention128_cifar": 41_292_874,
    "lzlz2020/attention128_nal_cifar": 45_438_602,
    "lzlz2020/attention164_cifar": 50_559_690,
    "lzlz2020/attention164_nal_cifar": 50_559_690,
}
"""The totals of the two course projects are those of their frameworks, which count everything."""
FRAMEWORK_DEFAULTS = ("edirisooriya2017", "lzlz2020", "yeah2020")
AS_PRINTED = {
    "baselines/resnet164_cifar": 1.7e6,
    "baselines/resnet1001_cifar": 10.3e6,
    "baselines/resnet56_cifar": 0.85e6,
    "baselines/wrn16_8_cifar": 11.0e6,
    "baselines/wrn28_10_cifar": 36.5e6,
    "baselines/resnet152_imagenet": 60.2e6,
    "baselines/resnet200_imagenet": 64.7e6,
}
COST_AS_PRINTED = {
    "baselines/resnet152_imagenet": 11.3e9,
    "baselines/resnet200_imagenet": 15.0e9,
}
NOT_EXPLAINED = {
    "attention452_cifar": ("parameters",),
    "attention452_cifar100": ("parameters",),
    "attention92_imagenet": ("parameters", "MACs"),
    "attentionnext56_imagenet": ("parameters", "MACs"),
    "baselines/resnext101_imagenet": ("parameters", "MACs"),
    "lzlz2020/attention236_cifar": ("parameters",),
}


@cache
def line(name: str) -> Entry:
    return entry(name, load_spec(name))


@pytest.mark.parametrize("name", TRAINABLE)
def test_trainable_parameters_are_exact(name: str) -> None:
    assert line(name).counted.trainable_parameters == TRAINABLE[name]


@pytest.mark.parametrize("name", MACS)
def test_macs_are_exact(name: str) -> None:
    assert line(name).counted.macs == MACS[name]


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_totals_with_batch_norm_statistics_are_exact(name: str) -> None:
    counted = line(name).counted
    assert counted.trainable_parameters + counted.batch_norm_statistics == WITH_STATISTICS[name]


@pytest.mark.parametrize("name", AS_PRINTED)
def test_baselines_have_the_printed_sizes(name: str) -> None:
    comparison = line(name).comparison("parameters")
    assert comparison is not None
    assert comparison.printed.value == AS_PRINTED[name]
    assert comparison.agrees


@pytest.mark.parametrize("name", COST_AS_PRINTED)
def test_baselines_have_the_printed_costs(name: str) -> None:
    comparison = line(name).comparison("MACs")
    assert comparison is not None
    assert comparison.printed.value == COST_AS_PRINTED[name]
    assert comparison.agrees


def test_the_printed_figures_of_resnext101_are_those_of_resnet101() -> None:
    depths = ["stages.stage2.units=4", "stages.stage3.units=23", "unit.stride_on=conv2"]
    resnet101 = entry("resnet101", load_spec("baselines/resnet152_imagenet", depths)).counted
    assert (resnet101.trainable_parameters, resnet101.macs) == (44_549_160, 7_801_405_440)
    resnext101 = line("baselines/resnext101_imagenet")
    assert resnext101.counted.trainable_parameters == 44_177_704
    assert "44,549,160" in resnext101.remains


def test_attention_inception_is_as_large_and_costly_as_printed() -> None:
    parameters, macs = line("attentioninception56_imagenet").comparisons
    assert abs(parameters.difference) < 0.02
    assert abs(macs.difference) < 0.02
    assert macs.ours == 6_289_351_680
    assert line("attentioninception56_imagenet").counted.graph.input == (299, 299, 3)


@pytest.mark.parametrize("name", SPECS)
def test_figures_that_nothing_explains_are_known_and_commented(name: str) -> None:
    item = line(name)
    assert item.unexplained == NOT_EXPLAINED.get(name, ())
    assert not item.unexplained or ": " in item.remains


OPEN = ("attention56_cifar", "attention92_imagenet", "lzlz2020/attention236_cifar")


@pytest.mark.parametrize("name", OPEN)
def test_every_alternative_can_be_built(name: str) -> None:
    alternatives = load_spec(name).spec.alternatives
    assert alternatives
    for key, values in alternatives.items():
        for value in values:
            assert compile_spec(load_spec(name, [f"{key}={value}"])).tensors


STUDENTS = [name for name in SPECS if name.partition("/")[0] in FRAMEWORK_DEFAULTS]


@pytest.mark.parametrize("name", STUDENTS)
def test_course_projects_have_the_batch_norm_of_their_frameworks(name: str) -> None:
    settings = load_spec(name).spec.batch_norm
    assert (settings.epsilon, settings.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize(
    ("name", "kernel", "padding"),
    [
        ("yeah2020/attention56_tiny_imagenet", 3, "same"),
        ("baselines/resnet152_imagenet", 3, "ceil"),
        ("baselines/resnext101_imagenet", 3, 1),
        ("baselines/resnet200_imagenet", 3, 1),
        ("attention56_imagenet", 3, "ceil"),
        ("pytorchcv/resattnet56", 3, 1),
    ],
)
def test_stems_pool_as_their_sources_do(name: str, kernel: int, padding: int | str) -> None:
    pool = load_spec(name).spec.stem.pool
    assert pool is not None
    assert (pool.kernel, pool.stride, pool.padding) == (kernel, 2, padding)


def operations_of(name: str, prefix: str) -> list[str]:
    """Return the paths of a block's operations."""
    layers = line(name).counted.graph.layers
    return [layer.path for layer in layers if layer.path.startswith(prefix)]


@pytest.mark.parametrize("name", ["56_nal", "56_channel", "92", "92_nal", "128_nal", "164"])
def test_deep_networks_of_zhang_and_zhan_normalise_shortcuts_without_relu(name: str) -> None:
    graph = line(f"lzlz2020/attention{name}_cifar").counted.graph
    labels = [layer.operation.label for layer in graph.layers if layer.path.startswith("entry1.")]
    assert labels[2:4] == ["batch_norm", "convolution"]
    assert (graph.layers[-3].operation.label == "relu") == (name != "164")


def test_resnet200_has_one_bn_relu_around_its_first_pool() -> None:
    assert operations_of("baselines/resnet200_imagenet", "stage1.0.")[:2] == [
        "stage1.0.shortcut",
        "stage1.0.conv1",
    ]
    assert operations_of("baselines/resnet200_imagenet", "stage1.1.")[0] == "stage1.1.norm1"


@pytest.mark.parametrize("name", ["resnet164", "resnet1001"])
def test_the_authors_cifar_resnets_stride_on_the_first_convolution(name: str) -> None:
    sizes = {x.path: x.output for x in line(f"baselines/{name}_cifar").counted.graph.layers}
    assert sizes["stage2.0.conv1"] == (16, 16, 32)


@pytest.mark.parametrize(("name", "size"), [("56", 31_810_728), ("92", 52_466_344)])
def test_the_networks_of_pytorchcv_are_as_large_as_the_released(name: str, size: int) -> None:
    for spec in (f"pytorchcv/resattnet{name}", f"attention{name}_imagenet"):
        assert line(spec).counted.trainable_parameters == size
