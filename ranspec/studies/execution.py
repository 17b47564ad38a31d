"""One job of a study, brought to its end in its folder, by whatever engine and on whatever machine.

    code/          built from the job's spec; written anew only where it differs
    run/           the folder of the run, in which `code/train.py` goes on where it was ended
    log.txt        all that train.py said
    running.json   who is at it, touched every few seconds; gone when nobody is
    result.json    how it ended

Several processes may be told to run one job: whoever holds the lock of its folder does, the others
wait, and find its result. The training is a process of its own, which does not outlive the one that
started it, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

from ranspec import __version__
from ranspec.errors import RanspecError, printable
from ranspec.runtime.folder import CONFIG, DIVERGED, LOCK, FolderError, Lock, now, whereabouts
from ranspec.studies.jobs import Job, scaled_spec
from ranspec.studies.results import (
    CODE,
    LOG,
    RUN,
    Result,
    read_result,
    write_job,
    write_result,
)

RUNNING = "running.json"
FINISHED, FAILED, BAD_INPUT = 0, 1, 2
ENDINGS = {74: "a file could not be written", 75: "ended by a signal", 130: "ended by a signal"}

GUARD, TRAIN = "ranspec.verify.guard", "train"
PAUSE = 0.1
"""Seconds between looks at what is running or locked."""
HEARTBEAT = 5.0
"""Seconds between signs of life."""
LONGEST_REASON = 400
LAST_BYTES = 1 << 14
"""Of a log, that are looked at for why a training ended."""
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # What XLA takes for the number of processors.
)
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Task:
    """A job and how to run it: plain values, which travel to other processes and machines."""

    job: Job
    folder: Path
    """The job's folder, absolute, where all machines have it."""
    data_dir: Path | None = None
    retries: int = 2
    """How often a training that died is started again; one that diverged is not."""
    code: Path | None = None
    """A folder whose train.py is run as it is; by default the job's code is built."""
    options: tuple[str, ...] = ()
    """More options of train.py, none of which changes the result."""
    delay: float = 5.0
    """Seconds before a training that died is started again."""
    patience: float = inf
    """Seconds to wait for another process that is at the job."""


@dataclass(frozen=True)
class Share:
    """What of a machine a run may use; None for all that the process may that starts it."""

    threads: int | None = None
    devices: str | None = None
    """As in CUDA_VISIBLE_DEVICES."""


WHOLE = Share()


