"""Measure a training step of generated code in each framework, in processes that take turns.

    python benchmarks/frameworks.py yeah2020/attention56_cifar --batch-size 64 --rounds 10

A step is what `train.py` takes: its batch drawn, gathered and augmented, forward, back, and the
update; those of a turn are waited for. Prints for each framework the median and the least time of
a step, the images in a second of the median, and the median of its ratio to the first framework's
in its round; beside the time by the clock that of the processor, which other work on the machine
changes little.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from turns import CLOCKS

from ranspec.codegen.build import build
from ranspec.spec import load_spec


def main() -> None:
    """Measure, or in a process of its own take the steps of one framework."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("spec")
    parser.add_argument("--backends", nargs="+", default=["torch", "tensorflow", "jax"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--take-turns", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take_turns:
        take_turns(options.spec, options.backends[0], options.batch_size, options.steps)
        return
    with ExitStack() as stack:
        processes = {
            backend: stack.enter_context(started(options, backend)) for backend in options.backends
        }
        for process in processes.values():
            turn(process)
        rounds = [
            {backend: turn(process) for backend, process in processes.items()}
            for _ in range(options.rounds)
        ]
        for process in processes.values():
            process.communicate()
    for index, clock in enumerate(CLOCKS):
        print(f"by the {clock}:")
        report([{name: times[index] for name, times in turns.items()} for turns in rounds], options)


def started(options: argparse.Namespace, backend: str) -> subprocess.Popen[str]:
    """Start the process of a framework."""
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
    numbers = ["--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    return subprocess.Popen(
        [sys.executable, __file__, options.spec, "--backends", backend, *numbers, "--take-turns"],
        env={**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def turn(process: subprocess.Popen[str]) -> list[float]:
    """Have a process take its turn; return the seconds of a step by each clock."""
    assert process.stdin and process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return [float(word) for word in process.stdout.readline().split()]


def take_turns(spec: str, backend: str, batch_size: int, count: int) -> None:
    """Take steps for each line that is read, and write their times; one step before."""
    with tempfile.TemporaryDirectory() as folder:
        build(load_spec(spec), backend, Path(folder) / "code")
        sys.path.insert(0, str(Path(folder) / "code"))
        benchmark = importlib.import_module(f"{backend}_training")
        step: Callable[[], object] = benchmark.contenders(batch_size)["whole"]
        step()
        for _ in sys.stdin:
            start = [read() for read in CLOCKS.values()]
            for _ in range(count):
                step()
            ends = [read() for read in CLOCKS.values()]
            print(*((end - begin) / count for begin, end in zip(start, ends, strict=True)))
            sys.stdout.flush()


def report(rounds: list[dict[str, float]], options: argparse.Namespace) -> None:
    """Print a line for each framework."""
    first = options.backends[0]
    for backend in options.backends:
        times = [turns[backend] for turns in rounds]
        seconds = statistics.median(times)
        ratio = statistics.median(turns[backend] / turns[first] for turns in rounds)
        print(
            f"{backend:10} {seconds:8.4f} s (least {min(times):.4f})"
            f"   {options.batch_size / seconds:6.0f} images/s   {ratio:.3f} of {first}"
        )


if __name__ == "__main__":
    main()
