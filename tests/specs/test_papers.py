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
    "lzlz2020/attention92_cifar": 44_710_090,
    "lzlz2020/attention128_cifar": 41_292_874,
    "lzlz2020/attention128_nal_cifar": 45_438_602,
    "lzlz2020/attention164_cifar": 50_559_690,
}
"""The totals of the two course projects are those of their frameworks, which count everything."""
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
