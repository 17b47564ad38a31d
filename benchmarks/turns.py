"""Steps that take turns, so that whatever slows the machine slows all; and what they took."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


def measure(
    steps: dict[str, Callable[[], object]], rounds: int, count: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Return by each clock the seconds of a step for each round, in which all take turns.

    In its turn each takes `count` steps. Their first ones, which compile, are to be taken before.
    """
    times = {clock: {name: [0.0] * rounds for name in steps} for clock in CLOCKS}
    names = list(steps)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = {clock: read() for clock, read in CLOCKS.items()}
            for _ in range(count):
                steps[name]()
            for clock, read in CLOCKS.items():
                times[clock][name][number] = (read() - start[clock]) / count
    return times


def report(found: dict[str, dict[str, list[float]]]) -> None:
    """Print the median of each that took steps, and of its ratio to `bare`, by each clock."""
    for clock, times in found.items():
        print(f"by the {clock}:")
        _report(times)


def _report(times: dict[str, list[float]]) -> None:
    for name, own in times.items():
        ratios = [mine / bare for mine, bare in zip(own, times["bare"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        seconds = statistics.median(own)
        print(f"{name:6} {seconds:8.4f} s   {middle:.3f} of bare ({low:.3f} to {high:.3f})")
