"""Train in processes that are killed at seeded moments, until one comes to the end.

    python killed.py SEED DEATHS --output FOLDER ...

A moment is an event that Python audits, such as the opening or renaming of a file; the first
DEATHS processes do not outlive theirs. Prints the event at which each was killed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np

from ranspec.runtime.settings import parse_settings
from tests.runtime.training import Settings, train

EVENTS = ("open", "os.rename", "os.remove", "os.link", "os.truncate")


def main(seed: int, deaths: int, settings: Settings) -> int:
    draws = np.random.Generator(np.random.Philox(key=seed))
    for _ in range(deaths):
        moment = int(draws.integers(1, 50))
        child = os.fork()
        if not child:
            die_at(moment)
            train(settings)
            os._exit(0)
        os.waitpid(child, 0)
    train(settings)
    return 0


def die_at(moment: int) -> None:
    """Have this process killed at the event of that number."""
    left = moment

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.write(1, f"{event} {arguments[0]}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    settings = parse_settings(Settings, __doc__, sys.argv[3:])
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), settings))
