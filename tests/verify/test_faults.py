"""The harness sees every planted fault, in the quantity where it must show first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from ranspec.verify.comparison import TOLERANCES, compare, find_parting
from ranspec.verify.experiment import Experiment, experiment, measure_reference
from ranspec.verify.processes import BackendError
from ranspec.verify.report import REFERENCE, Check
from tests.rendering import BACKENDS
from tests.verify.faults import FAULTS, HEALTHY, TORCH_FAULTS, Fault, files_with
from tests.verify.laboratory import Measurement, Task, measure

SEEN_IN = "healthy"
PLANTED = [(backend, name) for backend in BACKENDS for name in FAULTS.get(backend, {})]
TOLERANCE = TOLERANCES["float64"]


@pytest.fixture(scope="module")
def run() -> Experiment:
    return experiment(HEALTHY.load())


@pytest.fixture(scope="module")
def reference(run: Experiment) -> Measurement:
    return measure_reference(run, layers=True)


@pytest.fixture(scope="module")
def results(
    run: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], Measurement | BackendError]:
    def tasks(backend: str, faults: Mapping[str, Fault]) -> dict[str, Task]:
        broken = {
            name: Task(run, files=files_with(fault, run, backend), layers=backend == "torch")
            for name, fault in faults.items()
        }
        return {SEEN_IN: Task(run, layers=True), **broken}

    folder = tmp_path_factory.mktemp("faults")
    return measure(
        {backend: tasks(backend, FAULTS.get(backend, {})) for backend in BACKENDS}, folder
    )


def checks(
    results: Mapping[tuple[str, str], Measurement | BackendError],
    run: Experiment,
    reference: Measurement,
    backend: str,
    name: str,
) -> Sequence[Check]:
    measured = results[backend, name]
    assert not isinstance(measured, BackendError), measured
    pair = backend, REFERENCE
    return compare(measured, reference, pair, run.graph, run.loaded.spec, TOLERANCE)


@pytest.mark.parametrize(("backend", "name"), PLANTED)
def test_fault_is_seen(
    results: Mapping[tuple[str, str], Measurement | BackendError],
    run: Experiment,
    reference: Measurement,
    backend: str,
    name: str,
) -> None:
    found = checks(results, run, reference, backend, name)
    failed = [check.quantity for check in found if not check.passed]
    assert failed[:1] == [FAULTS[backend][name].first]


@pytest.mark.parametrize("backend", BACKENDS)
def test_healthy_code_passes_and_no_layer_parts(
    results: Mapping[tuple[str, str], Measurement | BackendError],
    run: Experiment,
    reference: Measurement,
    backend: str,
) -> None:
    assert all(check.passed for check in checks(results, run, reference, backend, SEEN_IN))
    measured = results[backend, SEEN_IN]
    assert not isinstance(measured, BackendError)
    recorded = {name for name in measured if name.startswith("training.")}
    owners = {f"training.{item.path}" for item in run.graph.layers if item.operation.parameters()}
    assert recorded == owners
    assert find_parting(measured, reference, (backend, REFERENCE), run.graph, TOLERANCE) is None


@pytest.mark.parametrize(
    ("name", "direction", "layer"),
    [
        ("padding on the other side", "forward", "stage1.0.conv2"),
        ("shortcut of the raw input", "forward", "stage1.0.shortcut"),
        ("mask of the trunk", "forward", "stage1.1.mask.down1.norm1"),
        ("corners not aligned", "forward", "stage1.1.mask.up1.norm1"),
        ("M T for (1 + M) T", "forward", "stage1.1.after.norm1"),
        ("ReLU missing", "forward", "head.classifier"),
        ("sum for the mean of the loss", "backward", "head.classifier"),
    ],
)
def test_the_first_layer_that_differs_is_named(
    results: Mapping[tuple[str, str], Measurement | BackendError],
    run: Experiment,
    reference: Measurement,
    name: str,
    direction: str,
    layer: str,
) -> None:
    if "torch" not in BACKENDS:
        pytest.skip("the faults are planted in PyTorch's code")
    measured = results["torch", name]
    assert not isinstance(measured, BackendError)
    parting = find_parting(measured, reference, ("torch", REFERENCE), run.graph, TOLERANCE)
    assert parting is not None
    assert (parting.direction, parting.layer) == (direction, layer)


def test_there_are_enough_faults() -> None:
    assert len(TORCH_FAULTS) >= 15


def test_another_state_gives_another_result(run: Experiment, reference: Measurement) -> None:
    name = "stem.norm.running_var"
    moved = {**run.state, name: run.state[name] + 1e-9}
    other = measure_reference(replace(run, state=moved))
    pair = "moved", REFERENCE
    found = compare(other, reference, pair, run.graph, run.loaded.spec, TOLERANCE)
    assert [check.quantity for check in found if not check.passed] == [
        "logits, evaluation",
        "statistics, one step",
        "statistics, all steps",
    ]
