"""Run experiments in a backend's own process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.codegen.backend import Backend, Files, Weights
from ranspec.codegen.names import network_class
from ranspec.codegen.render import as_bytes, render_files
from ranspec.errors import RanspecError
from ranspec.runtime import checkpoint
from ranspec.spec.training import PlateauSchedule
from ranspec.verify.experiment import Experiment, landmarks
from ranspec.verify.probe import Compilation, Job, error_file

Measured = Mapping[str, NDArray[Any]]

LAST_LINES = 15
PAUSE = 0.05
"""Seconds between looks at running processes."""

MOST_COMPILED = 1000
"""Operations of a network that is compiled as a whole; larger ones run op by op."""
WORTHWHILE = 2e6
"""Multiply-adds per operation, over all images and steps, from which on optimising pays."""

THREADS = 1
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class BackendError(RanspecError):
    """A backend did not run; the message is the end of what it said."""


def write_folder(folder: Path, files: Files) -> None:
    """Write generated files."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(as_bytes(content))


def write_job(
    folder: Path,
    run: Experiment,
    backend: Backend,
    *,
    layers: bool = False,
    files: Files | None = None,
    start: Path | None = None,
) -> Job:
    """Write all that a probe needs below `folder`, which must not exist.

    `files` are the code to run if it is not what the backend writes for the spec; `start` is the
    checkpoint to start from if not the experiment's state.
    """
    code = folder / "code"
    write_folder(code, built(run, backend) if files is None else files)
    if start is None:
        start = folder / "start.safetensors"
        manifest = checkpoint.Manifest(
            network=run.loaded.spec.name,
            step=run.first_step,
            seed=run.loaded.spec.train.seed,
            batch_size=run.batches.labels.shape[1],
        )
        checkpoint.save(start, run.state, manifest)
    batches = folder / "batches.npz"
    np.savez(batches, images=run.batches.images, labels=run.batches.labels)
    return Job(
        folder=str(code),
        model_class=network_class(run.graph, backend),
        checkpoint=str(start),
        batches=str(batches),
        result=str(folder / "result.npz"),
        saved=str(folder / "saved.safetensors"),
        dtype=run.dtype,
        settings=run.settings,
        positions=run.positions,
        landmarks=landmarks(run.loaded.spec),
        plateau=isinstance(run.schedule, PlateauSchedule),
        layers=layers,
        compilation=compilation(run),
    )


def compilation(run: Experiment) -> Compilation:
    """Choose how a run's steps are compiled unless it says so: what takes least time in all.

    Compiling takes time in proportion to the operations or worse, and running what was compiled
    without care in proportion to the work.
    """
    operations = run.graph.layers
    if run.compilation is not None:
        return run.compilation
    if len(operations) > MOST_COMPILED:
        return "none"
    macs = sum(layer.operation.macs(layer.output) for layer in operations)
    work = macs * run.batches.labels.shape[1] * run.steps
    return "full" if run.dtype == "float32" or work > WORTHWHILE * len(operations) else "quick"


def built(run: Experiment, backend: Backend) -> Files:
    """Return what a backend writes for an experiment, with its state where it embeds weights."""
    if not backend.embeds_weights:
        return render_files(run.loaded, backend)
    weights = Weights(run.state, "a verification's state")
    return render_files(run.loaded, backend, weights=weights, dtype=run.dtype)


@dataclass(frozen=True)
class Run:
    """Jobs for one process of a backend, with a folder of its own."""

    backend: Backend
    jobs: Sequence[Job]
    folder: Path


def run_jobs(
    backend: Backend, jobs: Sequence[Job], folder: Path, timeout: float
) -> list[Measured | BackendError]:
    """Run jobs in one process of a backend; each gives its measurements or why it has none.

    The measurements include the saved checkpoint's tensors, if any, and are read from the folder
    when they are asked for. Raises `BackendError` where
    the process itself ends badly or takes longer than `timeout` seconds.
    """
    (outcome,) = run_side_by_side([Run(backend, jobs, folder)], timeout)
    if isinstance(outcome, BackendError):
        raise outcome
    return outcome


