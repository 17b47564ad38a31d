"""Have an engine run the jobs of a study, until they are at their ends or a signal ends it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from ranspec.studies.engines import Engine
from ranspec.studies.execution import PAUSE, Task

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
PATIENT = 2
"""Signals that are only passed on; with the next, nothing is waited for any more."""


def drive(engine: Engine, tasks: Sequence[Task], watch: Callable[[], None]) -> int | None:
    """Run jobs to their ends; return the number of the signal that ended it before, if one did.

    A signal has the trainings end with a checkpoint, a second one ends them at once. `watch` is
    called again and again. Nothing is left running, whatever is raised. Raises EngineError.
    """
    with _caught() as caught:
        passed_on = 0
        try:
            engine.start(tasks)
            while True:
                running = engine.running()
                while running and passed_on < len(caught):
                    engine.stop()
                    passed_on += 1
                watch()
                if not running:
                    return caught[0] if passed_on else None
                time.sleep(PAUSE)
        finally:
            engine.close()


@contextmanager
def _caught() -> Iterator[list[int]]:
    """Collect the signals that end a program; what is ignored, as by nohup, stays so."""
    caught: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > PATIENT:
            raise KeyboardInterrupt

    before = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # Only the main thread may set handlers.
                before[number] = signal.signal(number, handler)
    try:
        yield caught
    finally:
        for number, former in before.items():
            signal.signal(number, former)
