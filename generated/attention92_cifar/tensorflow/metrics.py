"""A log of metrics as JSON lines, and the speed of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from checkpoint import replaced, sync

UNTIMED = 3
"""Blocks of steps that are left out of speeds: they compile, or record graphs."""


class MetricsLog:
    """Append records to a JSON-lines file, each with the number of steps taken as `step`.

    A run that starts at a later step keeps the records up to it, of `origin` if that is another
    file, and drops those after it. What is written goes to `events` too, a `SummaryWriter`.
    """

    def __init__(
        self, path: Path, start: int = 0, *, origin: Path | None = None, events: Any = None
    ):
        self.path = path
        self.events = events
        kept = [line for line in _lines(origin or path) if _step(line) <= start] if start else []
        with replaced(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")

    def write(self, *, step: int, **values: float | None) -> None:
        """Append one record; null stands for what is unknown, infinite or NaN."""
        numbers = {
            name: value if value is not None and isfinite(value) else None
            for name, value in values.items()
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        if self.events:
            for name, value in numbers.items():
                if value is not None:
                    self.events.add_scalar(name, value, step)

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        sync(self.path)
        if self.events:
            self.events.flush()

    def close(self) -> None:
        """Write no more."""
        if self.events:
            self.events.close()

    def records(self) -> list[dict[str, Any]]:
        """Return what has been written, in order."""
        return read_records(self.path)


class Stopwatch:
    """The time that steps take, without the first `UNTIMED` blocks of them."""

    def __init__(self) -> None:
        self._untimed = UNTIMED
        self._since: float | None = None
        self._from = 0
        self._steps = 0
        self._seconds = 0.0

    def go(self, step: int) -> None:
        """Start before a step, unless the clock runs."""
        if self._since is None:
            self._since, self._from = time.perf_counter(), step

    def pause(self, step: int) -> None:
        """Stop after `step` steps, all of which have ended."""
        if self._since is not None and not self._untimed:
            self._seconds += time.perf_counter() - self._since
            self._steps += step - self._from
        self._since = None

    def warming_up(self) -> bool:
        """Tell whether a block of steps is the last that is left out; to be asked after each."""
        if not self._untimed:
            return False
        self._untimed -= 1
        return not self._untimed

    def warmed_up(self) -> None:
        """Leave out the time until now."""
        self._since = None

    def take(self) -> float | None:
        """Return the steps per second since it was last asked, None if none were timed."""
        speed = self._steps / self._seconds if self._steps and self._seconds else None
        self._steps, self._seconds = 0, 0.0
        return speed


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log; a line that a killed process left unfinished is left out."""
    return [json.loads(line) for line in _lines(path) if isfinite(_step(line))]


def prefixed(prefix: str, results: Mapping[str, float]) -> dict[str, float]:
    """Return the results of an evaluation under names that tell the dataset."""
    return {f"{prefix}_{name}": value for name, value in results.items()}


def accuracies(results: Mapping[str, float]) -> str:
    """Write the accuracies of an evaluation, such as `91.20% (top 5: 99.70%)`."""
    top5 = f" (top 5: {results['top5_accuracy']:.2%})" if "top5_accuracy" in results else ""
    return f"{results['accuracy']:.2%}{top5}"


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def _step(line: str) -> float:
    """Return a record's step; infinity for a line that an interrupted run left broken."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
