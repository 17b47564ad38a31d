"""End runs of generated code at random moments, and compare what they become with one left alone.

    python benchmarks/survival.py torch
    python benchmarks/survival.py tensorflow jax --kills 10 --seed 1

For each backend: a run that nothing disturbs; then one that is killed by SIGKILL, every second
time while it writes a checkpoint, and ended by SIGTERM, by Ctrl-C, and by files that may not grow.
In the end its weights, optimiser state and metrics are to be the same bits. Exits with 1 where they
are not, or where a process did not end as it should.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ranspec import build, load_spec
from ranspec.runtime import checkpoint
from ranspec.runtime.metrics import read_records

SPEC = "attention_digits"
NEWEST = "checkpoint.safetensors"
SMALL = 100_000
"""Bytes that a file may have on a disk that is all but full: less than a checkpoint."""

Moment = Callable[[int], bool]
"""Tells of a process, by its number, whether the time has come."""


def main() -> int:
    """Disturb runs of each backend; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("backends", nargs="+", metavar="BACKEND")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--iterations", type=int, default=160, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        survived = [
            survives(backend, Path(folder), chosen.kills, chosen.iterations, chosen.seed)
            for backend in chosen.backends
        ]
    return 0 if all(survived) else 1


def survives(backend: str, folder: Path, kills: int, iterations: int, seed: int) -> bool:
    """Tell whether a disturbed run of a backend becomes what it would have been."""
    code = build(load_spec(SPEC, []), backend, folder / backend).folder
    whole, run = folder / f"{backend}-whole", folder / f"{backend}-disturbed"
    options = f"--iterations {iterations} --checkpoint-every 4 --log-every 5 --device cpu"
    command = [sys.executable, str(code / "train.py"), *options.split(), "--output"]
    started = time.perf_counter()
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    duration = time.perf_counter() - started
    print(f"{backend}: {iterations} steps undisturbed in {duration:.1f} s", flush=True)

    draws = np.random.Generator(np.random.Philox(key=seed))
    again = [*command, str(run)]
    expected = True
    for number in range(kills):
        saves = int(draws.integers(1, 4))
        delay = 0.0 if number % 2 else float(draws.uniform(0, 0.5))
        ended = disturbed(again, signal.SIGKILL, writing(run, saves, delay))
        what = f"SIGKILL in checkpoint {saves}" + (f" + {delay:.2f} s" if delay else "")
        expected &= told(backend, what, ended, -signal.SIGKILL, run)
    for name in ("SIGTERM", "SIGINT"):
        ended = disturbed(again, getattr(signal, name), writing(run, 1, 0.1))
        expected &= told(backend, name, ended, 75, run)
    ended = disturbed(again, 0, never, file_size=SMALL)
    expected &= told(backend, "no room", ended, 74, run)
    ended = disturbed(again, 0, never)
    expected &= told(backend, "to the end", ended, 0, run)
    equal = bits(whole) == bits(run)
    print(f"{backend}: {'the same bits' if equal else 'ANOTHER RESULT'}", flush=True)
    return equal and expected


def disturbed(command: list[str], number: int, moment: Moment, file_size: int = -1) -> int:
    """Start a program, send it a signal at a moment, and return its exit code."""

    def limit() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Background jobs ignore it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, preexec_fn=limit, **quiet) as process:  # type: ignore[call-overload]
        while process.poll() is None:
            if moment(process.pid):
                process.send_signal(number)
                break
            time.sleep(2e-4)
        return int(process.wait())


def never(process: int) -> bool:
    """Wait for the end of a process."""
    return False


def writing(run: Path, number: int, delay: float) -> Moment:
    """Return the moment so many seconds after a process began its checkpoint of that number."""
    seen, there, end = 0, False, math.inf

    def moment(process: int) -> bool:
        nonlocal seen, there, end
        before, there = there, (run / f".{NEWEST}.{process}").exists()
        seen += there and not before
        if seen == number:
            end = min(end, time.perf_counter() + delay)
        return time.perf_counter() >= end

    return moment


def told(backend: str, what: str, found: int, expected: int, run: Path) -> bool:
    """Say how a process ended, and tell whether as it should."""
    newest = run / NEWEST
    step = checkpoint.load_manifest(newest).step if newest.is_file() else 0
    remark = "" if found == expected else f", EXPECTED {expected}"
    print(f"{backend}: {what:31} exit {found:3}{remark}, step {step}", flush=True)
    return found == expected


def bits(run: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the hash of a run's last state, and its metrics without the speeds."""
    tensors, _ = checkpoint.load(run / NEWEST)
    records = read_records(run / "metrics.jsonl")
    for record in records:
        record.pop("images_per_second", None)
    return checkpoint.digest(tensors), json.loads(json.dumps(records))


if __name__ == "__main__":
    sys.exit(main())
