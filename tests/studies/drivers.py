"""Drivers of studies in processes that are killed, and several at one study.

    python drivers.py killed FOLDER SEED DEATHS
    python drivers.py twice FOLDER

Prints the trainings that outlived a driver, if any did.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from ranspec.studies.driver import drive
from ranspec.studies.engines.local import LocalEngine
from ranspec.studies.execution import Task
from tests.studies.standins import notes, tasks

STUDY = ("--iterations", "25", "--nap", "0.02")
RUNS = 4
PROMPT = 5.0
"""Seconds in which a training has to notice that its driver is gone."""


def study(root: Path) -> list[Task]:
    return tasks(root, RUNS, *STUDY, retries=20)


def driver(root: Path) -> int:
    """Start a process that drives the study to its end; return its number."""
    process = os.fork()
    if not process:
        engine = LocalEngine(2)
        drive(engine, study(root), lambda: None)
        os._exit(1 if engine.errors() else 0)
    return process


def killed(root: Path, seed: int, deaths: int) -> None:
    """Kill drivers, every second time after their trainings, and then let one be."""
    draws = np.random.Generator(np.random.Philox(key=seed))
    for number in range(deaths):
        process = driver(root)
        time.sleep(draws.uniform(0.1, 0.5))
        if number % 2:
            for training in running(root):
                os.kill(training, signal.SIGKILL)
            time.sleep(draws.uniform(0.0, 0.2))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        tell_survivors(root)
    os.waitpid(driver(root), 0)


def twice(root: Path) -> None:
    """Have two drivers at the study."""
    for process in [driver(root), driver(root)]:
        os.waitpid(process, 0)


def running(root: Path) -> list[int]:
    started = {note.process for task in study(root) for note in notes(task)}
    return [process for process in started if Path(f"/proc/{process}").exists()]


def tell_survivors(root: Path) -> None:
    patience = time.monotonic() + PROMPT
    while running(root) and time.monotonic() < patience:
        time.sleep(0.01)
    for process in running(root):
        print(f"process {process} outlived its driver")


if __name__ == "__main__":
    root = Path(sys.argv[2])
    if sys.argv[1] == "killed":
        killed(root, int(sys.argv[3]), int(sys.argv[4]))
    else:
        twice(root)
