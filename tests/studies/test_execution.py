"""A job is brought to its end once, whatever happens to its training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from ranspec.runtime.folder import whereabouts
from ranspec.studies.driver import drive
from ranspec.studies.engines.local import LocalEngine, shares
from ranspec.studies.execution import RUNNING, Execution, Share, Task, ended, ending, environment
from ranspec.studies.results import LOG, read_result
from ranspec.studies.status import at_work, read_status, statuses
from tests.studies.standins import CODE, noted, notes, table, task

CASES: Mapping[str, tuple[tuple[str, ...], str, str, int]] = {
    "undisturbed": ((), "finished", "", 1),
    "disk full": (("--die", "74"), "finished", "", 2),
    "killed": (("--die=-9",), "finished", "", 2),
    "ended by others": (("--die", "75"), "finished", "", 2),
    "dies always": (("--die", "3,3,3"), "failed", "exit code 3: told to die with 3 (3 times)", 3),
    "killed always": (("--die=-9,-9,-9",), "failed", "killed by SIGKILL (3 times)", 3),
    "diverged": (("--spoil", "3"), "diverged", "loss nan at step 3", 1),
    "bad input": (("--wrong", "no images"), "failed", "no images", 0),
}
"""Options, and what comes of them: state, reason and starts."""


def run(*tasks: Task, slots: int | None = None, watch: Callable[[], None] = lambda: None) -> int:
    """Run tasks here; return the signal that ended it, 0 for none."""
    engine = LocalEngine(slots)
    ended_by = drive(engine, tasks, watch)
    assert engine.errors() == {}
    return ended_by or 0


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    root = tmp_path_factory.mktemp("study")
    found = {
        name: task(root, number, *options)
        for number, (name, (options, *_)) in enumerate(CASES.items())
    }
    run(*found.values())
    return found


@pytest.mark.parametrize("name", CASES)
def test_each_ending_is_told(studied: dict[str, Task], name: str) -> None:
    _, state, reason, starts = CASES[name]
    result = read_result(studied[name].folder, studied[name].job)
    assert (result.state, result.reason) == (state, reason)
    assert noted(studied[name], "start") == starts
    assert bool(result.measures) == (state == "finished")


def test_retries_go_on_from_the_checkpoint(studied: dict[str, Task]) -> None:
    assert [note.step for note in notes(studied["killed"]) if note.what == "start"] == [0, 2]


def test_results_say_what_they_are_of(studied: dict[str, Task]) -> None:
    result = read_result(studied["undisturbed"].folder, studied["undisturbed"].job)
    said = result.provenance
    assert said["spec"] == "5" * 64
    assert len(said["code"]) == 64
    assert {"ranspec", "framework", "python", "host", "started", "ended"} <= set(said)
    assert said["seed"] == "0"


def test_nobody_is_at_a_job_that_has_ended(studied: dict[str, Task]) -> None:
    assert not [each for each in studied.values() if (each.folder / RUNNING).exists()]


def test_only_what_failed_is_run_again(studied: dict[str, Task]) -> None:
    before = {name: noted(each, "start") for name, each in studied.items()}
    again = table(list(studied.values()))
    run(*studied.values())
    started = {name for name, each in studied.items() if noted(each, "start") > before[name]}
    assert started == {"dies always", "killed always"}
    after = table(list(studied.values()))
    finished = {row for row, (state, *_) in again.items() if state == "finished"}
    assert {row: after[row] for row in finished} == {row: again[row] for row in finished}


def test_one_that_cannot_be_built_fails_alone(tmp_path: Path) -> None:
    wrong = replace(task(tmp_path, 0), code=None)
    run(wrong, task(tmp_path, 1))
    found = table([wrong, task(tmp_path, 1)])
    state, _, reason = found["network 0"]
    assert state == "failed"
    assert "toy" in reason
    assert found["network 1"][0] == "finished"


def test_a_signal_ends_trainings_with_their_checkpoints(tmp_path: Path) -> None:
    tasks = [task(tmp_path, number, "--iterations", "40", "--nap", "0.05") for number in range(3)]
    sent = []

    def interrupt() -> None:
        if not sent and all(read_status(tmp_path, each.job).step > 2 for each in tasks[:2]):
            sent.append(os.kill(os.getpid(), signal.SIGINT))

    assert run(*tasks, slots=2, watch=interrupt) == signal.SIGINT
    found = statuses(tmp_path)
    assert [each.phase for each in found] == ["interrupted", "interrupted"]
    assert not [note for each in tasks for note in notes(each) if alive(note.process)]

    assert run(*(short(each) for each in tasks)) == 0
    assert [each.phase for each in statuses(tmp_path)] == ["finished"] * 3
    for each, before in zip(tasks[:2], found, strict=True):
        assert [note.step for note in notes(each) if note.what == "start"] == [0, before.step]


def short(of: Task) -> Task:
    return replace(of, options=("--iterations", "40"))


def test_a_training_that_does_not_end_is_killed_when_asked_again(tmp_path: Path) -> None:
    slow = task(tmp_path, 0, "--nap", "60")
    engine = LocalEngine()
    stopped = []

    def stop_twice() -> None:
        if noted(slow, "start") and not stopped:
            stopped.extend([engine.stop(), engine.stop()])

    started = time.monotonic()
    drive(engine, [slow], stop_twice)
    assert time.monotonic() - started < 30
    assert not alive(notes(slow)[0].process)


@pytest.mark.parametrize("lock", [".lock", "run/.lock"], ids=["the job's", "the training's"])
def test_whoever_is_at_a_job_is_waited_for(tmp_path: Path, lock: str) -> None:
    job = task(tmp_path, 0, patience=0.3)
    with holding(job.folder / lock):
        started = time.monotonic()
        assert Execution(job).run() is None
        assert time.monotonic() - started < 10
        assert not notes(job)
    patient = Execution(replace(job, patience=inf))
    with ThreadPoolExecutor(1) as pool, holding(job.folder / lock) as holder:
        running = pool.submit(patient.run)
        time.sleep(0.3)
        assert not running.done()
        holder.kill()
        result = running.result(30)
        assert result is not None
        assert result.state == "finished"


def test_waiting_for_others_can_be_stopped(tmp_path: Path) -> None:
    execution = Execution(task(tmp_path, 0))
    with ThreadPoolExecutor(1) as pool, holding(tmp_path / "jobs/toy-0/.lock"):
        running = pool.submit(execution.run)
        execution.stop()
        assert running.result(30) is None


@contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Have another process hold a lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = """
import fcntl, sys
lock = open(sys.argv[1], "a")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-S", "-c", program, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_what_finished_without_results_is_started_again(tmp_path: Path) -> None:
    assert ended(tmp_path, 0, "", {}) is None
    assert ending(0) == "it finished and left no results in config.json"


