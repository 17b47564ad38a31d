"""Remove jobs from a study's folder: what studies wrote there, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from ranspec.codegen.render import MANIFEST, file_hash
from ranspec.runtime.folder import (
    BEST,
    CONFIG,
    DIVERGED,
    LOCK,
    METRICS,
    NEWEST,
    REPLACED,
    REPORT,
    FolderError,
    Lock,
)
from ranspec.studies.engines import ray, slurm
from ranspec.studies.execution import RUNNING, read_json
from ranspec.studies.results import CODE, JOB, JOBS, LOG, RESULT, RUN, STUDY

RUN_FILES = (
    CONFIG,
    METRICS,
    DIVERGED,
    REPORT,
    NEWEST,
    BEST,
    LOCK,
    "checkpoint-*.safetensors",
    "events.out.tfevents.*",
    "trace.json",
    ".*.json.*",
    ".*.jsonl.*",
    ".*.html.*",
    ".*.safetensors.*",
)
SLURM_FILES = ("*.pkl", "*_log.out", "*_log.err", "*.sh")
CACHE = "__pycache__"


def remove_jobs(folders: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Remove the folders of jobs; return those that hold other files, and why others stay.

    Files that a person put there, or edited, stay with their folders; so does a job that a process
    is at. Raises OSError where a file cannot be removed.
    """
    left, refused = [], []
    for folder in folders:
        try:
            lock = Lock(folder / LOCK)
        except FolderError as error:
            refused.append(str(error).partition(": wait")[0])
            continue
        try:
            for path in _written(folder):
                path.unlink(missing_ok=True)
            for below in (folder / CODE / CACHE, folder / CODE, *_run_folders(folder)):
                _remove_if_empty(below)
        finally:
            lock.release()
        (folder / LOCK).unlink(missing_ok=True)
        if not _remove_if_empty(folder):
            left.append(folder)
    return left, refused


def remove_study(root: Path) -> bool:
    """Remove the folder of a study that has no job any more; tell whether it is gone."""
    if not _remove_if_empty(root / JOBS):
        return False
    for pattern in SLURM_FILES:
        for path in (root / slurm.FOLDER).glob(pattern):
            path.unlink()
    _remove_if_empty(root / slurm.FOLDER)
    for name in (ray.LOG, STUDY):
        (root / name).unlink(missing_ok=True)
    return _remove_if_empty(root)


def _run_folders(folder: Path) -> tuple[Path, Path]:
    return folder / RUN / REPLACED, folder / RUN


def _written(folder: Path) -> Iterator[Path]:
    """Yield what was written into the folder of a job, what tells what it is last."""
    code = folder / CODE
    for name, digest in read_json(code / MANIFEST).get("files", {}).items():
        path = code / Path(name).name
        if path.is_file() and file_hash(path.read_bytes()) == digest:
            yield path
    yield code / MANIFEST
    yield from (code / CACHE).glob("*.pyc")
    for run in _run_folders(folder):
        for path in run.iterdir() if run.is_dir() else ():
            if path.is_file() and any(fnmatch(path.name, pattern) for pattern in RUN_FILES):
                yield path
    for name in (LOG, RUNNING, RESULT, JOB):
        yield folder / name


def _remove_if_empty(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
