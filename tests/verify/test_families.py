"""A whole network of each family is the same in every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from ranspec.verify.comparison import TOLERANCES, compare
from ranspec.verify.conditioning import Prepared, prepare
from ranspec.verify.experiment import experiment
from ranspec.verify.processes import BackendError
from tests.rendering import TRAINING
from tests.verify.laboratory import Measurement, Task, measure
from tests.verify.networks import FAMILIES

STEPS = 4
IMAGES = {"Edirisooriya": 2}
"""In a batch; 8 of the others: this wide one takes long in NumPy."""


@dataclass(frozen=True)
class Family:
    """A network's run with the reference's measurement of it, and the backends'."""

    prepared: Prepared
    results: Mapping[str, Measurement | BackendError]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Family]:
    prepared = {
        name: prepare(
            experiment(network.load(), steps=STEPS, batch_size=IMAGES.get(name, 8)),
            TOLERANCES["float64"],
        )
        for name, network in FAMILIES.items()
    }
    tasks = {name: Task(item.run) for name, item in prepared.items()}
    results = measure(dict.fromkeys(TRAINING, tasks), tmp_path_factory.mktemp("families"))
    return {
        name: Family(item, {backend: results[backend, name] for backend in TRAINING})
        for name, item in prepared.items()
    }


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("name", FAMILIES)
def test_whole_network_is_the_reference_in_float64(
    families: Mapping[str, Family], name: str, backend: str
) -> None:
    family = families[name]
    result, (run, reference) = (
        family.results[backend],
        (family.prepared.run, family.prepared.reference),
    )
    assert not isinstance(result, BackendError), result
    pair = (backend, "numpy")
    checks = compare(
        result,
        reference,
        pair,
        run.graph,
        run.loaded.spec,
        TOLERANCES["float64"],
        noise=family.prepared.noise,
    )
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_steps_test_the_recipe(families: Mapping[str, Family], name: str) -> None:
    rates = families[name].prepared.run.rates
    assert max(rates) >= min(0.01, families[name].prepared.run.schedule.initial)
