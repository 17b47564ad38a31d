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
    with _caught() as (caught, catch):
        passed_on = 0
        try:
            engine.start(tasks)
            catch()  # Ray has put handlers of its own in their place.
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
def _caught() -> Iterator[tuple[list[int], Callable[[], None]]]:
    """Collect the signals that end a program; what is ignored, as by nohup, stays so.

    Yields them, and what is to be called where others may have set handlers meanwhile.
    """
    caught: list[int] = []
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}

    def handler(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > PATIENT:
            raise KeyboardInterrupt

    def catch() -> None:
        for number, former in before.items():
            if former is not signal.SIG_IGN:
                with suppress(ValueError):  # Only the main thread may set handlers.
                    signal.signal(number, handler)

    catch()
    try:
        yield caught, catch
    finally:
        for number, former in before.items():
            with suppress(ValueError, TypeError):
                signal.signal(number, former)
