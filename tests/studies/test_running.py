"""`ranspec study run`, `status` and `clean`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from ranspec.cli.app import app
from ranspec.cli.study_progress import live_table
from ranspec.cli.study_run import conclude
from ranspec.cli.study_run import task as prepared
from ranspec.studies.driver import drive
from ranspec.studies.engines.local import LocalEngine
from ranspec.studies.jobs import Job
from ranspec.studies.results import JOB, RESULT, RUN, STUDY, read_result, write_job
from ranspec.studies.status import Status, statuses
from tests.rendering import ROOT
from tests.studies.standins import task

MINI = """
title: Digits
source: A test.
entries:
  - {row: residual, spec: attention_digits}
  - {row: hopeless, spec: attention_digits, set: [train.learning_rate=1000]}
"""
SCALE = "1/40"


def ranspec(*arguments: str | Path, input: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(each) for each in ("study", *arguments)], input=input)


# --- run ---


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "mini.yaml").write_text(MINI)
    return folder


def start(home: Path) -> subprocess.Popen[str]:
    """Start the study as a person does."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "backends")))
    return subprocess.Popen(
        [sys.executable, "-m", "ranspec", "study", "run", "mini.yaml", "--scale", SCALE],
        cwd=home,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def by_row(root: Path) -> dict[str, Status]:
    return {each.job.row: each for each in statuses(root)}


def test_a_study_of_digits_ended_by_ctrl_c_goes_on(home: Path) -> None:
    root = home / "studies" / "mini-scale-1-40"
    with start(home) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if (found := by_row(root).get("residual")) and found.steps:  # It has begun.
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate()
        assert process.returncode == 130, said
    assert by_row(root)["residual"].phase == "interrupted"
    assert "goes on" in said

    with start(home) as process:
        output, said = process.communicate()
        assert process.returncode == 1, said
    found = by_row(root)
    assert (found["residual"].phase, found["residual"].step) == ("finished", 20)
    assert found["hopeless"].phase == "diverged"
    assert "at step" in found["hopeless"].reason
    assert "1 finished, 1 diverged" in output
    assert (root / STUDY).read_text() == MINI

    job = found["residual"].job
    folder = root / "jobs" / job.key
    result = read_result(folder, job)
    assert set(result.measures) == {"loss", "accuracy", "top5_accuracy"}
    assert {"spec", "data", "code", "framework", "host", "seed"} <= set(result.provenance)
    assert result.provenance["starts"] == "2"
    config = json.loads((folder / RUN / "config.json").read_text())
    assert config["results"] == result.measures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_study"], "no_such_study"),
        (["mini.yaml", "--scale", "2"], "found '2' as a scale"),
        (["mini.yaml", "--seeds", "a"], "found 'a', expected whole numbers"),
        (["mini.yaml", "--backends", "torhc"], "did you mean torch?"),
        (["mini.yaml", "--backends", "onnx"], "ONNX only infers"),
        (["mini.yaml", "--data-dir", "nowhere"], "nowhere is no folder"),
        (["mini.yaml", "--engine", "cloud"], "'cloud' is not one of"),
        (["mini.yaml", "--slurm", "partition=gpu"], "is for --engine slurm"),
        (["mini.yaml", "--engine", "slurm", "--slurm", "gpu"], "expected KEY=VALUE"),
        (["mini.yaml", "--engine", "slurm", "--slurm", "time=soon"], "expected minutes"),
        (["mini.yaml", "--only", "residaul"], "did you mean residual?"),
    ],
    ids=" ".join,
)
def test_bad_input_ends_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "mini.yaml").write_text(MINI)
    monkeypatch.chdir(tmp_path)
    result = ranspec("run", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["mini.yaml"]


# --- status and clean ---


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with a run that finished, one that diverged, one that failed and one that waits."""
    monkeypatch.chdir(tmp_path)
    folder = Path("studies", "toys")
    finished, spoilt, failed = (
        task(folder.absolute(), 0),
        task(folder.absolute(), 1, "--spoil", "3"),
        task(folder.absolute(), 2, "--wrong", "no images"),
    )
    drive(LocalEngine(), [finished, spoilt, failed], lambda: None)
    waiting = task(folder.absolute(), 3)
    write_job(waiting.folder, waiting.job)
    (folder / STUDY).write_text("")
    return folder


def test_status_tells_of_every_run(root: Path) -> None:
    for arguments in ((), ("toys",), (root,)):
        result = ranspec("status", *arguments)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert [line.split()[4] for line in lines[1:5]] == [
            "finished",
            "diverged",
            "failed",
            "waiting",
        ]
        assert lines[5] == "1 finished, 1 waiting, 1 diverged, 1 failed"
        assert "loss nan at step 3" in lines[2]
    told = json.loads(ranspec("status", "--format", "json").stdout)["studies/toys"]
    assert [each["state"] for each in told] == ["finished", "diverged", "failed", "waiting"]
    assert told[2]["reason"] == "no images"


def test_status_of_nothing_is_told(root: Path) -> None:
    result = ranspec("status", "toyz")
    assert result.exit_code == 2
    assert "there are toys" in result.output


def test_clean_removes_what_has_not_ended(root: Path) -> None:
    assert ranspec("clean", "toys", input="n\n").exit_code == 1
    assert len(statuses(root)) == 4
    assert ranspec("clean", "toys", input="y\n").exit_code == 0
    assert [each.phase for each in statuses(root)] == ["finished", "diverged"]
    assert ranspec("clean", "toys", "--all", "--yes").exit_code == 0
    left = {path.name for path in (root / "jobs").rglob("*") if path.is_file()}
    assert left == {"notes.txt", "checkpoint.json"}  # A training's own, which no study writes.


def test_clean_leaves_files_of_others(root: Path) -> None:
    mine = root / "jobs" / "toy-2" / "mine.txt"
    mine.write_text("mine")
    result = ranspec("clean", root, "--yes")
    assert "toy-2 holds other files" in result.output
    assert mine.read_text() == "mine"
    assert not (mine.parent / JOB).exists()


def test_clean_leaves_what_a_process_is_at(root: Path) -> None:
    program = "import sys; from ranspec.runtime.folder import Lock; from pathlib import Path\n"
    program += "lock = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    lock = root / "jobs" / "toy-2" / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", program, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        result = ranspec("clean", root, "--yes")
        process.communicate()
    assert f"in use by process {process.pid}" in result.output
    assert (lock.parent / RESULT).exists()


def test_a_terminal_shows_as_many_runs_as_it_has_lines(root: Path) -> None:
    def shown(height: int) -> str:
        console = Console(width=120, height=height)
        with console.capture() as captured:
            console.print(live_table(statuses(root), height))
        return captured.get()

    assert shown(30).count("network ") == 1 + 4
    text = shown(6)
    assert "failed" in text
    assert "network 0" not in text
    assert "1 finished, 1 waiting, 1 diverged, 1 failed" in text


@pytest.mark.parametrize(
    ("spec", "read"), [("attention_digits", False), ("attention56_cifar", True)]
)
def test_only_digits_are_not_read_from_a_folder(tmp_path: Path, spec: str, read: bool) -> None:
    job = Job("key", "row", spec, (), "torch", 0, Fraction(1, 50))
    found = prepared(job, tmp_path, Path("images"), 2)
    assert found.data_dir == (Path("images").absolute() if read else None)
    assert found.folder == tmp_path / "jobs" / "key"


@pytest.mark.parametrize(
    ("options", "ended_by", "errors", "code", "said"),
    [
        ([], None, {}, 0, ""),
        (["--spoil", "3"], None, {}, 1, ""),
        ([], None, {"toy-0": "the disk is full"}, 0, ""),
        (None, None, {"toy-0": "the disk is full"}, 1, "error: toy-0: the disk is full"),
        (None, None, {}, 75, "other processes are at the rest"),
        (None, signal.SIGINT, {}, 130, "goes on"),
        (None, signal.SIGTERM, {"toy-0": "cancelled"}, 75, "goes on"),
    ],
)
def test_the_exit_code_says_what_came_of_a_study(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str] | None,
    ended_by: int | None,
    errors: dict[str, str],
    code: int,
    said: str,
) -> None:
    job = task(tmp_path, 0, *(options or ()))
    if options is not None:
        drive(LocalEngine(), [job], lambda: None)
    engine = SimpleNamespace(errors=lambda: errors)
    assert conclude(tmp_path, [job.job], engine, ended_by) == code
    assert said in (told := capsys.readouterr().err)
    assert bool(told) == bool(said)
