"""Many experiments in few processes: one of each backend, which serves one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranspec.codegen.backend import load_backend
from ranspec.runtime import checkpoint
from ranspec.runtime.data import load_dataset, statistics
from ranspec.verify.experiment import Batches, Experiment
from ranspec.verify.probe import error_file
from ranspec.verify.processes import THREAD_SETTINGS, write_job
from tests.serving import Server, ServiceError

Measurement = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Task:
    """An experiment on the code a backend writes for it, changed where `files` says so."""

    run: Experiment
    files: Mapping[str, str] | None = None
    start: Path | None = None
    layers: bool = False


class Laboratory:
    """Experiments on the code of every backend, in a process for each; none is run twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._probes: dict[str, Server] = {}
        self._outcomes: dict[tuple[str, str], Measurement | ServiceError] = {}

    def measure(self, backend: str, name: str, task: Task) -> Measurement:
        """Return what is measured in a task, by its name; raise `ServiceError` where it fails."""
        key = backend, name
        if key not in self._outcomes:
            try:
                self._outcomes[key] = self._measured(backend, self._place(*key), task)
            except ServiceError as error:
                self._outcomes[key] = error
            except BaseException:
                self._outcomes[key] = ServiceError("the run was interrupted")
                raise
        outcome = self._outcomes[key]
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def saved(self, backend: str, name: str) -> Path:
        """Return where the final checkpoint of a task that was measured is."""
        return self._place(backend, name) / "saved.safetensors"

    def end(self) -> None:
        """End all processes."""
        for probe in self._probes.values():
            probe.end()

    def _measured(self, backend: str, folder: Path, task: Task) -> Measurement:
        loaded = load_backend(backend)
        if backend not in self._probes:
            threads = dict.fromkeys(THREAD_SETTINGS, "1")
            probe = f"{loaded.package}.probe"
            self._probes[backend] = Server("tests.verify.probing", probe, environment=threads)
        job = write_job(
            folder, task.run, loaded, files=task.files, start=task.start, layers=task.layers
        )
        request = folder / "jobs.json"
        request.write_text(json.dumps([asdict(job)]), encoding="utf-8")
        self._probes[backend].ask(str(request))
        result = Path(job.result)
        if error_file(result).exists():
            raise ServiceError(error_file(result).read_text(encoding="utf-8"))
        tensors, _ = checkpoint.load(Path(job.saved))
        with np.load(result) as measured:
            return {**measured, **tensors}

    def _place(self, backend: str, name: str) -> Path:
        letters = "".join(letter if letter.isalnum() else "_" for letter in name)
        return self._folder / backend / letters


def digit_batches(count: int, size: int) -> Batches:
    """Return batches of real images, normalised as training does."""
    training, _ = load_dataset("digits", None, height=8, width=8, channels=1, classes=10)
    mean, scale = statistics(training.images, "pixel_mean")
    images = ((training.images[: count * size] / 255 - mean) * scale).transpose(0, 3, 1, 2)
    labels = training.labels[: count * size]
    return Batches(images.reshape(count, size, 1, 8, 8), labels.reshape(count, size))
