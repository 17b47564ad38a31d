"""Learning rates by step or by what validation shows, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence


def step_schedule(step: int, initial: float, factor: float, at: Sequence[int]) -> float:
    """Return the rate of a 0-based step: multiplied by `factor` at each step in `at`."""
    return float(initial * factor ** sum(step >= drop for drop in at))


def exponential_schedule(step: int, initial: float, factor: float, every: int) -> float:
    """Return the rate of a 0-based step: multiplied by `factor` every `every` steps."""
    return float(initial * factor ** (step // every))


def cosine_schedule(step: int, initial: float, least: float, begin: int, end: int) -> float:
    """Return the rate of a 0-based step: half a cosine from `initial` to `least`.

    Step `begin` has `initial`; step `end`, one after the last, would have `least`.
    """
    share = min(1.0, (step - begin) / max(1, end - begin))
    return least + (initial - least) * (1 + math.cos(math.pi * share)) / 2


def plateau_schedule(reductions: int, initial: float, factor: float, least: float) -> float:
    """Return the rate after some reductions: multiplied by `factor` each, but not below `least`."""
    return float(max(least, initial * factor**reductions) if reductions else initial)


def linear_warmup(step: int, rate: float, initial: float, steps: int) -> float:
    """Return the rate of a 0-based step of a warm-up that goes from `rate` to `initial`.

    The first step has `rate`, and the one after its `steps` would have `initial`.
    """
    return rate + (initial - rate) * step / steps
