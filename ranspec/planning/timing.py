"""The part of timing that all backends share: built folders in, seconds of training steps out.

`python -m ranspec_torch.timing REQUEST.json` runs generated code, and nothing but generated code,
on random images. Steps of all folders take turns, so that whatever slows the machine slows all.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from ranspec.verify.probe import imported
from ranspec.verify.processes import cores

Step = Callable[[], object]
"""Takes one training step, and waits for its loss."""
TURNS, TURN, MOST_OF_A_TURN = 3, 0.1, 20
"""How often steps take turns at least, how many seconds a turn is to last, and its most steps."""
RATE = 1e-6
"""The learning rate of steps that are only timed: the weights shall stay ordinary numbers."""


@dataclass(frozen=True)
class Subject:
    """A built folder to be timed: (height, width, channels) of its images, and how many."""

    folder: str
    input: tuple[int, int, int]
    batch_size: int


@dataclass(frozen=True)
class Request:
    """What a process is to time, for how many seconds, and where the result goes."""

    subjects: tuple[Subject, ...]
    seconds: float
    result: str


@dataclass(frozen=True)
class Timings:
    """Seconds of each step of each subject."""

    seconds: tuple[tuple[float, ...], ...]
    framework: int
    """The most bytes that the process had when the first subject had taken its first steps."""
    memory: int
    """The most bytes that it ever had."""
    fused: bool
    """Whether its framework computes runs of element-wise operations at once."""


def main(open_step: Callable[[ModuleType, Subject], Step], *, fused: bool) -> None:
    """Time steps as a request asks; `open_step` is given the folder's `train` module."""
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    subjects = tuple(
        Subject(item["folder"], tuple(item["input"]), item["batch_size"])
        for item in data["subjects"]
    )
    first = opened(subjects[0], open_step)
    framework = most_memory()
    steps = [first, *(opened(subject, open_step) for subject in subjects[1:])]
    found = Timings(take_turns(steps, data["seconds"]), framework, most_memory(), fused)
    Path(data["result"]).write_text(json.dumps(asdict(found)), encoding="utf-8")


def most_memory() -> int:
    """Return the most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def opened(subject: Subject, open_step: Callable[[ModuleType, Subject], Step]) -> Step:
    """Return a subject's step; the first two, which compile, are taken."""
    with imported(Path(subject.folder)) as code:
        step = open_step(code.train, subject)
        step()
        step()
    return step


def take_turns(steps: Sequence[Step], limit: float) -> tuple[tuple[float, ...], ...]:
    """Return the seconds of steps that take turns, three times or more, until a limit of seconds.

    On one core they are the processor's, which other work on the machine changes little; on several
    the clock's. The first step of a turn is not counted: it finds caches full of others' arrays.
    """
    clock = time.process_time if cores() == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in steps]
    end, turns = time.monotonic() + limit, 0
    while turns < TURNS or time.monotonic() < end:
        turns += 1
        for step, found in zip(steps, times, strict=True):
            start = clock()
            step()
            left = TURN - (clock() - start)
            for _ in range(MOST_OF_A_TURN):
                start = clock()
                step()
                found.append(clock() - start)
                left -= found[-1]
                if left < 0:
                    break
    return tuple(map(tuple, times))
