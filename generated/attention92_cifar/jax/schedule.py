"""Learning rates by step or by what validation shows, in float64."""

from __future__ import annotations

from collections.abc import Sequence


def step_schedule(step: int, initial: float, factor: float, at: Sequence[int]) -> float:
    """Return the rate of a 0-based step: multiplied by `factor` at each step in `at`."""
    return float(initial * factor ** sum(step >= drop for drop in at))


def exponential_schedule(step: int, initial: float, factor: float, every: int) -> float:
    """Return the rate of a 0-based step: multiplied by `factor` every `every` steps."""
    return float(initial * factor ** (step // every))


def plateau_schedule(reductions: int, initial: float, factor: float, least: float) -> float:
    """Return the rate after some reductions: multiplied by `factor` each, but not below `least`."""
    return float(max(least, initial * factor**reductions) if reductions else initial)
