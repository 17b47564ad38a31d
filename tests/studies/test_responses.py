"""A study of responses measures those of the weights that its runs have left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ranspec.analysis.interpreter import initial_state
from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.runtime.checkpoint import Manifest
from ranspec.runtime.checkpoint import write as write_checkpoint
from ranspec.runtime.data import DataOptions
from ranspec.runtime.folder import NEWEST
from ranspec.studies.jobs import Job, jobs, scaled_spec
from ranspec.studies.loader import load_study
from ranspec.studies.report import read_report
from ranspec.studies.responses import responses
from ranspec.studies.results import RUN, STUDY, Result, job_folder, write_job, write_result
from tests.studies.conftest import STUDY as TEXT
from tests.studies.conftest import Write

pytest.importorskip("sklearn")

FINISHED = Result("finished", {"accuracy": 0.5, "loss": 1.0})
STATISTICS = {"data.mean": np.zeros((1, 1, 1)), "data.scale": np.ones((1, 1, 1))}
RESPONSES = TEXT.replace("seeds:", "output: response\nseeds:")


def finish(root: Path, job: Job) -> None:
    """Leave the initial weights as those that a run ended with."""
    loaded = scaled_spec(job)
    graph = compile_spec(loaded)
    weights = initial_state(graph, loaded.spec.train)
    folder = job_folder(root, job)
    write_job(folder, job)
    (folder / RUN).mkdir()
    manifest = Manifest(graph.name, 1, job.seed, 4)
    write_checkpoint(folder / RUN / NEWEST, {**weights, **STATISTICS}, manifest)
    write_result(folder, FINISHED)


def test_the_mean_is_taken_over_the_runs_that_have_finished(write: Write, tmp_path: Path) -> None:
    loaded = load_study(write(RESPONSES))
    found = []
    for job in jobs(loaded, only=["ARL"]):
        finish(tmp_path, job)
        report = read_report(loaded, tmp_path)
        found.append(responses(report, tmp_path, DataOptions(), 2)["small, ARL"])
    first, both = found
    assert list(first) == list(scaled_spec(job).spec.stages)
    assert all(value > 0 for value in first.values())
    assert both != first
    assert responses(report, tmp_path, DataOptions(), 2).keys() == {"small, ARL"}


def test_the_report_has_a_table_and_a_plot_of_them(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "results"
    loaded = load_study(write(RESPONSES))
    for job in jobs(loaded, seeds=[0]):
        finish(root, job)
    (root / STUDY).write_text(RESPONSES)
    said = CliRunner().invoke(app, ["study", "report", str(root)])
    assert said.exit_code == 0, said.output
    assert "## Mean absolute response of each stage's output\n" in (root / "report.md").read_text()
    assert "Mean absolute response of each stage" in (root / "report.html").read_text()


def test_without_images_the_report_says_so(write: Write, tmp_path: Path) -> None:
    text = RESPONSES.replace("attention_digits", "attention56_cifar")
    root = tmp_path / "results"
    (first, *_) = jobs(load_study(write(text)), seeds=[0])
    write_job(job_folder(root, first), first)
    (root / STUDY).write_text(text)
    said = CliRunner().invoke(app, ["study", "report", str(root), "--format", "markdown"])
    assert "The responses are not measured" in said.stdout
