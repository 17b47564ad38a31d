"""The harness as a whole: reports, failures, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ranspec.cli.app import app
from ranspec.codegen.backend import NotInstalledError, load_backend, require_installed
from ranspec.ir import operations as ops
from ranspec.spec import load_spec, packaged_specs
from ranspec.verify import processes
from ranspec.verify.comparison import TOLERANCES, relative_error
from ranspec.verify.conditioning import steady
from ranspec.verify.experiment import experiment, kink_margin, without_dropout
from ranspec.verify.harness import verify
from ranspec.verify.processes import BackendError, run_jobs, write_job
from ranspec.verify.report import Check, Report
from tests.rendering import BACKENDS
from tests.verify.networks import NETWORKS, TINY, tiny

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
def test_missed_tolerance_fails_with_the_layer_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    render = processes.render_files

    def broken(*arguments: object) -> dict[str, str]:
        files = render(*arguments)  # type: ignore[arg-type]
        return files | {"model.py": files["model.py"].replace("(1 + mask)", "mask")}

    monkeypatch.setattr(processes, "render_files", broken)
    result = CliRunner().invoke(app, ["verify", TINY, "--backend", "torch", "--steps", "1"])
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "torch and numpy part at head.norm, forward" in result.stdout
    assert "tiny: failed (float64, 1 steps of 4 images, learning rate 0.01)" in result.stdout


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
    report = Report("tiny", "float64", 1, 4, 0.01, ("jax",), (check,))
    assert not report.passed
    assert report.to_json()["checks"][0]["max_relative_error"] is None
    assert "Infinity" not in json.dumps(report.to_json())


def test_dropout_is_left_out() -> None:
    loaded = tiny("head.dropout=0.5").load()
    run = experiment(loaded)
    assert without_dropout(loaded).spec.head.dropout == 0.0
    assert not any(isinstance(layer.operation, ops.Dropout) for layer in run.graph.layers)


def test_no_array_of_the_state_is_constant() -> None:
    run = experiment(NETWORKS["learned spatial attention"].load())
    assert all(np.unique(array).size > 1 for array in run.state.values())


def test_float32_keeps_clear_of_kinks() -> None:
    run = experiment(tiny().load(), dtype="float32")
    other = experiment(tiny().load())
    images = run.batches.images[0]
    assert kink_margin(run.graph, run.state, images) >= kink_margin(
        other.graph, {name: a.astype("float32") for name, a in other.state.items()}, images
    )


def test_learning_rate_drops_in_the_middle() -> None:
    run = experiment(tiny().load(), steps=4)
    assert [run.rate(step) for step in range(4)] == [0.01, 0.01, 0.001, 0.001]


def test_rate_is_lowered_where_training_is_chaotic() -> None:
    changes = ("input.height=16", "input.width=16", "stages.stage1.mask_depth=2")
    loaded = load_spec(packaged_specs() / "yeah2020" / "attention56_cifar.yaml", changes)
    run = experiment(loaded, steps=8, batch_size=2)
    calm, _ = steady(run, TOLERANCES["float64"])
    assert calm.learning_rate < run.learning_rate


def test_rate_stays_where_rounding_does_not_grow() -> None:
    run = experiment(load_spec(TINY), steps=4)
    calm, _ = steady(run, TOLERANCES["float64"])
    assert calm.learning_rate == run.learning_rate


def test_framework_that_is_not_installed_is_told_with_the_remedy() -> None:
    backend = load_backend(BACKENDS[0])
    absent = replace(backend, name="absent", requirements={"no_such_framework": "none>=1"})
    with pytest.raises(NotInstalledError, match=r"no_such_framework.*'ranspec\[absent\]'"):
        require_installed(absent)
