"""What validation after each epoch has shown, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """The state of plateau schedules and early stopping."""

    best_accuracy: float = -1.0
    best_step: int = 0
    """The steps taken when it was reached."""
    stale: int = 0
    """Epochs since then."""
    waited: int = 0
    """Epochs since then, or since the rate was last reduced."""
    reductions: int = 0
    """How often the learning rate was reduced."""


def advance(
    progress: Progress, *, step: int, accuracy: float, patience: int | None = None
) -> Progress:
    """Return the state after one more epoch, that ended after `step` steps.

    The learning rate is reduced after `patience` epochs, if given, without a higher accuracy.
    """
    if accuracy > progress.best_accuracy:
        return Progress(accuracy, step, reductions=progress.reductions)
    waited = progress.waited + 1
    reduced = patience is not None and waited >= patience
    return Progress(
        progress.best_accuracy,
        progress.best_step,
        stale=progress.stale + 1,
        waited=0 if reduced else waited,
        reductions=progress.reductions + reduced,
    )


def recorded(values: Mapping[str, Any] | None) -> Progress:
    """Return the state that a checkpoint's manifest holds; that of a new run if it holds none."""
    return Progress(**values) if values else Progress()
