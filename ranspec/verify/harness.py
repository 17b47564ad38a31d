"""Verify that generated code computes what the spec says, in every backend."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from ranspec.codegen.backend import (
    Backend,
    NotInstalledError,
    load_backend,
    require_installed,
)
from ranspec.spec import LoadedSpec
from ranspec.verify.comparison import TOLERANCES, Tolerances, compare, find_parting
from ranspec.verify.conditioning import steady
from ranspec.verify.experiment import Batches, Experiment, experiment, measure_reference
from ranspec.verify.processes import BackendError, run_jobs, write_job
from ranspec.verify.report import REFERENCE, Check, Failure, Parting, Report

Measurement = Mapping[str, NDArray[Any]]
Progress = Callable[[str], None]

TIMEOUT = 1800.0


def verify(
    loaded: LoadedSpec,
    backends: Sequence[str],
    *,
    dtype: Literal["float64", "float32"] = "float64",
    steps: int = 20,
    batch_size: int = 4,
    seed: int = 0,
    tolerances: Tolerances | None = None,
    batches: Batches | None = None,
    timeout: float = TIMEOUT,
    progress: Progress = lambda message: None,
) -> Report:
    """Compare backends with the NumPy reference and with one another.

    Each backend's code is built, and run in a process of its own from the same random weights on
    the same batches, with a drop of the learning rate in the middle of `steps` training steps. The
    rate is the recipe's, or lower where rounding would grow too fast: see `conditioning`.
    Raises `SpecError` or `UnknownBackendError`; a backend that fails to run is in the report.
    """
    chosen = [load_backend(name) for name in dict.fromkeys(backends)]
    limits = tolerances or TOLERANCES[dtype]
    run = experiment(
        loaded, dtype=dtype, steps=steps, batch_size=batch_size, seed=seed, batches=batches
    )
    progress("NumPy reference")
    run, reference = steady(run, limits)
    measurements: dict[str, Measurement] = {REFERENCE: reference}
    failures = []
    for backend in chosen:
        progress(backend.title)
        try:
            require_installed(backend)
            measurements[backend.name] = _measure(run, backend, timeout)
        except (BackendError, NotInstalledError) as error:
            failures.append(Failure(backend.name, str(error)))
    inferring = tuple(backend.name for backend in chosen if not backend.trains)
    checks = compare_all(measurements, run, limits, inferring)
    parted = list(dict.fromkeys(check.pair for check in checks if not check.passed))
    partings: list[Parting] = []
    if parted:
        progress("looking for the layers that differ")
        try:
            partings = _localize(run, parted, chosen, limits, timeout)
        except BackendError as error:
            progress(f"the layers cannot be compared: {error}")
    return Report(
        network=loaded.spec.name,
        dtype=dtype,
        steps=steps,
        batch_size=run.batches.labels.shape[1],
        learning_rate=run.learning_rate,
        backends=tuple(backend.name for backend in chosen),
        inferring=inferring,
        checks=checks,
        failures=tuple(failures),
        partings=tuple(partings),
    )


def compare_all(
    measurements: Mapping[str, Measurement],
    run: Experiment,
    tolerances: Tolerances,
    inferring: Collection[str] = (),
) -> tuple[Check, ...]:
    """Compare every backend with the reference, then the backends with one another.

    Nothing of training is compared with backends that are `inferring` only.
    """
    return tuple(
        check
        for left, right in _pairs(measurements)
        for check in compare(
            measurements[left],
            measurements[right],
            (left, right),
            run.graph,
            run.loaded.spec,
            tolerances,
            trained=left not in inferring and right not in inferring,
        )
    )


def _pairs(measurements: Mapping[str, Measurement]) -> list[tuple[str, str]]:
    names = [name for name in measurements if name != REFERENCE]
    return [*((name, REFERENCE) for name in names), *combinations(names, 2)]


def _measure(
    run: Experiment, backend: Backend, timeout: float, *, layers: bool = False
) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="ranspec-") as name:
        folder = Path(name)
        job = write_job(folder / "job", run, backend, layers=layers)
        (outcome,) = run_jobs(backend, [job], folder, timeout)
    if isinstance(outcome, BackendError):
        raise outcome
    return outcome


def _localize(
    run: Experiment,
    pairs: Sequence[tuple[str, str]],
    backends: Sequence[Backend],
    tolerances: Tolerances,
    timeout: float,
) -> list[Parting]:
    short = replace(run, steps=1)
    named = {backend.name: backend for backend in backends}
    needed = dict.fromkeys(name for pair in pairs for name in pair)
    measurements = {
        name: measure_reference(short, layers=True)
        if name == REFERENCE
        else _measure(short, named[name], timeout, layers=True)
        for name in needed
    }
    partings = (
        find_parting(
            measurements[left],
            measurements[right],
            (left, right),
            run.graph,
            tolerances,
            trained=all(name == REFERENCE or named[name].trains for name in (left, right)),
        )
        for left, right in pairs
    )
    return [parting for parting in partings if parting is not None]
