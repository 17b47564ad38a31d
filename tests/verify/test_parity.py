"""Every backend computes what the NumPy reference computes, and what every other computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.analysis.interpreter import initial_state as reference_initial_state
from ranspec.spec import load_spec
from ranspec.verify.comparison import TOLERANCES, Tolerances, compare
from ranspec.verify.experiment import (
    Experiment,
    experiment,
    measure_reference,
)
from ranspec.verify.processes import BackendError
from ranspec.verify.report import REFERENCE
from tests.rendering import TRAINING
from tests.verify.laboratory import Measurement, Task, digit_batches, measure, saved_checkpoint
from tests.verify.networks import NETWORKS

DIGITS, CURVE = "one step on real images, float32", "a run on real images, float32"
HIGHEST_RATE = 0.01
"""Of the run in float32: at higher ones right curves part sooner than they can be compared."""
EXCHANGED = "naive learning"
PAIRS = [*((name, REFERENCE) for name in TRAINING), *combinations(TRAINING, 2)]

Results = Mapping[tuple[str, str], Measurement | BackendError]


@pytest.fixture(scope="module")
def runs() -> dict[str, Experiment]:
    digits = load_spec("attention_digits")
    step = experiment(digits, dtype="float32", steps=1, batches=digit_batches(1, 4))
    curve = experiment(digits, dtype="float32", steps=50, batches=digit_batches(20, 64))
    networks = {name: experiment(network.load()) for name, network in NETWORKS.items()}
    calm = HIGHEST_RATE / max(curve.rates)
    curve = replace(curve, state=initial_state(curve), rate_factor=calm)
    return {**networks, DIGITS: step, CURVE: curve}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parity")


@pytest.fixture(scope="module")
def results(runs: Mapping[str, Experiment], folder: Path) -> Results:
    tasks = {name: Task(run) for name, run in runs.items()}
    reference = {(REFERENCE, name): measure_reference(run) for name, run in runs.items()}
    return {**reference, **measure(dict.fromkeys(TRAINING, tasks), folder)}


def initial_state(run: Experiment) -> dict[str, NDArray[np.floating]]:
    """Return the weights that training starts from."""
    weights = reference_initial_state(run.graph, run.loaded.spec.train)
    return {name: array.astype(run.dtype) for name, array in weights.items()}


def assert_equal(
    results: Results, run: Experiment, name: str, pair: tuple[str, str], tolerances: Tolerances
) -> None:
    left, right = (measured(results, computation, name) for computation in pair)
    checks = compare(left, right, pair, run.graph, run.loaded.spec, tolerances)
    assert [check for check in checks if not check.passed] == []


def measured(results: Results, computation: str, name: str) -> Measurement:
    outcome = results[computation, name]
    assert not isinstance(outcome, BackendError), outcome
    return outcome


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_identical_in_float64(
    results: Results, runs: Mapping[str, Experiment], name: str, pair: tuple[str, str]
) -> None:
    assert_equal(results, runs[name], name, pair, TOLERANCES["float64"])


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_float32_agrees_on_real_images(
    results: Results, runs: Mapping[str, Experiment], pair: tuple[str, str]
) -> None:
    assert_equal(results, runs[DIGITS], DIGITS, pair, TOLERANCES["float32"])


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_float32_losses_keep_together_on_real_images(
    results: Results, pair: tuple[str, str]
) -> None:
    left, right = (measured(results, name, CURVE)["losses"] for name in pair)
    assert len(left) == 50
    assert float(np.abs(left / right - 1).max()) <= 0.05


@pytest.fixture(scope="module")
def exchanged(runs: Mapping[str, Experiment], results: Results, folder: Path) -> Results:
    """Continue every backend's run, from its checkpoint, in every backend."""
    del results
    run = continuing(runs[EXCHANGED])
    tasks = {
        source: Task(run, start=saved_checkpoint(folder, source, EXCHANGED)) for source in TRAINING
    }
    second = folder / "exchanged"
    second.mkdir()
    return measure(dict.fromkeys(TRAINING, tasks), second)


def continuing(run: Experiment) -> Experiment:
    return replace(run, first_step=run.first_step + run.steps, steps=3)


@pytest.mark.parametrize(("source", "target"), list(permutations(TRAINING, 2)))
def test_any_backend_resumes_the_checkpoint_of_any_other(
    exchanged: Results,
    runs: Mapping[str, Experiment],
    source: str,
    target: str,
) -> None:
    run = runs[EXCHANGED]
    left, right = (measured(exchanged, backend, source) for backend in (target, source))
    checks = compare(
        left, right, (target, source), run.graph, run.loaded.spec, TOLERANCES["float64"]
    )
    assert [check for check in checks if not check.passed] == []
