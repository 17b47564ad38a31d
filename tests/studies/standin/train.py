"""A training without weights that ends as those that are generated do, to run studies of.

It goes on from its checkpoint, and what it comes to follows from the seed alone. Beside its run, it
notes in notes.txt that it was started, and each step whose checkpoint is written, with its process.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--nap", type=float, default=0.0, help="seconds a step takes")
    parser.add_argument("--spoil", type=int, help="step whose loss is NaN")
    parser.add_argument("--wrong", help="what is said to be wrong")
    parser.add_argument("--die", default="", help="exit codes of the first starts; -9: SIGKILL")
    return train(parser.parse_args())


def train(asked: argparse.Namespace) -> int:
    run = asked.output
    run.mkdir(exist_ok=True)
    with (run / ".lock").open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("error: in use", file=sys.stderr)
            return 2
        return train_alone(asked, run)


def train_alone(asked: argparse.Namespace, run: Path) -> int:
    if asked.wrong:
        print(f"error: {asked.wrong}", file=sys.stderr)
        return 2
    notes = run.parent / "notes.txt"
    starts = notes.read_text().count("start") if notes.exists() else 0
    state = {"step": 0, "value": str(asked.seed)}
    if (run / "checkpoint.json").exists():
        state = json.loads((run / "checkpoint.json").read_text())
    note(notes, "start", state["step"])
    config = {
        "digest": "5" * 64,
        "framework": "none",
        "settings": {"iterations": asked.iterations, "batch_size": 10},
        "sessions": [{"since": "2026-01-31T12:00:00+00:00", "versions": {"python": "3"}}],
    }
    write(run / "config.json", config)
    asked_to_end: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        asked_to_end.append(number)

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    deaths = [int(code) for code in asked.die.split(",") if code]
    while state["step"] < asked.iterations:
        if asked_to_end:
            return 75
        if starts < len(deaths) and state["step"] == asked.iterations // 2:
            if deaths[starts] < 0:
                os.kill(os.getpid(), -deaths[starts])
            print(f"error: told to die with {deaths[starts]}", file=sys.stderr)
            return deaths[starts]
        if state["step"] == asked.spoil:
            write(run / "diverged.json", {"step": state["step"], "loss": "nan"})
            return 1
        time.sleep(asked.nap)
        state["value"] = hashlib.sha256(f"{state['step']} {state['value']}".encode()).hexdigest()
        state["step"] += 1
        record = {"step": state["step"], "images_per_second": 100.0, "test_accuracy": 0.5}
        with (run / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        write(run / "checkpoint.json", state)
        note(notes, "step", state["step"])
    accuracy = int(state["value"][:4], 16) / 2**16
    write(run / "config.json", {**config, "results": {"loss": 1.0, "accuracy": accuracy}})
    return 0


def note(notes: Path, what: str, step: int) -> None:
    with notes.open("a") as file:
        file.write(f"{what} {os.getpid()} {step}\n")


def write(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
