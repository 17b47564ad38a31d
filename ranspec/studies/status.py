"""How far the jobs of a study are, from its folder alone: on this machine or another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ranspec.runtime.folder import CONFIG, METRICS, whereabouts
from ranspec.studies.execution import RUNNING, read_json
from ranspec.studies.jobs import Job
from ranspec.studies.results import RUN, found_jobs, job_folder, read_result

Phase = Literal["waiting", "running", "interrupted", "finished", "diverged", "failed"]
LIFELESS = 60.0
"""Seconds without a sign of life after which nobody is taken to be at a job."""
TAIL = 1 << 16
"""Bytes at the end of a log of metrics that are looked at."""


@dataclass(frozen=True)
class Status:
    """A job, and how far it is; None for what is not known, or not yet."""

    job: Job
    phase: Phase
    """`interrupted`: begun, and nobody is at it now; it goes on when the study is run again."""
    step: int = 0
    steps: int | None = None
    error: float | None = None
    """The share of images that are wrong, of the last evaluation."""
    images_per_second: float | None = None
    seconds_left: float | None = None
    reason: str = ""
    host: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what a program may want to know of the job."""
        return {
            "key": self.job.key,
            "row": self.job.row,
            "backend": self.job.backend,
            "seed": self.job.seed,
            "scale": str(self.job.scale),
            "state": self.phase,
            "step": self.step,
            "steps": self.steps,
            "error": self.error,
            "images_per_second": self.images_per_second,
            "seconds_left": self.seconds_left,
            "reason": self.reason,
            "host": self.host,
        }


def statuses(root: Path) -> tuple[Status, ...]:
    """Return how far each job of a study's folder is."""
    return tuple(read_status(root, job) for job in found_jobs(root))


def read_status(root: Path, job: Job) -> Status:
    """Return how far a job is; its locks are left alone, as reading them would end them."""
    folder = job_folder(root, job)
    result = read_result(folder, job)
    who = at_work(folder / RUNNING)
    phase: Phase = result.state
    if who is not None and phase != "finished":
        phase = "running"
    elif phase == "running":
        phase = "interrupted"
    settings = read_json(folder / RUN / CONFIG).get("settings", {})
    steps = settings.get("iterations")
    records = list(_last_records(folder / RUN / METRICS))
    step = max((record["step"] for record in records), default=0)
    accuracy = result.measures.get("accuracy", _last(records, "test_accuracy"))
    if accuracy is None:
        accuracy = _last(records, "validation_accuracy")
    speed = _last(records, "images_per_second")
    left = None
    if phase == "running" and speed and steps:
        left = (steps - step) * settings.get("batch_size", 1) / speed
    return Status(
        job,
        phase,
        step,
        steps,
        None if accuracy is None else 1 - accuracy,
        speed,
        left,
        result.reason if phase in ("diverged", "failed") else "",
        str(who.get("host", "")) if who else result.provenance.get("host", ""),
    )


def at_work(path: Path) -> Mapping[str, Any] | None:
    """Return which process is at a job, as its running.json says; None if there is none."""
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return None
    who = read_json(path)
    if age > LIFELESS:
        return None
    if who.get("host") == whereabouts()["host"] and os.name == "posix":
        with suppress(PermissionError):
            try:
                os.kill(int(who["pid"]), 0)
            except (ProcessLookupError, KeyError, ValueError, TypeError):
                return None
    return who


def _last(records: list[dict[str, Any]], name: str) -> float | None:
    """Return the newest value of a metric."""
    values = (record.get(name) for record in reversed(records))
    return next((value for value in values if value is not None), None)


def _last_records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                yield record
