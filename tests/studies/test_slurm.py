"""Jobs under SLURM go on when it is their turn again; without it, submitit runs them here."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ranspec.studies.driver import drive
from ranspec.studies.engines import EngineError
from ranspec.studies.engines.local import LocalEngine
from ranspec.studies.engines.slurm import SlurmEngine, minutes
from ranspec.studies.execution import RUNNING
from ranspec.studies.status import at_work, read_status
from tests.studies.standins import notes, table, tasks

pytest.importorskip("submitit")

COMMANDS = {
    "srun": "",
    "sbatch": 'cp "$1" {folder}/script.sh; echo "Submitted batch job 42"',
    "sacct": r'printf "JobID|State|NodeList\n42_0|RUNNING|a\n42_1|PENDING|a\n42_2|PENDING|a\n"',
    "scancel": 'echo "$@" >> {folder}/cancelled.txt',
}
"""What stands for the commands of SLURM."""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the commands of SLURM leave what they were told."""
    for name, text in COMMANDS.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{text.format(folder=tmp_path)}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_jobs_are_an_array_that_is_told_before_its_end(cluster: Path) -> None:
    parameters = {"partition": "gpu", "time": "1:30:00", "gpus_per_node": "1", "exclusive": "true"}
    parameters |= {"setup": "module load cuda"}
    engine = SlurmEngine(cluster / "study", parameters, slots=2)
    engine.start(tasks(cluster / "study", 3))
    script = (cluster / "script.sh").read_text().splitlines()
    assert {
        "#SBATCH --array=0-2%2",
        "#SBATCH --exclusive",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --job-name=ranspec",
        "#SBATCH --open-mode=append",
        "#SBATCH --partition=gpu",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --time=90",
        "module load cuda",
    } <= set(script)
    assert any("submitit.core._submit" in line for line in script)
    assert engine.running()
    engine.stop()
    assert (cluster / "cancelled.txt").read_text().split() == ["42_0", "42_1", "42_2"]


def test_a_job_that_makes_room_goes_on_when_it_is_its_turn(tmp_path: Path) -> None:
    study = tasks(tmp_path / "slurm", 2, "--iterations", "30", "--nap", "0.05")
    preempted = []

    def preempt() -> None:
        who = at_work(study[0].folder / RUNNING)
        if who and not preempted and len(notes(study[0])) > 3:
            preempted.append(os.kill(int(who["pid"]), signal.SIGUSR2))

    engine = SlurmEngine(tmp_path / "slurm", {}, cluster="local")
    assert drive(engine, study, preempt) is None
    assert engine.errors() == {}
    started = [[note.step for note in notes(each) if note.what == "start"] for each in study]
    assert (len(started[0]), started[1]) == (2, [0])
    assert 0 < started[0][1] < 30

    here = tasks(tmp_path / "here", 2, "--iterations", "30")
    drive(LocalEngine(), here, lambda: None)
    assert table(study) == table(here)


def test_jobs_that_are_cancelled_leave_their_checkpoints(tmp_path: Path) -> None:
    (job,) = tasks(tmp_path, 1, "--iterations", "400", "--nap", "0.05")
    engine = SlurmEngine(tmp_path, {}, cluster="local")
    sent = []

    def end() -> None:
        if not sent and len(notes(job)) > 3:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    assert drive(engine, [job], end) == signal.SIGTERM
    status = read_status(tmp_path, job.job)
    assert (status.phase, status.step) == ("interrupted", notes(job)[-1].step)
    with pytest.raises(ProcessLookupError):
        os.kill(notes(job)[0].process, 0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"partitoin": "gpu"}, "--slurm partitoin: submitit has no such parameter; did you mean p"),
        ({"time": "soon"}, "--slurm time=soon: expected minutes, or a time such as 12:00:00"),
    ],
)
def test_parameters_that_submitit_does_not_have_are_refused(
    tmp_path: Path, parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(EngineError) as told:
        SlurmEngine(tmp_path, parameters).start(tasks(tmp_path, 1))
    assert message in str(told.value)


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no SLURM here"):
        SlurmEngine(tmp_path, {}).start(tasks(tmp_path, 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("30:00", 30),
        ("4:00:00", 240),
        ("1:00:01", 61),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:30:00", 2190),
        ("0:10", 1),
    ],
)
def test_times_are_read_as_sbatch_does(text: str, expected: int) -> None:
    assert minutes(text) == expected
