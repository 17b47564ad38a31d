"""The harness as a whole: reports, failures, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ranspec.cli.app import app
from ranspec.codegen import backend
from ranspec.codegen.backend import Backend, NotInstalledError, load_backend, require_installed
from ranspec.ir import operations as ops
from ranspec.spec import load_spec
from ranspec.verify import harness, processes
from ranspec.verify.comparison import TOLERANCES, Tolerances, compare, relative_error
from ranspec.verify.conditioning import prepare
from ranspec.verify.experiment import (
    branch_ends,
    experiment,
    kink_margin,
    measure_reference,
    without_dropout,
)
from ranspec.verify.harness import verify
from ranspec.verify.processes import BackendError, run_jobs, write_job
from ranspec.verify.report import Check, Report
from tests.rendering import BACKENDS
from tests.verify.networks import NETWORKS, TINY, single_unit, tiny

needs_torch = pytest.mark.skipif("torch" not in BACKENDS, reason="PyTorch is not installed")


@needs_torch
def test_command_prints_a_report_as_json() -> None:
    result = CliRunner().invoke(
        app, ["verify", TINY, "--backend", "torch", "--steps", "2", "--format", "json"]
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["backends"] == ["torch"]
    assert (report["dtype"], report["steps"], report["passed"]) == ("float64", 2, True)
    for check in report["checks"]:
        assert check["pair"] == "torch/numpy"
        assert 0 <= check["max_relative_error"] <= check["tolerance"]
    assert {check["quantity"] for check in report["checks"]} == {
        "initial weights",
        "learning rates",
        "logits, training",
        "logits, evaluation",
        "loss",
        "gradients",
        "statistics, one step",
        "losses, all steps",
        "parameters, all steps",
        "statistics, all steps",
        "optimizer, all steps",
    }


@needs_torch
def test_a_new_spec_verifies(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.yaml")
    assert CliRunner().invoke(app, ["new", "mine", "-o", path]).exit_code == 0
    result = CliRunner().invoke(app, ["verify", path, "--backend", "torch", "--steps", "2"])
    assert result.exit_code == 0, result.stdout
    assert "mine: passed" in result.stdout


@needs_torch
def test_missed_tolerance_fails_with_the_layer_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    render = processes.render_files

    def broken(*arguments: object) -> dict[str, str]:
        files = render(*arguments)  # type: ignore[arg-type]
        return files | {"model.py": files["model.py"].replace("(1 + mask)", "mask")}

    monkeypatch.setattr(processes, "render_files", broken)
    result = CliRunner().invoke(app, ["verify", TINY, "--backend", "torch", "--steps", "1"])
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "torch and numpy part at stage1.1.gate1, forward" in result.stdout
    assert (
        "tiny: failed (float64, 1 steps of 4 images from step 63999 on, learning rate 0.1)"
        in result.stdout
    )


@needs_torch
def test_backend_that_fails_is_reported_with_the_end_of_what_it_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    render = processes.render_files

    def broken(*arguments: object) -> dict[str, str]:
        files = render(*arguments)  # type: ignore[arg-type]
        return files | {"train.py": "raise RuntimeError('no luck')"}

    monkeypatch.setattr(processes, "render_files", broken)
    report = verify(tiny().load(), ["torch"], steps=1)
    assert not report.passed
    assert report.checks == ()
    assert report.failures[0].message.endswith("RuntimeError: no luck")


@needs_torch
def test_backend_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    backend = load_backend("torch")
    job = write_job(tmp_path / "job", experiment(tiny().load()), backend)
    with pytest.raises(BackendError, match="PyTorch took longer than 0 s"):
        run_jobs(backend, [job], tmp_path, timeout=0.01)


def test_process_that_dies_is_reported(tmp_path: Path) -> None:
    backend = replace(load_backend(BACKENDS[0]), package="json")
    with pytest.raises(BackendError, match=r"No module named json\.probe"):
        run_jobs(backend, [], tmp_path, timeout=60)


def test_unknown_backend_and_bad_spec_exit_with_2() -> None:
    assert CliRunner().invoke(app, ["verify", TINY, "--backend", "torhc"]).exit_code == 2
    assert CliRunner().invoke(app, ["verify", TINY, "--set", "clases=3"]).exit_code == 2


@pytest.mark.parametrize(
    ("left", "right", "error"),
    [
        ([1.0, 2.0], [1.0, 4.0], 0.5),
        ([0.0], [0.0], 0.0),
        ([1.0], [0.0], float("inf")),
        ([float("nan")], [1.0], float("inf")),
        ([1.0], [float("nan")], float("inf")),
        ([1.0], [1.0, 1.0], float("inf")),
    ],
)
def test_relative_error(left: list[float], right: list[float], error: float) -> None:
    assert relative_error(np.array(left), np.array(right)) == error


def test_infinite_error_is_null_in_json_and_fails() -> None:
    check = Check("loss", ("jax", "numpy"), float("inf"), 1e-12, "")
    report = Report("tiny", "float64", 1, 4, (0.01,), ("jax",), (check,))
    assert not report.passed
    assert report.to_json()["checks"][0]["max_relative_error"] is None
    assert "Infinity" not in json.dumps(report.to_json())


def test_dropout_is_left_out() -> None:
    loaded = tiny("head.dropout=0.5").load()
    run = experiment(loaded)
    assert without_dropout(loaded).spec.head.dropout == 0.0
    assert not any(isinstance(layer.operation, ops.Dropout) for layer in run.graph.layers)


def test_no_array_of_the_state_is_constant() -> None:
    run = experiment(NETWORKS["spatial attention"].load())
    assert all(np.unique(array).size > 1 for array in run.state.values())


def test_float32_keeps_clear_of_kinks() -> None:
    run = experiment(tiny().load(), dtype="float32")
    other = experiment(tiny().load())
    images = run.batches.images[0]
    assert kink_margin(run.graph, run.state, images) >= kink_margin(
        other.graph, {name: a.astype("float32") for name, a in other.state.items()}, images
    )


@pytest.mark.parametrize(
    ("schedule", "first_step", "rates"),
    [
        ("{}", 63_998, (0.1, 0.1, 0.01, 0.01)),
        ("{at: [], warmup: {iterations: 400, rate: 0.02}}", 398, (0.02, 0.02, 0.1, 0.1)),
        ("{at: [1, 9]}", 0, (0.1, 0.01, 0.01, 0.01)),
        ("{at: []}", 0, (0.1,) * 4),
        ("{kind: exponential, initial: 0.1, factor: 0.5, every: 3}", 1, (0.1, 0.1, 0.05, 0.05)),
        ("{kind: exponential, initial: 0.1, factor: 0.5, every: 1}", 0, (0.1, 0.05, 0.025, 0.0125)),
        ("{kind: plateau, initial: 0.1, factor: 0.2}", 0, (0.1, 0.1, 0.02, 0.02)),
        ("{kind: constant, initial: 0.3}", 0, (0.3,) * 4),
    ],
)
def test_steps_are_those_around_the_first_change_of_the_rate(
    schedule: str, first_step: int, rates: tuple[float, ...]
) -> None:
    run = experiment(tiny(f"train.learning_rate={schedule}", "train.validation=8").load(), steps=4)
    assert run.first_step == first_step
    assert run.rates == pytest.approx(rates, rel=1e-15)


def test_a_deep_network_is_well_conditioned() -> None:
    changes = ("input.height=16", "input.width=16", "stages.stage1.mask_depth=2")
    loaded = load_spec("attention92_nal_cifar", (*changes, "stages.stage2.mask_depth=1"))
    prepared = prepare(experiment(loaded, steps=4), TOLERANCES["float64"])
    limits = TOLERANCES["float64"].by_quantity
    assert prepared.run.rates[0] >= 0.01
    assert all(noise <= 0.1 * limits[name] for name, noise in prepared.noise.items())


def test_rate_is_lowered_to_a_thousandth_at_most() -> None:
    loaded = tiny("train.learning_rate={kind: constant, initial: 100}").load()
    run = experiment(loaded, steps=4)
    prepared = prepare(run, TOLERANCES["float64"])
    assert max(prepared.run.rates) in (pytest.approx(0.01), pytest.approx(0.001))
    assert prepared.run.settings["learning_rate"] == pytest.approx(max(prepared.run.rates))


def test_rate_stays_where_rounding_does_not_grow() -> None:
    run = experiment(load_spec(TINY), steps=4)
    prepared = prepare(run, TOLERANCES["float64"])
    assert prepared.run.rates == run.rates
    assert "learning_rate" not in prepared.run.settings


def test_last_layers_of_residual_branches_are_scaled() -> None:
    graph = experiment(tiny("stages.stage1.mask_depth=2").load()).graph
    ends = branch_ends(graph)
    assert {"stage1.0.conv3", "stage1.1.trunk.conv3", "stage1.1.mask.skip1.conv3"} <= ends
    assert not {path for path in ends if "shortcut" in path or not path.endswith("conv3")}
    post = experiment(single_unit("{kind: basic}").load()).graph
    assert all(path.endswith("norm2") for path in branch_ends(post))


@pytest.mark.parametrize(
    ("error", "noise", "outcome"),
    [
        (1e-12, 0.0, "passed"),
        (1e-12, 1e-3, "passed"),
        (1e-9, 1e-15, "failed"),
        (1e-9, 5e-11, "cannot be told"),
        (1.0, 5e-11, "failed"),
        (float("inf"), 5e-11, "failed"),
        (float("inf"), float("inf"), "cannot be told"),
    ],
)
def test_outcome_of_a_check(error: float, noise: float, outcome: str) -> None:
    check = Check("gradients", ("jax", "numpy"), error, 1e-10, "", noise)
    assert check.outcome == outcome
    report = Report("tiny", "float64", 1, 4, (0.1,), ("jax",), (check,))
    assert report.outcome == outcome
    assert report.passed == (outcome == "passed")


def test_a_report_without_checks_has_not_passed() -> None:
    assert Report("tiny", "float64", 1, 4, (0.1,), (), ()).outcome == "failed"


def test_gradients_that_are_all_zero_tell_nothing() -> None:
    run = experiment(tiny().load(), steps=1)
    measured = measure_reference(run)
    zeros = {n: 0 * a if n.startswith("gradient.") else a for n, a in measured.items()}
    pair = ("measured", "numpy")
    checks = compare(zeros, zeros, pair, run.graph, run.loaded.spec, TOLERANCES["float64"])
    assert [check.quantity for check in checks if not check.passed] == ["gradients"]


@needs_torch
def test_command_exits_with_3_where_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Check, "noise", 1.0)
    monkeypatch.setitem(TOLERANCES, "float64", Tolerances(*[1e-300] * 8))
    result = CliRunner().invoke(app, ["verify", TINY, "--backend", "torch", "--steps", "1"])
    assert result.exit_code == 3
    assert "tiny: cannot be told" in result.stdout


def test_frameworks_that_are_not_installed_are_skipped_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = BACKENDS[0]

    def require(chosen: Backend, *modules: str) -> None:
        if chosen.name != present:
            raise NotInstalledError(f"{chosen.title} is missing")

    monkeypatch.setattr(backend, "require_installed", require)
    monkeypatch.setattr(harness, "require_installed", require)
    result = CliRunner().invoke(app, ["verify", TINY, "--steps", "1", "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["backends"] == [present]
    assert result.stderr.count("skipped: ") == len(backend.available_backends()) - 1


def test_framework_that_is_asked_for_and_not_installed_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def require(chosen: Backend, *modules: str) -> None:
        raise NotInstalledError(f"{chosen.title} is missing")

    monkeypatch.setattr(harness, "require_installed", require)
    result = CliRunner().invoke(app, ["verify", TINY, "--backend", BACKENDS[0]])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is missing" in result.stderr


def test_framework_that_is_not_installed_is_told_with_the_remedy() -> None:
    backend = load_backend(BACKENDS[0])
    absent = replace(backend, name="absent", requirements={"no_such_framework": "none>=1"})
    with pytest.raises(NotInstalledError, match=r"no_such_framework.*'ranspec\[absent\]'"):
        require_installed(absent)
