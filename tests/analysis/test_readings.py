"""The search costs each reading as the compiler would, and ranks them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from ranspec.analysis.count import count
from ranspec.analysis.figures import Figure
from ranspec.analysis.readings import Search, Target, choices_of, search, size_of
from ranspec.compile import compile_spec
from ranspec.spec import SpecError, load_spec
from ranspec.spec.writer import scalar

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
    target = Target(spec, Figure.parse(parameters), Figure.parse(macs) if macs else None)
    return search([target], choices_of([spec], CHOICES), limit=limit)


def test_the_specs_own_value_comes_first() -> None:
    spec = load_spec("attention56_cifar").spec
    choices = choices_of([spec], CHOICES)
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
        assert reading.networks[0].parameters == counted.trainable_parameters + statistics
        assert reading.networks[0].macs == counted.macs


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
    assert found.best[0].networks[0].parameters == max(
        reading.networks[0].parameters for reading in searched("9M").best
    )
    assert found.best[0].distance == pytest.approx(
        1 - found.best[0].networks[0].parameters / 9.99e6
    )


PAIR = {
    "attention.r": (1, 2),
    "attention.mask.up_units": ("=attention.r", "=2*attention.r+1"),
    "stages.stage2.units_after": ("=attention.t",),
    "stages.stage1.mask_depth": (2, 6),
}
"""Over two networks that differ in r: each may keep its own."""


def pair(*figures: str) -> list[Target]:
    specs = [load_spec("attention56_cifar", [f"attention.r={r}"]).spec for r in (1, 3)]
    return [
        Target(spec, Figure.parse(figure), None)
        for spec, figure in zip(specs, figures, strict=True)
    ]


def compiled(target: Target, changes: dict[str, Any]) -> tuple[int, int] | None:
    """Count a reading's network as the compiler does, its references written out."""
    r, t = changes.get("attention.r", target.spec.attention.r), target.spec.attention.t
    values = {"=attention.r": r, "=2*attention.r+1": 2 * r + 1, "=attention.t": t}
    texts = [f"attention.r={r}"]
    texts += [f"{key}={values.get(value, value)}" for key, value in changes.items()]
    try:
        counted = count(compile_spec(load_spec("attention56_cifar", texts)))
    except SpecError:
        return None
    return counted.trainable_parameters, counted.batch_norm_statistics


@pytest.fixture(scope="module")
def brute() -> list[tuple[dict[str, Any], list[tuple[int, int]]]]:
    """Every combination that both networks can be built with, and what they hold."""
    targets = pair("1M", "1M")
    found = []
    for values in product(*((None, *values) for values in PAIR.values())):
        changes = {key: value for key, value in zip(PAIR, values, strict=True) if value is not None}
        sizes = [compiled(target, changes) for target in targets]
        if None not in sizes:
            found.append((changes, sizes))
    return found


@pytest.mark.parametrize(
    "figures", [("1.0M", "1.3M"), ("1.1M", "1.2M"), ("1.05M", "1.05M"), ("0.9M", "9M")]
)
@pytest.mark.parametrize("limit", [1, 5, 200])
def test_a_joint_search_finds_what_trying_each_combination_finds(
    brute: list[tuple[dict[str, Any], list[tuple[int, int]]]], figures: tuple[str, str], limit: int
) -> None:
    targets = pair(*figures)
    found = search(targets, choices_of([target.spec for target in targets], PAIR), limit=limit)
    printed = [Figure.parse(figure) for figure in figures]
    expected = []
    matching = 0
    for changes, sizes in brute:
        agreeing = False
        for statistics in (False, True):
            totals = [own + statistics * more for own, more in sizes]
            pairs = list(zip(printed, totals, strict=True))
            matches = all(figure.agrees(total) for figure, total in pairs)
            distance = max(abs(total / figure.value - 1) for figure, total in pairs)
            expected.append((not matches, len(changes) if matches else 0, distance, totals))
            agreeing |= matches
        matching += agreeing
    expected.sort()
    assert found.tried == 54
    assert found.matching == matching
    shown = [reading for reading in found.best if reading.matches or not matching]
    wanted = [row for row in expected if not row[0] or not matching][:limit]
    assert [reading.distance for reading in shown] == pytest.approx([row[2] for row in wanted])
    assert [[counted.parameters for counted in reading.networks] for reading in shown] == [
        row[3] for row in wanted
    ]


def test_a_network_is_not_costed_where_another_rules_out_all_that_could_match() -> None:
    targets = pair("9M", "1M")
    choices = choices_of([target.spec for target in targets], PAIR)
    assert search(targets, choices, limit=1).pruned > 0
    assert search(targets, choices, limit=1000).pruned == 0


def test_networks_that_differ_in_a_value_may_keep_their_own() -> None:
    choices = choices_of([target.spec for target in pair("1M", "1M")], PAIR)
    assert choices["attention.r"] == ("=attention.r", 1, 2)
    assert choices["stages.stage1.mask_depth"] == (3, 2, 6)
