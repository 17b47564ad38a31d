"""Choosing a state and a learning rate at which rounding stays rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.verify.comparison import Tolerances, compare
from ranspec.verify.experiment import Experiment, measure_reference, with_branches
from ranspec.verify.report import AFTER_STEPS, NOISY

Measurement = Mapping[str, NDArray[Any]]

PERTURBATION: Mapping[str, float] = {"float64": 1e-15, "float32": 1e-7}
"""By what part of itself every number of the state is changed to see what rounding may do."""

SMALLER_BRANCHES = (0.03,)
"""Scales of residual branches to fall back on."""

LOWER_RATES = (0.01, 0.001)
"""Highest learning rates to fall back on: lower ones would leave steps that test nothing."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run, the reference's measurement of it, and what rounding may do to each quantity."""

    run: Experiment
    reference: Measurement
    noise: Mapping[str, float]


def prepare(run: Experiment, tolerances: Tolerances) -> Prepared:
    """Return the run, changed if need be so that rounding stays well below the tolerances.

    Where the reference started one part in 10^15 apart does not stay with itself, no two
    frameworks can. Then residual branches are scaled down further; and where that leaves
    differences that grow from step to step, as training on few images is chaotic at a high rate,
    the learning rate is lowered. A float32 run is only followed loosely and stays as it is.
    """
    prepared = _measured(run, tolerances)
    if run.dtype != "float64":
        return prepared
    for scale in SMALLER_BRANCHES:
        if not _loud(prepared, tolerances, after_steps=False):
            break
        prepared = _measured(with_branches(run, scale), tolerances)
    highest = max(run.rates)
    for rate in LOWER_RATES:
        if rate < highest and _loud(prepared, tolerances, after_steps=True):
            prepared = _measured(replace(prepared.run, rate_factor=rate / highest), tolerances)
    return prepared


def perturbed(state: Measurement) -> dict[str, NDArray[Any]]:
    """Return arrays that differ by the last digit or so."""
    generator = np.random.Generator(np.random.Philox(key=0))
    return {name: _perturbed(generator, array) for name, array in state.items()}


def _perturbed(generator: np.random.Generator, array: NDArray[Any]) -> NDArray[Any]:
    relative = PERTURBATION[str(array.dtype)] * generator.standard_normal(array.shape)
    return (array * (1 + relative)).astype(array.dtype)


def _measured(run: Experiment, tolerances: Tolerances) -> Prepared:
    reference = measure_reference(run)
    apart = measure_reference(replace(run, state=perturbed(run.state)))
    pair = ("perturbed reference", "reference")
    checks = compare(apart, reference, pair, run.graph, run.loaded.spec, tolerances)
    return Prepared(run, reference, {item.quantity: item.max_relative_error for item in checks})


def _loud(prepared: Prepared, tolerances: Tolerances, *, after_steps: bool) -> bool:
    """Tell whether noise comes near a tolerance, of what depends on the learning rate or else."""
    limits = tolerances.by_quantity
    return any(
        not noise <= NOISY * limits[quantity]
        for quantity, noise in prepared.noise.items()
        if (quantity in AFTER_STEPS) == after_steps
    )
