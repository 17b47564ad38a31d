"""What came of a study, beside what its source prints: figures, not how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ranspec.errors import RanspecError
from ranspec.runtime.folder import METRICS
from ranspec.runtime.metrics import read_records
from ranspec.studies.jobs import WHOLE, Job, job_of
from ranspec.studies.loader import LoadedStudy
from ranspec.studies.model import Entry, Figure, Measure
from ranspec.studies.results import RUN, Result, found_jobs, job_folder, read_result

DECIMALS = 9
"""Of percentages, so that 1 - 0.95 is 5 %."""
LEFT_OUT = {
    "waiting": "not run yet",
    "running": "begun, not at its end",
    "diverged": "diverged",
    "failed": "failed",
}
"""What is said of a run without figures, by its state."""


class ReportError(RanspecError):
    """A folder has no results that can be reported."""


@dataclass(frozen=True)
class Run:
    """A job, what came of it, and its lines of metrics."""

    job: Job
    result: Result
    records: Sequence[Mapping[str, Any]] = ()

    def value(self, measure: Measure) -> float | None:
        """Return what was measured, in percent; None where it was not."""
        name = "top5_accuracy" if measure == "top5_error" else "accuracy"
        share = self.result.measures.get(name) if self.result.state == "finished" else None
        if share is None:
            return None
        return round(100 * (share if measure == "accuracy" else 1 - share), DECIMALS)


@dataclass(frozen=True)
class Finding:
    """One measure of an entry, by one backend, over all seeds."""

    entry: Entry
    backend: str
    measure: Measure
    scale: Fraction
    runs: tuple[Run, ...]

    @property
    def printed(self) -> Figure | None:
        """The figure of the source."""
        return self.entry.printed.figures().get(self.measure)

    @property
    def values(self) -> tuple[float, ...]:
        """What was measured, in percent, by seed; without the runs that have not finished."""
        found = (run.value(self.measure) for run in self.runs)
        return tuple(value for value in found if value is not None)

    @property
    def mean(self) -> float | None:
        """The mean over seeds."""
        return fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def difference(self) -> float | None:
        """The mean less what is printed; None where the two cannot be compared."""
        comparable = self.printed is not None and self.printed.not_comparable is None
        if self.mean is None or self.printed is None or not comparable or self.scale != WHOLE:
            return None
        return self.mean - self.printed.figure

    @property
    def is_within(self) -> bool | None:
        """Whether what is printed is within one deviation of the mean; None if unknown."""
        if self.difference is None or self.deviation is None:
            return None
        return abs(self.difference) <= self.deviation

    @property
    def state(self) -> str:
        """How many of the runs have finished, and what became of the others."""
        finished = sum(run.result.state == "finished" for run in self.runs)
        others = {
            said: sum(run.result.state == state for run in self.runs)
            for state, said in LEFT_OUT.items()
        }
        parts = [f"{finished} of {len(self.runs)} finished"]
        return ", ".join([*parts, *(f"{count} {said}" for said, count in others.items() if count)])


@dataclass(frozen=True)
class Report:
    """A study as its folder shows it, at one scale."""

    study: LoadedStudy
    scale: Fraction
    backends: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    """Of every entry, backend and seed, whether or not they were run."""
    stale: int = 0
    """Jobs of the folder that are no longer the study's: it or their specs have changed."""
    responses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The mean absolute response of each stage, by label, for a study that plots it."""

    @property
    def title(self) -> str:
        """The study's title, with the scale where that is not 1."""
        heading = self.study.study.heading
        return heading if self.scale == WHOLE else f"{heading} (at scale {self.scale})"

    def label(self, job: Job) -> str:
        """Return what to call a job's network: with its backend where there are several."""
        return job.row if len(self.backends) == 1 else f"{job.row}, {job.backend}"

    def finding(self, entry: Entry, measure: Measure, backend: str) -> Finding:
        """Return what was found of one measure."""
        runs = tuple(
            run for run in self.runs if (run.job.row, run.job.backend) == (entry.name, backend)
        )
        return Finding(entry, backend, measure, self.scale, runs)

    def findings(self) -> Iterator[Finding]:
        """Yield what was found, in the order of the study."""
        for entry in self.study.study.entries:
            for measure in self.study.study.measures:
                for backend in self.backends:
                    yield self.finding(entry, measure, backend)


def read_report(study: LoadedStudy, root: Path, scale: Fraction | None = None) -> Report:
    """Read what a study's folder tells, at the scale of its jobs unless one is given.

    What is expected there is every entry with each seed and backend that any was run with. Raises
    ReportError where the folder has jobs of several scales, and none is chosen.
    """
    there = list(found_jobs(root))
    scales = sorted({job.scale for job in there})
    if scale is None:
        if len(scales) > 1:
            found = ", ".join(map(str, scales))
            raise ReportError(f"{root} has runs of several scales: choose one of {found}")
        scale = scales[0] if scales else WHOLE
    entries = {entry.name: entry for entry in study.study.entries}
    at_scale = [job for job in there if job.scale == scale]
    current = [
        job
        for job in at_scale
        if (entry := entries.get(job.row))
        and job_of(study, entry, job.backend, job.seed, scale).key == job.key
    ]
    backends = tuple(sorted({job.backend for job in current})) or study.study.backends
    seeds = tuple(sorted({job.seed for job in current})) or study.study.seeds
    runs = tuple(
        _run(root, job_of(study, entry, backend, seed, scale))
        for entry in study.study.entries
        for backend in backends
        for seed in seeds
    )
    return Report(study, scale, backends, seeds, runs, len(at_scale) - len(current))


def _run(root: Path, job: Job) -> Run:
    folder = job_folder(root, job)
    log = folder / RUN / METRICS
    try:
        records = read_records(log) if log.is_file() else ()
    except (OSError, ValueError):
        records = ()
    return Run(job, read_result(folder, job), records)
