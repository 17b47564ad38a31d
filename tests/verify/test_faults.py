"""The harness sees every planted fault, in the quantity where it must show first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ranspec.verify.comparison import TOLERANCES, compare, find_parting
from ranspec.verify.experiment import Experiment, experiment, measure_reference
from ranspec.verify.processes import BackendError
from ranspec.verify.report import REFERENCE
from tests.rendering import TRAINING
from tests.verify.faults import FAULTS, SPECIMENS, TORCH_FAULTS, Fault, files_with
from tests.verify.laboratory import Measurement, Task, measure

HEALTHY = "healthy"
PLANTED = [(backend, name) for backend in TRAINING for name in FAULTS[backend]]
TOLERANCE = TOLERANCES["float64"]

Results = Mapping[tuple[str, str], Measurement | BackendError]


@pytest.fixture(scope="module")
def runs() -> Mapping[str, Experiment]:
    return {backend: experiment(SPECIMENS[backend].load()) for backend in TRAINING}


@pytest.fixture(scope="module")
def references(runs: Mapping[str, Experiment]) -> Mapping[str, Measurement]:
    return {backend: measure_reference(run, layers=True) for backend, run in runs.items()}


@pytest.fixture(scope="module")
def results(runs: Mapping[str, Experiment], tmp_path_factory: pytest.TempPathFactory) -> Results:
    def tasks(backend: str, faults: Mapping[str, Fault]) -> dict[str, Task]:
        run = runs[backend]
        broken = {
            name: Task(run, files=files_with(fault, run, backend), layers=backend == "torch")
            for name, fault in faults.items()
        }
        return {HEALTHY: Task(run, layers=True), **broken}

    folder = tmp_path_factory.mktemp("faults")
    return measure({backend: tasks(backend, FAULTS[backend]) for backend in TRAINING}, folder)


def measured(results: Results, backend: str, name: str) -> Measurement:
    outcome = results[backend, name]
    assert not isinstance(outcome, BackendError), outcome
    return outcome


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
def test_fault_is_seen(
    results: Results,
    runs: Mapping[str, Experiment],
    references: Mapping[str, Measurement],
    backend: str,
    name: str,
) -> None:
    failed = failed_checks(measured(results, backend, name), references[backend], runs[backend])
    assert failed[:1] == [FAULTS[backend][name].first]


@pytest.mark.parametrize("backend", TRAINING)
def test_healthy_code_passes_and_no_layer_parts(
    results: Results,
    runs: Mapping[str, Experiment],
    references: Mapping[str, Measurement],
    backend: str,
) -> None:
    measurement, run = measured(results, backend, HEALTHY), runs[backend]
    assert failed_checks(measurement, references[backend], run) == []
    for mode in ("training.", "evaluation."):
        values = [name for name in measurement if name.startswith(mode)]
        assert len(values) >= len(run.graph.layers)
    assert parting(measurement, references[backend], run) is None


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
    results: Results,
    runs: Mapping[str, Experiment],
    references: Mapping[str, Measurement],
    name: str,
    direction: str,
    layer: str,
) -> None:
    found = parting(measured(results, "torch", name), references["torch"], runs["torch"])
    assert found == (direction, layer)


def test_there_are_enough_faults() -> None:
    assert len(TORCH_FAULTS) >= 15


def test_a_statistic_that_is_slightly_off_is_seen(
    runs: Mapping[str, Experiment], references: Mapping[str, Measurement]
) -> None:
    backend, run = next(iter(runs.items()))
    name = "stem.norm.running_var"
    moved = replace(run, state={**run.state, name: run.state[name] + 1e-8})
    failed = failed_checks(measure_reference(moved), references[backend], run)
    assert failed == ["logits, evaluation", "statistics, one step", "statistics, all steps"]