def run_side_by_side(
    runs: Sequence[Run], timeout: float, report: Callable[[str], None] = lambda message: None
) -> list[list[Measured | BackendError] | BackendError]:
    """Run processes, as many at once as there are cores, and return what each gives in turn.

    None is left running when this ends, by an exception too; nor when this process is killed, as
    `guard` has each watch for that. `timeout` is for each, in seconds from its start.
    """
    outcomes: dict[int, list[Measured | BackendError] | BackendError] = {}
    waiting = dict(enumerate(runs))
    running: dict[int, _Process] = {}
    try:
        while waiting or running:
            while waiting and len(running) < cores():
                number, run = next(iter(waiting.items()))
                report(run.backend.title)
                running[number] = _Process(run, timeout)
                del waiting[number]
            for number, process in list(running.items()):
                outcome = process.outcome()
                if outcome is not None:
                    outcomes[number] = outcome
                    running.pop(number).end()
            time.sleep(PAUSE if running else 0)
    finally:
        for process in running.values():
            process.end()
    return [outcomes[number] for number in range(len(runs))]


def cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Process:
    """A running probe."""

    def __init__(self, run: Run, timeout: float) -> None:
        self._run = run
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._errors = run.folder / f"{run.backend.name}_errors.txt"
        request = run.folder / f"{run.backend.name}_jobs.json"
        request.write_text(json.dumps([asdict(job) for job in run.jobs]), encoding="utf-8")
        probe = f"{run.backend.package}.probe"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ranspec.verify.guard", probe, str(request)],
                cwd=run.folder,
                env=_environment(run.backend),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    def outcome(self) -> list[Measured | BackendError] | BackendError | None:
        """Return what the process gave, or None while it runs."""
        status = self._process.poll()
        if status is None:
            if time.monotonic() < self._deadline:
                return None
            title = self._run.backend.title
            return BackendError(f"{title} took longer than {self._timeout:.0f} s")
        if status:
            said = self._errors.read_text(encoding="utf-8", errors="replace")
            return BackendError(_tail(said) or f"exit status {status}")
        return [_outcome(job) for job in self._run.jobs]

    def end(self) -> None:
        """Kill the process, with all that it started, if it still runs."""
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def _outcome(job: Job) -> Measured | BackendError:
    result = Path(job.result)
    if error_file(result).exists():
        return BackendError(_tail(error_file(result).read_text(encoding="utf-8")))
    return Stored(result, Path(job.saved))


class Stored(Measured):
    """A measurement that stays on disk, with the saved checkpoint's tensors if there is one.

    All measurements of a large network together would not fit into memory. Raises
    `checkpoint.CheckpointError` for a checkpoint that is damaged.
    """

    def __init__(self, result: Path, saved: Path) -> None:
        self._measured = np.load(result)
        self._names = set(self._measured.files)
        self._tensors: Any = {}
        if saved.exists():
            from safetensors import safe_open

            names, _ = checkpoint.load(saved)
            self._tensors = safe_open(saved, framework="np")
            self._names |= names.keys()

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        found = self._measured if name in self._measured.files else None
        array: NDArray[Any] = self._tensors.get_tensor(name) if found is None else found[name]
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _environment(backend: Backend) -> dict[str, str]:
    """Return a probe's environment: CPU, few threads, and ranspec importable as it is here."""
    packages = ("ranspec", backend.package)
    roots = [str(_root(package)) for package in packages]
    path = [*dict.fromkeys(roots), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **dict.fromkeys(THREAD_SETTINGS, str(THREADS)),
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise BackendError(f"the package {package} cannot be imported")
    return Path(spec.origin).parents[1]


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LAST_LINES:])
