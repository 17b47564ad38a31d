"""A log of metrics as JSON lines, and a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from checkpoint import replaced, sync

if TYPE_CHECKING:
    from tqdm import tqdm


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


def progress_bar(total: int, start: int = 0) -> tqdm[NoReturn]:
    """Return a tqdm bar over training steps, silent unless stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=start,
        unit="step",
        dynamic_ncols=True,
        disable=not sys.stderr.isatty(),
    )


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
