"""Studies whose trainings are those of standin/train.py, which cost next to nothing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from ranspec.studies.execution import Task
from ranspec.studies.jobs import Job
from ranspec.studies.results import job_folder, read_result

CODE = Path(__file__).parent / "standin"


class Note(NamedTuple):
    """What a training noted: that it was started after a step, or has taken one."""

    what: str
    process: int
    step: int


def task(root: Path, number: int, *options: str, **settings: Any) -> Task:
    """Return a task whose result follows from its number."""
    job = Job(f"toy-{number}", f"network {number}", "toy", (), "none", number, Fraction(1))
    settings = {"delay": 0.0} | settings
    return Task(job, job_folder(root, job), code=CODE, options=options, **settings)


def tasks(root: Path, count: int, *options: str, **settings: Any) -> list[Task]:
    return [task(root, number, *options, **settings) for number in range(count)]


def notes(of: Task) -> list[Note]:
    """Return what the trainings of a task noted."""
    path = of.folder / "notes.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Note(what, int(pid), int(step)) for what, pid, step in map(str.split, lines)]


def noted(of: Task, what: str) -> int:
    return [note.what for note in notes(of)].count(what)


def table(of: list[Task]) -> dict[str, Any]:
    """Return what a report would show of tasks."""
    results = {each.job.row: read_result(each.folder, each.job) for each in of}
    return {row: (said.state, dict(said.measures), said.reason) for row, said in results.items()}
