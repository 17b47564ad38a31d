"""What came of the jobs of a study, in its folder.

study.yaml          the study as it was run
jobs/KEY/           a folder for each job
  job.json          what is run
  code/             the built code
  run/              the run's own folder: its configuration, metrics and checkpoints
  result.json       how it ended
  log.txt           what it said
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ranspec.runtime.checkpoint import replaced
from ranspec.runtime.folder import CONFIG
from ranspec.studies.jobs import Job, job_from_json, job_to_json

State = Literal["waiting", "running", "finished", "diverged", "failed"]

STUDY, JOBS, JOB, CODE, RUN, RESULT, LOG = (
    "study.yaml",
    "jobs",
    "job.json",
    "code",
    "run",
    "result.json",
    "log.txt",
)


@dataclass(frozen=True)
class Result:
    """What is known of a job."""

    state: State
    """`running`: it was begun and has not ended, whether or not a process is at it now."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Of the test set: loss, accuracy and top5_accuracy, the last two as shares; until it has
    finished, none."""
    reason: str = ""
    """Why it diverged or failed, in one line."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Digests of spec, data and code, versions, seed, host and times."""


def study_folder(name: str, scale: Fraction) -> Path:
    """Return where the results of a study lie unless told otherwise, below the current folder."""
    suffix = "" if scale == 1 else f"-scale-{scale.numerator}-{scale.denominator}"
    return Path("studies", f"{name}{suffix}")


def job_folder(root: Path, job: Job) -> Path:
    """Return the folder of a job in that of its study."""
    return root / JOBS / job.key


def found_jobs(root: Path) -> Iterator[Job]:
    """Yield the jobs that a study's folder tells of, by key; what is damaged is passed over."""
    folder = root / JOBS
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            job = job_from_json((path / JOB).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if job.key == path.name:
            yield job


def write_job(folder: Path, job: Job) -> None:
    """Say in a job's folder what is run there."""
    _write_whole(folder / JOB, job_to_json(job))


def read_result(folder: Path, job: Job) -> Result:
    """Return what a job's folder tells of it.

    A result that is damaged, or of another job, counts for nothing.
    """
    try:
        said = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if said["key"] == job.key:
            return _result(said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return Result("running" if (folder / RUN / CONFIG).is_file() else "waiting")


def write_result(folder: Path, result: Result) -> None:
    """Write how a job ended into its folder, whole or not at all."""
    key = job_from_json((folder / JOB).read_text(encoding="utf-8")).key
    said = {
        "key": key,
        "state": result.state,
        "measures": dict(result.measures),
        "reason": result.reason,
        "provenance": dict(result.provenance),
    }
    _write_whole(folder / RESULT, json.dumps(said, indent=2, allow_nan=False) + "\n")


def _result(said: dict[str, Any]) -> Result:
    state = said["state"]
    if state not in get_args(State):
        raise ValueError(f"no state: {state!r}")
    measures = {str(name): float(value) for name, value in said["measures"].items()}
    if not all(map(math.isfinite, measures.values())):
        raise ValueError("measures that are not finite")
    provenance = {str(name): str(value) for name, value in said["provenance"].items()}
    return Result(cast(State, state), measures, str(said["reason"]), provenance)


def _write_whole(path: Path, text: str) -> None:
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
