"""The search costs each reading as the compiler would, and ranks them."""

from __future__ import annotations

import pytest

from ranspec.analysis.count import count
from ranspec.analysis.figures import Figure
from ranspec.analysis.readings import Search, Target, choices_of, search, size_of
from ranspec.cli.show import scalar
from ranspec.compile import compile_spec
from ranspec.spec import load_spec

CHOICES = {
    "input.height": (32, 48),
    "unit.reduction": (2, 4),
    "attention.mask.up_units": (2,),
    "stem.channels": (16, 24),
    "stages.stage1.mask_depth": (2, 6),
    "stages.stage2.channels": (128, 96),
    "classes": (10, 100),
}


def searched(parameters: str, macs: str | None = None, limit: int = 1000) -> Search:
    spec = load_spec("attention56_cifar").spec
    target = Target(Figure.parse(parameters), Figure.parse(macs) if macs else None)
    return search(spec, choices_of(spec, CHOICES), target, limit=limit)


def test_the_specs_own_value_comes_first() -> None:
    spec = load_spec("attention56_cifar").spec
    choices = choices_of(spec, CHOICES)
    assert choices["stages.stage1.mask_depth"] == (3, 2, 6)
    assert choices["attention.mask.up_units"] == (1, 2)
    assert size_of(choices) == 192


def test_every_reading_costs_what_its_spec_compiles_to() -> None:
    found = searched("1.0M")
    assert found.tried == 192
    assert found.impossible == 64
    for reading in found.best[::11]:
        texts = [f"{key}={scalar(value)}" for key, value in reading.changes.items()]
        counted = count(compile_spec(load_spec("attention56_cifar", texts)))
        statistics = counted.batch_norm_statistics * (reading.convention == "with-statistics")
        assert reading.parameters == counted.trainable_parameters + statistics
        assert reading.macs == counted.macs


def test_an_exact_figure_finds_the_one_reading_that_has_it() -> None:
    texts = ["stem.channels=24", "stages.stage2.channels=96"]
    counted = count(compile_spec(load_spec("attention56_cifar", texts)))
    found = searched(f"{counted.trainable_parameters}", f"{counted.macs}")
    assert found.matching == 1
    assert found.best[0].matches
    assert found.best[0].convention == "trainable"
    assert dict(found.best[0].changes) == {"stem.channels": 24, "stages.stage2.channels": 96}


def test_matches_come_first_and_those_that_change_least_before_others() -> None:
    ranks = [reading.rank for reading in searched("1.03M").best]
    assert ranks == sorted(ranks)
    assert not searched("1.03M").best[0].changes


def test_without_a_match_the_nearest_is_given() -> None:
    found = searched("9.99M", limit=3)
    assert found.matching == 0
    assert len(found.best) == 3
    assert found.best[0].parameters == max(reading.parameters for reading in searched("9M").best)
    assert found.best[0].distance == pytest.approx(1 - found.best[0].parameters / 9.99e6)
