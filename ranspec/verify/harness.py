"""Verify that generated code computes what the spec says, in every backend."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from ranspec.codegen.backend import Backend, load_backend, require_installed
from ranspec.spec import LoadedSpec
from ranspec.verify.comparison import TOLERANCES, Tolerances, compare, find_parting
from ranspec.verify.conditioning import Prepared, prepare
from ranspec.verify.experiment import Batches, Experiment, experiment, measure_reference
from ranspec.verify.probe import Compilation
from ranspec.verify.processes import (
    BackendError,
    Run,
    compilation,
    run_side_by_side,
    write_job,
)
from ranspec.verify.report import REFERENCE, Check, Failure, Parting, Report

Measurement = Mapping[str, NDArray[Any]]
Progress = Callable[[str], None]

TIMEOUT = 1800.0


def verify(
    loaded: LoadedSpec,
    backends: Sequence[str],
    *,
    dtype: Literal["float64", "float32"] = "float64",
    steps: int = 8,
    batch_size: int = 4,
    seed: int = 0,
    tolerances: Tolerances | None = None,
    batches: Batches | None = None,
    compiled: Compilation | None = None,
    timeout: float = TIMEOUT,
    progress: Progress = lambda message: None,
) -> Report:
    """Compare backends with the NumPy reference and with one another.

    Each backend's code is built, and run in a process of its own from the same random weights on
    the same batches, for `steps` training steps of the recipe around the first change of its
    learning rate; the rate is the recipe's, or lower where rounding would grow too fast: see
    `conditioning`. Raises `SpecError`, `UnknownBackendError` or `NotInstalledError`; a backend that
    fails to run is in the report.
    """
    chosen = [load_backend(name) for name in dict.fromkeys(backends)]
    for backend in chosen:
        require_installed(backend)
    limits = tolerances or TOLERANCES[dtype]
    run = experiment(
        loaded, dtype=dtype, steps=steps, batch_size=batch_size, seed=seed, batches=batches
    )
    progress("NumPy reference")
    prepared = prepare(replace(run, compilation=compiled), limits)
    with tempfile.TemporaryDirectory(prefix="ranspec-") as folder:
        return _verified(prepared, chosen, limits, Path(folder), timeout, progress)


def _verified(
    prepared: Prepared,
    backends: Sequence[Backend],
    limits: Tolerances,
    folder: Path,
    timeout: float,
    progress: Progress,
) -> Report:
    run = prepared.run
    outcomes = _measure(run, backends, folder / "steps", timeout, progress)
    measurements: dict[str, Measurement] = {REFERENCE: prepared.reference}
    failures = []
    for name, outcome in outcomes.items():
        if isinstance(outcome, BackendError):
            failures.append(Failure(name, str(outcome)))
        else:
            measurements[name] = outcome
    inferring = tuple(backend.name for backend in backends if not backend.trains)
    checks = compare_all(measurements, run, limits, inferring, prepared.noise)
    missed = {name for check in checks if not check.passed for name in check.pair}
    parted = [backend for backend in backends if backend.name in missed]
    return Report(
        network=run.loaded.spec.name,
        dtype=run.dtype,
        steps=run.steps,
        batch_size=run.batches.labels.shape[1],
        learning_rates=run.rates,
        backends=tuple(backend.name for backend in backends),
        inferring=inferring,
        checks=checks,
        failures=tuple(failures),
        partings=tuple(
            _localize(run, parted, limits, folder / "layers", timeout, progress) if parted else ()
        ),
        first_step=run.first_step,
        branch_scale=run.branch_scale,
        compilation=compilation(run),
    )


def compare_all(
    measurements: Mapping[str, Measurement],
    run: Experiment,
    tolerances: Tolerances,
    inferring: Collection[str] = (),
    noise: Mapping[str, float] | None = None,
) -> tuple[Check, ...]:
    """Compare every backend with the reference, then the backends with one another.

    Nothing of training is compared with backends that are `inferring` only. `noise` is what
    rounding may do to each quantity.
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
            noise=noise,
            trained=left not in inferring and right not in inferring,
        )
    )


def _pairs(measurements: Mapping[str, Measurement]) -> list[tuple[str, str]]:
    names = [name for name in measurements if name != REFERENCE]
    return [*((name, REFERENCE) for name in names), *combinations(names, 2)]


def _measure(
    run: Experiment,
    backends: Sequence[Backend],
    folder: Path,
    timeout: float,
    progress: Progress,
    *,
    layers: bool = False,
) -> dict[str, Measurement | BackendError]:
    runs = []
    for backend in backends:
        own = folder / backend.name
        runs.append(Run(backend, [write_job(own / "job", run, backend, layers=layers)], own))
    outcomes = run_side_by_side(runs, timeout, progress)
    return {
        backend.name: outcome if isinstance(outcome, BackendError) else outcome[0]
        for backend, outcome in zip(backends, outcomes, strict=True)
    }


def _localize(
    run: Experiment,
    backends: Sequence[Backend],
    tolerances: Tolerances,
    folder: Path,
    timeout: float,
    progress: Progress,
) -> Iterator[Parting]:
    """Find where backends part from the reference."""
    progress("looking for the layers that differ")
    short = replace(run, steps=1)
    reference = measure_reference(short, layers=True)
    outcomes = _measure(short, backends, folder, timeout, progress, layers=True)
    for backend in backends:
        outcome, pair = outcomes[backend.name], (backend.name, REFERENCE)
        if isinstance(outcome, BackendError):
            progress(f"the layers of {backend.title} cannot be compared: {outcome}")
            continue
        parting = find_parting(
            outcome, reference, pair, run.graph, tolerances, trained=backend.trains
        )
        if parting is not None:
            yield parting
