"""A training that a signal reaches in a step: one that a test sends may come too late."""

from __future__ import annotations

from signal import Signals

PROGRAM = """
import os, runpy, run

rate = run.Run.learning_rate

def learning_rate(self, step):
    if step == {step}:
        os.kill(os.getpid(), {signal})
    return rate(self, step)

run.Run.learning_rate = learning_rate
runpy.run_path("train.py", run_name="__main__")
"""


def interrupted(signal: Signals, step: int) -> tuple[str, str]:
    """Return what Python runs as `train.py` of a built folder, with a signal after `step` steps."""
    return "-c", PROGRAM.format(signal=int(signal), step=step)
