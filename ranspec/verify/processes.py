"""Run experiments in a backend's own process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.codegen.backend import Backend, Files, Weights
from ranspec.codegen.names import network_class
from ranspec.codegen.render import as_bytes, render_files
from ranspec.errors import RanspecError
from ranspec.runtime import checkpoint
from ranspec.verify.experiment import Experiment
from ranspec.verify.probe import Job, error_file

Array = NDArray[Any]

LAST_LINES = 15
THREADS = 1
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


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
        steps=run.steps,
        settings=run.settings,
        layers=layers,
    )


def built(run: Experiment, backend: Backend) -> Files:
    """Return what a backend writes for an experiment, with its state where it embeds weights."""
    if not backend.embeds_weights:
        return render_files(run.loaded, backend)
    weights = Weights(run.state, "a verification's state")
    return render_files(run.loaded, backend, weights=weights, dtype=run.dtype)


def run_jobs(
    backend: Backend, jobs: Sequence[Job], folder: Path, timeout: float
) -> list[dict[str, Array] | BackendError]:
    """Run jobs in one process of a backend; each gives its measurements or why it has none.

    The measurements include the saved checkpoint's tensors, if any. Raises `BackendError` where
    the process itself ends badly or takes longer than `timeout` seconds.
    """
    request = folder / f"{backend.name}_jobs.json"
    request.write_text(json.dumps([asdict(job) for job in jobs]), encoding="utf-8")
    command = [sys.executable, "-m", f"{backend.package}.probe", str(request)]
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            env=_environment(backend),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise BackendError(f"{backend.title} took longer than {timeout:.0f} s") from None
    if process.returncode:
        raise BackendError(_tail(process.stderr) or f"exit status {process.returncode}")
    return [_outcome(job) for job in jobs]


def _outcome(job: Job) -> dict[str, Array] | BackendError:
    result = Path(job.result)
    if error_file(result).exists():
        return BackendError(_tail(error_file(result).read_text(encoding="utf-8")))
    with np.load(result) as file:
        measured = {name: file[name] for name in file.files}
    if not Path(job.saved).exists():
        return measured
    tensors, _ = checkpoint.load(Path(job.saved))
    return measured | tensors


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
