"""`ranspec study list`, `show` and `report`, and what they say of mistakes."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from typer.testing import CliRunner, Result

from ranspec.cli.app import app
from ranspec.studies.jobs import jobs
from ranspec.studies.loader import available_studies, load_study
from ranspec.studies.results import STUDY as STUDY_FILE
from ranspec.studies.results import job_folder, study_folder, write_job
from tests.studies.conftest import STUDY, Write


def study(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["study", *arguments])


def test_all_studies_are_listed() -> None:
    said = json.loads(study("list", "--format", "json").stdout)
    assert [each["name"] for each in said["studies"]] == available_studies()
    assert "wang2017_table1" in study("list").stdout


def test_what_would_be_run_is_shown(write: Write) -> None:
    write()
    shown = study("show", "two.yaml", "--scale", "1/2", "--backends", "torch,jax").stdout
    assert shown.startswith("Table 9: Two networks (at scale 1/2)\nthese tests\n")
    assert "error 5.00 %, top-5 error 1.00 % (not comparable)" in shown
    assert "8 runs: seeds 0, 1; backends jax, torch" in shown
    assert "- small, NAL: naive\n" in shown
    assert "- small, NAL: --set attention.learning=naive\n" in shown


def test_what_would_be_run_is_told_to_programs(write: Write) -> None:
    write()
    arguments = ["two.yaml", "--seeds", "3", "--only", "nal", "--format", "json"]
    said = json.loads(study("show", *arguments).stdout)
    (entry,) = said["entries"]
    assert entry["name"] == "small, NAL"
    assert entry["printed"] == {"error": {"figure": 6.0, "not_comparable": None}}
    assert entry["parameters"] > 1000 and entry["iterations"] > 1
    (job,) = said["jobs"]
    assert (job["entry"], job["backend"], job["seed"]) == ("small, NAL", "torch", 3)


def test_a_network_that_cannot_be_built_is_told(write: Write) -> None:
    write(STUDY.replace("attention.learning=naive", "stages.stage1.mask_depth=9"))
    result = study("show", "two.yaml")
    assert result.exit_code == 2
    assert "mask_depth" in result.stderr


def test_a_report_is_of_runs_at_the_scale_that_is_asked_for(write: Write) -> None:
    loaded = load_study(write())
    for scale in (Fraction(1), Fraction(1, 50)):
        root = study_folder(loaded.name, scale)
        (job, *_) = jobs(loaded, scale=scale)
        write_job(job_folder(root, job), job)
        (root / STUDY_FILE).write_text(loaded.text)
    both = study("report", "two.yaml", "--format", "markdown").stdout
    assert both.count("# Table 9: Two networks") == 2
    one = study("report", "two.yaml", "--scale", "1/50", "--format", "markdown").stdout
    assert one.startswith("# Table 9: Two networks (at scale 1/50)\n")
    assert one.count("# Table 9") == 1
    none = study("report", "two.yaml", "--scale", "1/2")
    assert none.exit_code == 2
    assert "has no runs of scale 1/2" in none.stderr


MISTAKES = {
    ("show", "tow"): "no study of this name",
    ("show", "wang2017_tabel1"): "did you mean wang2017_table1",
    ("show", "three.yaml"): "no such file; did you mean two.yaml?",
    ("show", "bad.yaml"): "bad.yaml:1:1: titel: unknown key; did you mean title?",
    ("show", "two.yaml", "--scale", "0"): "found '0' as a scale",
    ("show", "two.yaml", "--scale", "2"): "found '2' as a scale",
    ("show", "two.yaml", "--scale", "abc"): "found 'abc' as a scale",
    ("show", "two.yaml", "--scale", "1/0"): "found '1/0' as a scale",
    ("show", "two.yaml", "--seeds", "one"): "found 'one', expected whole numbers",
    ("show", "two.yaml", "--seeds", "-1"): "found '-1', expected whole numbers",
    ("show", "two.yaml", "--seeds", "9999999999"): "expected whole numbers below 2^31",
    ("show", "two.yaml", "--seeds", ""): "expected whole numbers",
    ("show", "two.yaml", "--backends", "troch"): "did you mean torch?",
    ("show", "two.yaml", "--backends", "onnx"): "only infers",
    ("show", "two.yaml", "--only", "ARX"): "no row, column or entry 'ARX'; did you mean ARL",
    ("report", "two.yaml"): "none was run in this folder",
    ("report", "nothing"): "no study of this name",
    ("report", "two.yaml", "--scale", "x"): "found 'x' as a scale",
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_told_before_any_work(arguments: tuple[str, ...], write: Write) -> None:
    write()
    write(STUDY.replace("title", "titel"), "bad.yaml")
    result = study(*arguments)
    assert result.exit_code == 2
    assert MISTAKES[arguments] in result.stderr
    assert "Traceback" not in result.output
