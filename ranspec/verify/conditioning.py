"""Choosing a learning rate at which rounding stays rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.verify.comparison import Tolerances, compare
from ranspec.verify.experiment import Experiment, measure_reference

Measurement = Mapping[str, NDArray[Any]]

PERTURBATION = 1e-15
MARGIN = 0.1
"""What rounding may take of the tolerances."""
LOWERED = 4
"""How many times the rate may be divided by ten."""


def steady(run: Experiment, tolerances: Tolerances) -> tuple[Experiment, Measurement]:
    """Return the run, at a lower learning rate if need be, and the reference's measurement.

    Training on few images is chaotic at a high rate: differences grow from step to step. Where
    the reference started one part in 10^15 apart does not stay with itself, no two frameworks
    can. A float32 run is only followed loosely and keeps its rate.
    """
    reference = measure_reference(run)
    if run.dtype != "float64":
        return run, reference
    for _ in range(LOWERED):
        apart = measure_reference(replace(run, state=perturbed(run.state)))
        pair = ("reference", "perturbed reference")
        checks = compare(apart, reference, pair, run.graph, run.loaded.spec, tolerances)
        if all(check.max_relative_error <= MARGIN * check.tolerance for check in checks):
            break
        run = replace(run, learning_rate=run.learning_rate / 10)
        reference = measure_reference(run)
    return run, reference


def perturbed(state: Measurement) -> dict[str, NDArray[Any]]:
    """Return arrays that differ by the last digit or so."""
    generator = np.random.Generator(np.random.Philox(key=0))
    return {
        name: array * (1 + PERTURBATION * generator.standard_normal(array.shape))
        for name, array in state.items()
    }
