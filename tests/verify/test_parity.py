"""Every backend computes what the NumPy reference computes, and what every other computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import combinations, permutations

import numpy as np
import pytest

from ranspec.analysis.interpreter import initial_state
from ranspec.spec import load_spec
from ranspec.verify.comparison import TOLERANCES, Tolerances, compare
from ranspec.verify.experiment import Experiment, experiment, measure_reference
from ranspec.verify.report import REFERENCE
from tests.rendering import TRAINING
from tests.verify.laboratory import Laboratory, Measurement, Task, digit_batches
from tests.verify.networks import NETWORKS

DIGITS, CURVE = "one step on real images, float32", "a run on real images, float32"
HIGHEST_RATE = 0.01
"""Of the run in float32: at higher ones right curves part sooner than they can be compared."""
EXCHANGED = "naive learning"
PAIRS = [*((name, REFERENCE) for name in TRAINING), *combinations(TRAINING, 2)]

Measure = Callable[[str, str], Measurement]


@cache
def run_of(name: str) -> Experiment:
    """Return the run of a name."""
    if name == DIGITS:
        digits = load_spec("attention_digits")
        run = experiment(digits, dtype="float32", steps=1, batches=digit_batches(1, 4))
        # What is compiled with care is held to the reference by the longer run.
        return replace(run, compilation="quick")
    if name == CURVE:
        return calm(
            experiment(
                load_spec("attention_digits"),
                dtype="float32",
                steps=50,
                batches=digit_batches(20, 64),
            )
        )
    return experiment(NETWORKS[name].load())


def calm(run: Experiment) -> Experiment:
    """Start a run from the weights that training starts from, at a rate that can be compared."""
    weights = initial_state(run.graph, run.loaded.spec.train)
    state = {name: array.astype(run.dtype) for name, array in weights.items()}
    return replace(run, state=state, rate_factor=HIGHEST_RATE / max(run.rates))


@cache
def reference(name: str) -> Measurement:
    return measure_reference(run_of(name))


@pytest.fixture(scope="module")
def measure(laboratory: Laboratory) -> Measure:
    """Return a backend's measurement of a run, or the reference's."""

    def measure(computation: str, name: str) -> Measurement:
        if computation == REFERENCE:
            return reference(name)
        return laboratory.measure(computation, name, Task(run_of(name)))

    return measure


def assert_equal(
    measure: Measure, name: str, pair: tuple[str, str], tolerances: Tolerances
) -> None:
    run = run_of(name)
    left, right = (measure(computation, name) for computation in pair)
    checks = compare(left, right, pair, run.graph, run.loaded.spec, tolerances)
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_identical_in_float64(
    measure: Measure, name: str, pair: tuple[str, str]
) -> None:
    assert_equal(measure, name, pair, TOLERANCES["float64"])


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_float32_agrees_on_real_images(measure: Measure, pair: tuple[str, str]) -> None:
    assert_equal(measure, DIGITS, pair, TOLERANCES["float32"])


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_float32_losses_keep_together_on_real_images(
    measure: Measure, pair: tuple[str, str]
) -> None:
    left, right = (measure(name, CURVE)["losses"] for name in pair)
    assert len(left) == 50
    assert float(np.abs(left / right - 1).max()) <= 0.05


@pytest.mark.parametrize(("source", "target"), list(permutations(TRAINING, 2)))
def test_any_backend_resumes_the_checkpoint_of_any_other(
    measure: Measure, laboratory: Laboratory, source: str, target: str
) -> None:
    measure(source, EXCHANGED)
    run = continuing(run_of(EXCHANGED))
    task = Task(run, start=laboratory.saved(source, EXCHANGED))
    left, right = (
        laboratory.measure(backend, f"from the checkpoint of {source}", task)
        for backend in (target, source)
    )
    checks = compare(
        left, right, (target, source), run.graph, run.loaded.spec, TOLERANCES["float64"]
    )
    assert [check for check in checks if not check.passed] == []


def continuing(run: Experiment) -> Experiment:
    return replace(run, first_step=run.first_step + run.steps, steps=3)
