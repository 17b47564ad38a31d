"""How fast this machine is, so that time limits suit slow and busy ones."""

from __future__ import annotations

import time
from functools import cache

LOOP = 1_500_000
QUICK = 0.1
"""Seconds that the workload takes on a quiet machine on which the limits are ample."""


@cache
def slowness() -> float:
    """Return how many times slower than a quick machine this one is now, at least 1."""
    start = time.perf_counter()
    total = 0
    for number in range(LOOP):
        total += number * number
    return max(1.0, (time.perf_counter() - start) / QUICK)
