"""The harness sees every planted fault, in the quantity where it must show first."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from ranspec.verify.comparison import TOLERANCES, compare, find_parting
from ranspec.verify.experiment import Experiment, experiment, measure_reference
from ranspec.verify.report import REFERENCE
from tests.rendering import TRAINING
from tests.verify.faults import FAULTS, SPECIMENS, TORCH_FAULTS, files_with
from tests.verify.laboratory import Laboratory, Measurement, Task

HEALTHY = "healthy"
PLANTED = [(backend, name) for backend in TRAINING for name in FAULTS[backend]]
TOLERANCE = TOLERANCES["float64"]


@cache
def run_of(backend: str) -> Experiment:
    """Return the run of the network that a backend's faults are planted in."""
    return experiment(SPECIMENS[backend].load())


@cache
def reference(backend: str) -> Measurement:
    return measure_reference(run_of(backend), layers=True)


def measured(laboratory: Laboratory, backend: str, name: str) -> Measurement:
    """Measure a backend's code as it is, or with the fault of a name in it."""
    run = run_of(backend)
    if name == HEALTHY:
        return laboratory.measure(backend, name, Task(run, layers=True))
    files = files_with(FAULTS[backend][name], run, backend)
    return laboratory.measure(backend, name, Task(run, files=files, layers=backend == "torch"))


def failed_checks(measurement: Measurement, reference: Measurement, run: Experiment) -> list[str]:
    pair = "measured", REFERENCE
    checks = compare(measurement, reference, pair, run.graph, run.loaded.spec, TOLERANCE)
    return [check.quantity for check in checks if not check.passed]


def parting(
    measurement: Measurement, reference: Measurement, run: Experiment
) -> tuple[str, str] | None:
    found = find_parting(measurement, reference, ("measured", REFERENCE), run.graph, TOLERANCE)
    return found and (found.direction, found.layer)


@pytest.mark.parametrize(("backend", "name"), PLANTED)
def test_fault_is_seen(laboratory: Laboratory, backend: str, name: str) -> None:
    failed = failed_checks(measured(laboratory, backend, name), reference(backend), run_of(backend))
    assert failed[:1] == [FAULTS[backend][name].first]


@pytest.mark.parametrize("backend", TRAINING)
def test_healthy_code_passes_and_no_layer_parts(laboratory: Laboratory, backend: str) -> None:
    measurement, run = measured(laboratory, backend, HEALTHY), run_of(backend)
    assert failed_checks(measurement, reference(backend), run) == []
    for mode in ("training.", "evaluation."):
        values = [name for name in measurement if name.startswith(mode)]
        assert len(values) >= len(run.graph.layers)
    assert parting(measurement, reference(backend), run) is None


@pytest.mark.skipif("torch" not in TRAINING, reason="the faults are in PyTorch's code")
@pytest.mark.parametrize(
    ("name", "direction", "layer"),
    [
        ("padding on the other side", "forward", "stage1.0.conv2"),
        ("shortcut of the raw input", "forward", "stage1.0.shortcut"),
        ("mask of the trunk", "forward", "stage1.1.mask.max_pool1"),
        ("pool padded on both sides", "forward", "stage1.1.mask.max_pool1"),
        ("average for maximum", "forward", "stage1.1.mask.max_pool1"),
        ("corners not aligned", "forward", "stage1.1.mask.resize1"),
        ("M T for (1 + M) T", "forward", "stage1.1.gate1"),
        ("ReLU missing", "forward", "head.relu1"),
        ("maximum for the mean", "forward", "head.global_average_pool1"),
        ("sum for the mean of the loss", "backward", "head.classifier"),
        ("mask passes no gradient", "backward", "stage2.1.mask.conv2"),
    ],
)
def test_the_first_layer_that_differs_is_named(
    laboratory: Laboratory, name: str, direction: str, layer: str
) -> None:
    measurement = measured(laboratory, "torch", name)
    assert parting(measurement, reference("torch"), run_of("torch")) == (direction, layer)


def test_there_are_enough_faults() -> None:
    assert len(TORCH_FAULTS) >= 15


def test_a_statistic_that_is_slightly_off_is_seen() -> None:
    backend = TRAINING[0]
    run, name = run_of(backend), "stem.norm.running_var"
    moved = replace(run, state={**run.state, name: run.state[name] + 1e-8})
    failed = failed_checks(measure_reference(moved), reference(backend), run)
    assert failed == ["logits, evaluation", "statistics, one step", "statistics, all steps"]
