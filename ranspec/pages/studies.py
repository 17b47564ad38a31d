"""What the studies of a folder tell of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranspec.spec import LoadedSpec, SpecError, load_spec
from ranspec.studies.jobs import Job
from ranspec.studies.results import JOBS, found_jobs, job_folder, read_result


@dataclass(frozen=True)
class Trained:
    """What a job of a study came to."""

    study: str
    row: str
    backend: str
    seed: int
    whole: bool
    """Whether the recipe was run as it is, not shortened."""
    state: str
    reason: str
    error: float | None
    """Of the test set, in percent; None until it has finished."""
    top5_error: float | None
    loss: float | None


Jobs = dict[str, list[tuple[Path, Job]]]
"""By the digest of the spec that they train, before it is seeded and shortened."""


def jobs_by_spec(folder: Path) -> Jobs:
    """Return the jobs of a study's folder, or of all studies in a folder; none if there is none."""
    found: Jobs = {}
    digests: dict[tuple[str, tuple[str, ...]], str | None] = {}
    for root in _studies(folder):
        for job in found_jobs(root):
            source = (job.spec, job.overrides)
            if source not in digests:
                digests[source] = _digest(*source)
            if digest := digests[source]:
                found.setdefault(digest, []).append((root, job))
    return found


def trained(loaded: LoadedSpec, jobs: Jobs) -> list[Trained]:
    """Return what came of the jobs that train a spec and have begun."""
    found = [_read(root, job) for root, job in jobs.get(loaded.digest, ())]
    return [item for item in found if item.state != "waiting"]


def _studies(folder: Path) -> Sequence[Path]:
    if (folder / JOBS).is_dir():
        return [folder]
    return sorted(_inside(folder)) if folder.is_dir() else []


def _inside(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if (path / JOBS).is_dir())


def _digest(spec: str, overrides: Sequence[str]) -> str | None:
    """Return a spec's digest as it is now; None where it is no longer to be had."""
    try:
        return load_spec(spec, overrides).digest
    except SpecError:
        return None


def _read(root: Path, job: Job) -> Trained:
    result = read_result(job_folder(root, job), job)
    return Trained(
        root.resolve().name,
        job.row,
        job.backend,
        job.seed,
        job.scale == 1,
        result.state,
        result.reason,
        _percent(result.measures.get("accuracy")),
        _percent(result.measures.get("top5_accuracy")),
        result.measures.get("loss"),
    )


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * (1 - accuracy)
