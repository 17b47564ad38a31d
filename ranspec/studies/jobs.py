"""The training runs of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from ranspec.errors import RanspecError
from ranspec.spec import LoadedSpec, load_spec
from ranspec.spec.errors import did_you_mean
from ranspec.studies.scaling import shortened

if TYPE_CHECKING:
    from ranspec.studies.loader import LoadedStudy
    from ranspec.studies.model import Entry

WHOLE = Fraction(1)
_DIGEST_LENGTH = 8


class SelectionError(RanspecError):
    """What was asked for is not in the study."""


@dataclass(frozen=True)
class Job:
    """One training run of a study: a network, trained once."""

    key: str
    """Name of its folder, unique in the study; it follows from all that decides its result."""
    row: str
    """The name of the study's entry that it belongs to."""
    spec: str
    """Shipped name or path of the spec."""
    overrides: tuple[str, ...]
    """`--set` of the spec."""
    backend: str
    seed: int
    scale: Fraction
    """1 for the whole recipe; iterations, warm-up and schedule are shortened by it."""


def jobs(
    study: LoadedStudy,
    *,
    scale: Fraction = WHOLE,
    seeds: Sequence[int] = (),
    backends: Sequence[str] = (),
    only: Sequence[str] = (),
) -> tuple[Job, ...]:
    """Return the runs of a study, all entries with the first seed before any with the second.

    Without `seeds` and `backends` they are the study's; `only` are rows, columns or names of
    entries, all by default. Raises SelectionError where `only` has one that is not there.
    """
    entries = selected(study, only)
    return tuple(
        job_of(study, entry, backend, seed, scale)
        for seed in dict.fromkeys(seeds or study.study.seeds)
        for entry in entries
        for backend in dict.fromkeys(backends or study.study.backends)
    )


def job_of(study: LoadedStudy, entry: Entry, backend: str, seed: int, scale: Fraction) -> Job:
    """Return the run of an entry by a backend and with a seed."""
    spec = study.spec_name(entry)
    return _with_key(Job("", entry.name, spec, entry.set, backend, seed, scale))


def selected(study: LoadedStudy, only: Sequence[str]) -> tuple[Entry, ...]:
    """Return the entries that are meant by rows, columns or names; all if none is given."""
    entries = study.study.entries
    known = [
        {text.lower() for text in (entry.row, entry.column, entry.name) if text}
        for entry in entries
    ]
    for text in only:
        if not any(text.lower() in names for names in known):
            all_names = dict.fromkeys(
                text for entry in entries for text in (entry.row, entry.column, entry.name) if text
            )
            near = did_you_mean(text, all_names) or f"; there are {', '.join(all_names)}"
            raise SelectionError(f"{study.name} has no row, column or entry {text!r}{near}")
    wanted = {text.lower() for text in only}
    return tuple(
        entry for entry, names in zip(entries, known, strict=True) if not only or names & wanted
    )


def scaled_spec(job: Job) -> LoadedSpec:
    """Return the spec that is built for a job: with its overrides, seed and shortened recipe."""
    return _scaled(job.spec, job.overrides, job.seed, job.scale)


@lru_cache(maxsize=1024)
def _scaled(spec: str, overrides: tuple[str, ...], seed: int, scale: Fraction) -> LoadedSpec:
    seeded = (*overrides, f"train.seed={seed}")
    whole = load_spec(spec, seeded)
    changes = shortened(whole.spec.train, scale)
    return load_spec(spec, (*seeded, *changes)) if changes else whole


def _with_key(job: Job) -> Job:
    loaded = scaled_spec(job)
    decisive = f"{loaded.digest} {job.backend}"
    digest = hashlib.sha256(decisive.encode()).hexdigest()[:_DIGEST_LENGTH]
    key = f"{loaded.spec.name}-{job.backend}-seed{job.seed}-{digest}"
    return replace(job, key=key)


def job_to_json(job: Job) -> str:
    """Return a job as it is kept in its folder."""
    return json.dumps({**asdict(job), "scale": str(job.scale)}, indent=2) + "\n"


def job_from_json(text: str) -> Job:
    """Read what `job_to_json` wrote; raise ValueError for anything else."""
    try:
        said = json.loads(text)
        return Job(
            key=str(said["key"]),
            row=str(said["row"]),
            spec=str(said["spec"]),
            overrides=tuple(map(str, said["overrides"])),
            backend=str(said["backend"]),
            seed=int(said["seed"]),
            scale=Fraction(said["scale"]),
        )
    except (KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"not a job ({type(error).__name__})") from None
