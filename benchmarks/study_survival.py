"""Kill a study and its trainings at random moments, and compare what it becomes with one let alone.

    python benchmarks/study_survival.py
    python benchmarks/study_survival.py --backends torch,jax --kills 20 --seed 1

Trains small networks on digits, two runs at once. The driver is killed by SIGKILL, every second
time after one of its trainings was, and started again; in the end it is let be. Results and the
bits of the weights are then to be those of the undisturbed study, no training may outlive its
driver, and started again it may start none. Exits with 1 where it is otherwise.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ranspec.runtime import checkpoint
from ranspec.studies.results import RUN, found_jobs, job_folder, read_result
from ranspec.studies.status import statuses

STUDY = """
title: Two ways of attention, on digits
source: a benchmark of ranspec
entries:
  - {row: residual, spec: attention_digits}
  - {row: naive, spec: attention_digits, set: [attention.learning=naive]}
"""
PROMPT = 5.0
"""Seconds in which a training has to notice that its driver is gone."""


def main() -> int:
    """Disturb a study; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backends", default="torch", metavar="NAME,NAME")
    parser.add_argument("--scale", default="1/10", metavar="FRACTION")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "digits.yaml").write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "ranspec", "study", "run", str(folder / "digits.yaml")]
        command += ["--scale", chosen.scale, "--seeds", "0,1", "--backends", chosen.backends]
        command += ["--jobs", "2", "--output"]
        return 0 if survives(command, folder, chosen.kills, chosen.seed) else 1


def survives(command: list[str], folder: Path, kills: int, seed: int) -> bool:
    """Tell whether a disturbed study becomes what it would have been."""
    whole, root = folder / "whole", folder / "disturbed"
    started = time.perf_counter()
    finish([*command, str(whole)])
    duration = time.perf_counter() - started
    print(f"{len(table(whole))} runs undisturbed in {duration:.0f} s", flush=True)

    draws = np.random.Generator(np.random.Philox(key=seed))
    outlived, ended = 0, False
    for number in range(kills):
        driver = start([*command, str(root)])
        time.sleep(draws.uniform(0.05, 0.25) * duration)
        what = "driver"
        if number % 2 and (found := trainings(root)):
            victim = found[int(draws.integers(len(found)))]
            os.kill(victim, signal.SIGKILL)
            time.sleep(draws.uniform(0, 0.05) * duration)
            what = "training, then driver"
        ended = ended or driver.poll() is not None
        driver.kill()
        driver.wait()
        outlived += len(survivors(root))
        print(f"killed {what}: {', '.join(map(progress, statuses(root)))}", flush=True)
    finish([*command, str(root)])
    sessions = starts(root)
    finish([*command, str(root)])
    equal, once = table(root) == table(whole), starts(root) == sessions
    print(f"starts of each run: {', '.join(map(str, sessions.values()))}")
    print(f"{'the same table and bits' if equal else 'ANOTHER RESULT'}", flush=True)
    print(f"trainings that outlived their driver: {outlived}")
    if ended:
        print("the study came to its end before the last kill: give a larger --scale")
    if not once:
        print("A FINISHED RUN WAS STARTED AGAIN")
    return equal and once and not outlived


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a driver."""
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(command: list[str]) -> None:
    """Let a driver be; raise CalledProcessError where not all runs finish."""
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def table(root: Path) -> dict[str, Any]:
    """Return what came of each run, and the hash of its last state."""
    found = {}
    for job in found_jobs(root):
        result = read_result(job_folder(root, job), job)
        newest = job_folder(root, job) / RUN / "checkpoint.safetensors"
        tensors, _ = checkpoint.load(newest)
        found[job.key] = (result.state, dict(result.measures), checkpoint.digest(tensors))
    return found


def starts(root: Path) -> dict[str, str]:
    """Return how often each run was started."""
    return {
        job.key: read_result(job_folder(root, job), job).provenance["starts"]
        for job in found_jobs(root)
    }


def progress(status: Any) -> str:
    """Say how far a run is."""
    return f"{status.step}" + (" (finished)" if status.phase == "finished" else "")


def trainings(root: Path) -> list[int]:
    """Return the processes that train for a study, by what their command line says."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"train" in arguments and any(str(root).encode() in text for text in arguments):
            found.append(int(path.parent.name))
    return sorted(found)


def survivors(root: Path) -> list[int]:
    """Return the trainings that are still there once they had time to notice."""
    patience = time.monotonic() + PROMPT
    while trainings(root) and time.monotonic() < patience:
        time.sleep(0.05)
    return trainings(root)


if __name__ == "__main__":
    sys.exit(main())