@pytest.mark.parametrize(("code", "said"), [(74, "could not be written"), (9, "exit code 9")])
def test_an_ending_is_said_in_words(code: int, said: str) -> None:
    assert said in ending(code)


def test_an_engine_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    job = task(tmp_path, 0, "--nap", "60")

    def fail() -> None:
        if noted(job, "start"):
            raise RuntimeError("the watch failed")

    with pytest.raises(RuntimeError, match="the watch failed"):
        drive(LocalEngine(), [job], fail)
    assert not alive(notes(job)[0].process)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_says_how_far_it_is(tmp_path: Path) -> None:
    going = task(tmp_path, 0, "--iterations", "30", "--nap", "0.05")
    seen = []
    run(going, watch=lambda: seen.append(read_status(tmp_path, going.job)))
    assert [each.phase for each in seen][-1] == "finished"
    at_it = [each for each in seen if each.phase == "running" and each.seconds_left]
    assert at_it
    assert at_it[-1].steps == 30
    assert at_it[-1].error == 0.5
    left = (30 - at_it[-1].step) * 10 / 100
    assert at_it[-1].seconds_left == pytest.approx(left)


def test_a_dead_process_is_at_no_job(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    path = tmp_path / RUNNING
    path.write_text(json.dumps(whereabouts() | {"pid": gone.pid}))
    assert at_work(path) is None
    path.write_text(json.dumps(whereabouts()))
    assert at_work(path) is not None
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    assert at_work(path) is None


def test_the_log_keeps_what_was_said(studied: dict[str, Task]) -> None:
    log = (studied["dies always"].folder / LOG).read_text()
    assert log.count("told to die with 3") >= 3


@pytest.mark.parametrize(
    ("slots", "tasks", "devices", "cores", "expected"),
    [
        (None, 9, (), 2, [Share(1), Share(1)]),
        (None, 1, (), 8, [Share(8)]),
        (3, 9, (), 8, [Share(2)] * 3),
        (None, 9, ("0", "1"), 8, [Share(4, "0"), Share(4, "1")]),
        (3, 9, ("5",), 8, [Share(2, "5")] * 3),
        (None, 0, (), 8, [Share(8)]),
    ],
)
def test_a_machine_is_shared_by_what_runs_at_once(
    slots: int | None, tasks: int, devices: tuple[str, ...], cores: int, expected: list[Share]
) -> None:
    assert shares(slots, tasks, devices, cores) == expected


def test_a_training_is_told_its_share() -> None:
    variables = environment(CODE, Share(3, "1"))
    assert (variables["OMP_NUM_THREADS"], variables["CUDA_VISIBLE_DEVICES"]) == ("3", "1")
    assert variables["PYTHONPATH"].startswith(str(CODE))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
