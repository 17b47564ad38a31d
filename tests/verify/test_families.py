"""A whole network of each family is the same in every backend."""

from __future__ import annotations

from functools import cache

import pytest

from ranspec.verify.comparison import TOLERANCES, compare
from ranspec.verify.conditioning import Prepared, prepare
from ranspec.verify.experiment import experiment
from tests.rendering import TRAINING
from tests.verify.laboratory import Laboratory, Task
from tests.verify.networks import FAMILIES

STEPS = 4
IMAGES = {"Edirisooriya": 2}
"""In a batch; 8 of the others: this wide one takes long in NumPy."""
TOLERANCE = TOLERANCES["float64"]


@cache
def family(name: str) -> Prepared:
    """Return a network's run, with the reference's measurement of it."""
    loaded = FAMILIES[name].load()
    return prepare(experiment(loaded, steps=STEPS, batch_size=IMAGES.get(name, 8)), TOLERANCE)


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("name", FAMILIES)
def test_whole_network_is_the_reference_in_float64(
    laboratory: Laboratory, name: str, backend: str
) -> None:
    prepared = family(name)
    run = prepared.run
    checks = compare(
        laboratory.measure(backend, name, Task(run)),
        prepared.reference,
        (backend, "numpy"),
        run.graph,
        run.loaded.spec,
        TOLERANCE,
        noise=prepared.noise,
    )
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_steps_test_the_recipe(name: str) -> None:
    run = family(name).run
    assert max(run.rates) >= min(0.01, run.schedule.initial)
