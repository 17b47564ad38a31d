"""Jobs under SLURM, as an array, through submitit.

A job whose time is over, or that makes room for another, ends with a checkpoint and is put back
into the queue. Jobs are SLURM's: they go on where this process is killed, `ranspec study status`
tells of them, and a second start runs none of them twice.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from ranspec.spec.errors import did_you_mean
from ranspec.studies.engines import EngineError
from ranspec.studies.execution import PAUSE, Execution, Task

INSTALL = 'submitit is not installed: pip install "ranspec[slurm]"'
FOLDER = "slurm"
PATIENCE = 120.0
"""Seconds to wait for another process at the same job, which has a place in the queue too."""
MOST_TIMEOUTS = 1000
"""How often a job is put back into the queue because its time was over."""
GRACE = 120.0
"""Seconds from SIGTERM to the end that SLURM brings, one way or the other."""
MINUTES = 240
DEFAULTS: Mapping[str, Any] = {
    "job_name": "ranspec",
    "time": MINUTES,
    "signal_delay_s": 120,
    "stderr_to_stdout": True,
}

LISTS = ("setup", "teardown", "srun_args")


class SlurmEngine:
    """Submits jobs as one array; `parameters` are those of submitit's SlurmExecutor, as text.

    `cluster` local runs them here, all at once, to try things out without SLURM.
    """

    def __init__(
        self,
        root: Path,
        parameters: Mapping[str, str],
        slots: int | None = None,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        self._folder = root.absolute() / FOLDER
        self._parameters = {**DEFAULTS, **{key: parsed(key, parameters[key]) for key in parameters}}
        if slots:
            self._parameters["array_parallelism"] = slots
        self._cluster = cluster
        self._jobs: dict[str, Any] = {}

    def start(self, tasks: Sequence[Task]) -> None:
        executor = self._executor()
        patient = [replace(task, patience=min(task.patience, PATIENCE)) for task in tasks]
        submitted = executor.map_array(Worker(), patient)
        self._jobs = {task.job.key: job for task, job in zip(tasks, submitted, strict=True)}

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError:
            raise EngineError(INSTALL) from None
        if self._cluster == "local":
            executor = submitit.LocalExecutor(self._folder, MOST_TIMEOUTS)
            executor.update_parameters(timeout_min=self._parameters["time"], stderr_to_stdout=True)
            return executor
        known = submitit.SlurmExecutor._valid_parameters()
        for name in self._parameters:
            if name not in known:
                near = did_you_mean(name, known) or f"; there are {', '.join(sorted(known))}"
                raise EngineError(f"--slurm {name}: submitit has no such parameter{near}")
        try:
            executor = submitit.SlurmExecutor(self._folder, MOST_TIMEOUTS)
        except RuntimeError as error:
            raise EngineError(f"there is no SLURM here: {error}") from None
        executor.update_parameters(**self._parameters)
        return executor

    def running(self) -> bool:
        return not all(job.done() for job in self._jobs.values())

    def stop(self) -> None:
        for job in self._jobs.values():
            if not job.done():
                job.cancel(check=False)

    def errors(self) -> Mapping[str, str]:
        found = {}
        for key, job in self._jobs.items():
            if job.done() and (error := job.exception()):
                found[key] = str(error).strip().splitlines()[-1]
        return found

    def close(self) -> None:
        if self._cluster == "local":
            self.stop()


class Worker:
    """What submitit calls on a node."""

    def __call__(self, task: Task) -> str:
        """Run a job."""
        self._execution = Execution(task)
        self._ended_by: int | None = None
        signal.signal(signal.SIGTERM, self._terminated)
        with ThreadPoolExecutor(1) as pool:
            self._running = pool.submit(self._execution.run)
            try:
                self._wait()
            except KeyboardInterrupt:
                self._execution.stop()
            result = self._running.result()
        if self._ended_by is not None and result is None:
            # Cancelled, or to be put back into the queue: the latter begins with another signal.
            time.sleep(GRACE)
        return result.state if result else "stopped"

    def checkpoint(self, task: Task) -> Any:
        """End the training with a checkpoint, and return what is to be run when it is its turn."""
        from submitit.helpers import DelayedSubmission

        self._execution.stop()
        self._wait()
        return DelayedSubmission(Worker(), task)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._ended_by = number
        self._execution.stop()

    def _wait(self) -> None:
        while not self._running.done():
            time.sleep(PAUSE)


def parsed(name: str, text: str) -> Any:
    """Read a parameter as submitit takes it: a number, yes or no, text, a list of one text.

    Raises EngineError for a time that is none.
    """
    if name == "time":
        return minutes(text)
    if name in LISTS:
        return [text]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if re.fullmatch(r"\d+", text) else text


def minutes(text: str) -> int:
    """Read a time as sbatch does: 90, 30:00, 4:00:00, 1-12, 1-12:30 or 1-12:30:00; in minutes."""
    found = re.fullmatch(
        r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?"
        r"|((?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+)|(?P<only>\d+)",
        text,
    )
    if not found:
        raise EngineError(f"--slurm time={text}: expected minutes, or a time such as 12:00:00")
    part = {name: int(value) for name, value in found.groupdict().items() if value}
    days, hours = part.get("days", 0), part.get("hours", 0) + part.get("h", 0)
    whole = sum(part.get(name, 0) for name in ("minutes", "m", "only"))
    seconds = part.get("seconds", 0) + part.get("s", 0)
    return max(1, (days * 24 + hours) * 60 + whole + (seconds + 59) // 60)
