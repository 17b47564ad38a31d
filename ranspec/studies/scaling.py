"""A recipe shortened in proportion, to see on a laptop what a study shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil

from ranspec.errors import RanspecError
from ranspec.spec.training import Training

_SCALE = re.compile(r"[0-9]{1,9}(/[0-9]{1,9})?|[0-9]{0,9}\.[0-9]{1,9}", re.ASCII)


class ScaleError(RanspecError):
    """What was given for a scale is none."""


def parse_scale(text: str) -> Fraction:
    """Read `1/50`, `0.02` or `1`; raise ScaleError for what is not above 0 and at most 1."""
    found = _SCALE.fullmatch(text.strip())
    try:
        scale = Fraction(found[0]) if found else None
    except ZeroDivisionError:
        scale = None
    if scale is None or not 0 < scale <= 1:
        raise ScaleError(f"found {text!r} as a scale, expected more than 0 and at most 1: 1/50")
    return scale


def shortened(train: Training, scale: Fraction) -> tuple[str, ...]:
    """Return what `--set` shortens a recipe with; nothing for a scale of 1.

    Iterations, the times at which the learning rate changes and a plateau's patience are
    multiplied by the scale, and stay at least 1. Early stopping keeps its patience: how much the
    accuracy of one epoch and the next differ by chance has nothing to do with a recipe's length.
    """
    if scale == 1:
        return ()
    schedule = train.learning_rate
    changes = [("iterations", str(_times(train.iterations, scale)))]
    match schedule.kind:
        case "step":
            at = ", ".join(map(str, _rising(_times(step, scale) for step in schedule.at)))
            changes.append(("learning_rate.at", f"[{at}]"))
        case "exponential":
            changes.append(("learning_rate.every", str(_times(schedule.every, scale))))
        case "plateau":
            changes.append(("learning_rate.patience", str(ceil(schedule.patience * scale))))
    if schedule.warmup:
        warmup = _times(schedule.warmup.iterations, scale)
        changes.append(("learning_rate.warmup.iterations", str(warmup)))
    return tuple(f"train.{key}={value}" for key, value in changes)


def _times(steps: int, scale: Fraction) -> int:
    return max(1, round(steps * scale))


def _rising(steps: Iterable[int]) -> Iterator[int]:
    """Move apart the times that have become the same."""
    last = 0
    for step in steps:
        last = max(step, last + 1)
        yield last
