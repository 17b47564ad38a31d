"""Channels are found by what their masks and trunks do."""

from __future__ import annotations

import numpy as np
import pytest

from ranspec.pictures.channels import (
    ChannelError,
    Channels,
    check_channels,
    choose_channels,
    parse_channels,
)
from ranspec.pictures.modules import chosen_modules, fusions
from tests.pictures.conftest import Sample


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,5", Channels("numbers", numbers=(0, 5))),
        ("3,3", Channels("numbers", numbers=(3,))),
        ("all", Channels("all")),
        ("mean", Channels("mean")),
        ("varied", Channels("varied", 4)),
        ("strongest 2", Channels("strongest", 2)),
        ("strongest:2", Channels("strongest", 2)),
    ],
)
def test_they_are_written_in_few_ways(text: str, expected: Channels) -> None:
    assert parse_channels(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.5", "varied 0", "most", "0;5", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ChannelError, match="expected numbers such as 0,5"):
        parse_channels(text)


@pytest.mark.parametrize("kind", ["varied", "strongest"])
def test_those_that_are_found_rank_highest_over_all_images(sample: Sample, kind: str) -> None:
    modules = chosen_modules(sample.graph, [])
    channels = parse_channels(f"{kind} 3")
    found = choose_channels(sample.graph, sample.weights, sample.images, channels, modules)
    for item in fusions(sample.graph, sample.weights, sample.images):
        images = item.mask.std((2, 3)) if kind == "varied" else np.abs(item.trunk).mean((2, 3))
        ranks = np.argsort(-images.mean(0, dtype=np.float64), kind="stable")
        assert found[item.module] == tuple(ranks[:3])


def test_all_are_those_of_the_map(sample: Sample) -> None:
    found = choose_channels(
        sample.graph, sample.weights, sample.images, Channels("all"), ["stage1.1"]
    )
    assert found == {"stage1.1": tuple(range(8))}


def test_one_that_a_module_has_not_got_is_told(sample: Sample) -> None:
    with pytest.raises(ChannelError, match=r"stage1.1 has no channel 8; its channels are 0 to 7"):
        check_channels(sample.graph, parse_channels("7,8"), ["stage1.1"])