class Execution:
    """A job that is run; it may be stopped from another thread, or by a signal handler."""

    def __init__(self, task: Task, share: Share = WHOLE) -> None:
        self.task = task
        self._share = share
        self._stops = 0

    def stop(self) -> None:
        """Have the run end with a checkpoint; asked again, at once, without one."""
        self._stops += 1

    def run(self) -> Result | None:
        """Bring the job to its end and return what came of it, which its folder then says too.

        What was finished or has diverged before is not run again. None where it was stopped, or
        another process that is at it tried this one's patience. Raises OSError where the job's
        folder cannot be written.
        """
        folder, job = self.task.folder, self.task.job
        folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(folder / LOCK)
        if lock is None:
            return None
        try:
            known = read_result(folder, job)
            if known.state in ("finished", "diverged"):
                return known
            write_job(folder, job)
            with _sign_of_life(folder / RUNNING) as beat:
                result = self._train_to_the_end(beat)
            if result is not None:
                write_result(folder, result)
            return result
        finally:
            lock.release()

    def _lock(self, path: Path) -> Lock | None:
        """Wait for a lock; None where this is stopped before, or waiting took too long."""
        started = time.monotonic()
        while not self._stops:
            try:
                return Lock(path)
            except FolderError:
                if time.monotonic() - started > self.task.patience:
                    return None
                time.sleep(PAUSE)
        return None

    def _train_to_the_end(self, beat: Callable[[], None]) -> Result | None:
        task, began = self.task, now()
        deaths = []
        try:
            code = task.code or build_code(task)
        except RanspecError as error:
            return Result("failed", {}, _one_line(str(error)), self._provenance(None, began))
        # A training whose parent was lost with its machine may still be about to notice.
        run = task.folder / RUN
        run.mkdir(exist_ok=True)
        held = self._lock(run / LOCK)
        if held is None:
            return None
        held.release()
        while not self._stops:
            said = _size(task.folder / LOG)
            status = self._train(code, beat)
            last_words = _last_words(task.folder / LOG, said)
            provenance = self._provenance(code, began)
            if result := ended(run, status, last_words, provenance):
                return result
            if self._stops:
                return None
            deaths.append(f"{ending(status)}: {last_words}" if last_words else ending(status))
            if len(deaths) > task.retries:
                times = f" ({len(deaths)} times)" if len(deaths) > 1 else ""
                return Result("failed", {}, _one_line(deaths[-1]) + times, provenance)
            self._wait(task.delay, beat)
        return None

    def _train(self, code: Path, beat: Callable[[], None]) -> int:
        """Run train.py to its end, and return its exit code, below 0 for a signal."""
        task = self.task
        run = str(task.folder / RUN)
        command = [
            sys.executable,
            "-m",
            GUARD,
            TRAIN,
            "--output",
            run,
            "--seed",
            str(task.job.seed),
        ]
        if task.data_dir is not None:
            command += ["--data-dir", str(task.data_dir)]
        with (task.folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [*command, *task.options],
                cwd=code,
                env=environment(code, self._share),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        sent = 0
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(PAUSE)
                if self._stops > sent:
                    (_kill if sent else subprocess.Popen.terminate)(process)
                    sent += 1
                beat()
        finally:
            _kill(process)
            assert process.stdin
            process.stdin.close()

    def _wait(self, seconds: float, beat: Callable[[], None]) -> None:
        until = time.monotonic() + seconds
        while not self._stops and (left := until - time.monotonic()) > 0:
            beat()
            time.sleep(min(PAUSE, left))

    def _provenance(self, code: Path | None, began: str) -> dict[str, str]:
        config = read_json(self.task.folder / RUN / CONFIG)
        sessions = config.get("sessions") or [{}]
        said = {
            "spec": config.get("digest"),
            "data": config.get("data"),
            "code": code_digest(code) if code else None,
            "ranspec": __version__,
            "framework": config.get("framework"),
            **sessions[-1].get("versions", {}),
            "seed": self.task.job.seed,
            "host": whereabouts()["host"],
            "device": config.get("device"),
            "started": sessions[0].get("since", began),
            "ended": now(),
            "starts": len(config.get("sessions", ())),
        }
        return {name: str(value) for name, value in said.items() if value is not None}


def attended(execution: Execution) -> Result | None:
    """Run a job in a thread, so that signals and interruptions of this one leave it whole.

    A KeyboardInterrupt stops it.
    """
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(execution.run)
        while not running.done():
            try:
                time.sleep(PAUSE)
            except KeyboardInterrupt:
                execution.stop()
        return running.result()


def build_code(task: Task) -> Path:
    """Write the code of a job, unless it is there, and return its folder.

    Raises RanspecError where the spec cannot be built.
    """
    from ranspec.codegen.build import build

    with _BUILDING:
        return build(scaled_spec(task.job), task.job.backend, task.folder / CODE).folder


def environment(code: Path, share: Share) -> dict[str, str]:
    """Return the variables of a training: where its modules are, and its share of the machine."""
    found = find_spec("ranspec")
    assert found and found.origin
    path = [code, Path(found.origin).parents[1], *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONUNBUFFERED": "1"}
    if share.threads is not None:
        changes |= dict.fromkeys(THREAD_SETTINGS, str(share.threads))
    if share.devices is not None:
        changes["CUDA_VISIBLE_DEVICES"] = share.devices
    return {**os.environ, **changes}


def ended(run: Path, status: int, last_words: str, provenance: Mapping[str, str]) -> Result | None:
    """Return what came of a training that ended, None where it died and may be started again.

    `status` is its exit code, below 0 for a signal; see ranspec/runtime/run.py.
    """
    if status == FINISHED:
        results = read_json(run / CONFIG).get("results")
        if not results:
            return None
        measures = {str(name): float(value) for name, value in results.items()}
        return Result("finished", measures, "", provenance)
    if status == FAILED and (run / DIVERGED).is_file():
        found = read_json(run / DIVERGED)
        loss = f"loss {found['loss']}" if found.get("loss") else "a weight that is not finite"
        return Result("diverged", {}, f"{loss} at step {found.get('step', '?')}", provenance)
    if status == BAD_INPUT:
        return Result("failed", {}, _one_line(last_words or "bad input"), provenance)
    return None


def ending(status: int) -> str:
    """Say how a training ended that may be started again: `killed by SIGKILL`."""
    if status < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    if status == FINISHED:
        return f"it finished and left no results in {CONFIG}"
    return ENDINGS.get(status, f"exit code {status}")


def code_digest(code: Path) -> str:
    """Return a hash of the Python files of a folder, and of their names."""
    digest = hashlib.sha256()
    for path in sorted(code.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file says; nothing where it is absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _sign_of_life(path: Path) -> Iterator[Callable[[], None]]:
    """Say who is at a job, until the end; yield what is to be called again and again meanwhile."""
    path.write_text(json.dumps(whereabouts()), encoding="utf-8")
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > HEARTBEAT:
            last = time.monotonic()
            with suppress(OSError):
                os.utime(path)

    try:
        yield beat
    finally:
        path.unlink(missing_ok=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, if it still runs."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_words(log: Path, start: int) -> str:
    """Return the error that a training told last, or else its last line."""
    with log.open("rb") as file:
        file.seek(max(start, _size(log) - LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    lines = [line for line in lines if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        _, found, message = lines[number].partition("error: ")
        if found:
            return "; ".join([message, *lines[number + 1 :]])
    return lines[-1] if lines else ""


def _one_line(text: str) -> str:
    line = printable("; ".join(filter(None, map(str.strip, text.splitlines()))))
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}..."
