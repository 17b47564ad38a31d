"""Many experiments in few processes: one process of each backend, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranspec.codegen.backend import load_backend
from ranspec.runtime.data import DataOptions, Dataset, load_data
from ranspec.verify.experiment import Batches, Experiment
from ranspec.verify.processes import BackendError, Run, run_side_by_side, write_job

Measurement = Mapping[str, NDArray[np.floating]]
TIMEOUT = 900.0


@dataclass(frozen=True)
class Task:
    """An experiment on the code a backend writes for it, changed where `files` says so."""

    run: Experiment
    files: Mapping[str, str] | None = None
    start: Path | None = None
    layers: bool = False


def measure(
    tasks: Mapping[str, Mapping[str, Task]], folder: Path
) -> dict[tuple[str, str], Measurement | BackendError]:
    """Run each backend's tasks in one process; results by (backend, task)."""
    runs = [_run(backend, mine, folder / backend) for backend, mine in tasks.items()]
    measured: dict[tuple[str, str], Measurement | BackendError] = {}
    for (backend, mine), outcomes in zip(
        tasks.items(), run_side_by_side(runs, TIMEOUT), strict=True
    ):
        if isinstance(outcomes, BackendError):
            raise outcomes
        measured |= {(backend, name): outcome for name, outcome in zip(mine, outcomes, strict=True)}
    return measured


def saved_checkpoint(folder: Path, backend: str, name: str) -> Path:
    """Return where `measure` had a task's final checkpoint saved."""
    return folder / backend / _folder(name) / "saved.safetensors"


def digit_batches(count: int, size: int) -> Batches:
    """Return batches of real images, normalised as training does."""
    shape = {"height": 8, "width": 8, "channels": 1}
    data = load_data("digits", DataOptions(), **shape, classes=10, normalization="pixel_mean")
    assert isinstance(data.training, Dataset)
    pixels = data.training.images[: count * size] / 255
    images = ((pixels - data.statistics.mean) * data.statistics.scale).transpose(0, 3, 1, 2)
    labels = data.training.labels[: count * size]
    return Batches(images.reshape(count, size, 1, 8, 8), labels.reshape(count, size))


def _run(backend: str, tasks: Mapping[str, Task], folder: Path) -> Run:
    folder.mkdir()
    loaded = load_backend(backend)
    jobs = [
        write_job(
            folder / _folder(name),
            task.run,
            loaded,
            files=task.files,
            start=task.start,
            layers=task.layers,
        )
        for name, task in tasks.items()
    ]
    return Run(loaded, jobs, folder)


def _folder(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
