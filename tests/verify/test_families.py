"""A whole network of each family is the same in every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from ranspec.verify.comparison import TOLERANCES, compare
from ranspec.verify.conditioning import steady
from ranspec.verify.experiment import Experiment, experiment
from ranspec.verify.processes import BackendError
from tests.rendering import TRAINING
from tests.verify.laboratory import Measurement, Task, measure
from tests.verify.networks import FAMILIES

STEPS = 4
IMAGES = {"Edirisooriya": 2, "Inception-ResNet-v1": 2}
"""In a batch; 8 of the others: the wide ones take long in NumPy."""


@dataclass(frozen=True)
class Family:
    """A network's run, the reference's measurement of it, and the backends'."""

    run: Experiment
    reference: Measurement
    results: Mapping[str, Measurement | BackendError]


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Family]:
    runs = {
        name: steady(
            experiment(network.load(), steps=STEPS, batch_size=IMAGES.get(name, 8)),
            TOLERANCES["float64"],
        )
        for name, network in FAMILIES.items()
    }
    tasks = {name: Task(run) for name, (run, _) in runs.items()}
    results = measure(dict.fromkeys(TRAINING, tasks), tmp_path_factory.mktemp("families"))
    return {
        name: Family(*pair, {backend: results[backend, name] for backend in TRAINING})
        for name, pair in runs.items()
    }


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("name", FAMILIES)
def test_whole_network_is_the_reference_in_float64(
    families: Mapping[str, Family], name: str, backend: str
) -> None:
    family = families[name]
    result = family.results[backend]
    assert not isinstance(result, BackendError), result
    pair = (backend, "numpy")
    run = family.run
    checks = compare(
        result, family.reference, pair, run.graph, run.loaded.spec, TOLERANCES["float64"]
    )
    assert [check for check in checks if not check.passed] == []
