"""Probes run side by side, and none outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ranspec.verify.processes import cores
from tests.machine import slowness

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are POSIX's")

PARENT = """
import signal, sys
from dataclasses import replace
from pathlib import Path
from ranspec.codegen.backend import load_backend, available_backends
from ranspec.verify.processes import Run, run_side_by_side

# Background jobs of a shell are started deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
folder = Path(sys.argv[1])
backend = replace(load_backend(next(iter(available_backends()))), package="sleeper")
runs = [Run(backend, [], folder / name) for name in ("one", "two")]
for run in runs:
    run.folder.mkdir()
run_side_by_side(runs, timeout=float(sys.argv[2]))
"""
SLEEPER = """
import os, subprocess, sys, time
from pathlib import Path

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
Path("pids.new").write_text(f"{os.getpid()} {child.pid}")
Path("pids.new").rename("pids")
time.sleep(100)
"""
SECONDS = 30.0 * slowness()


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a backend's package whose probe does nothing for long, with a child of its own."""
    package = tmp_path / "sleeper"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "probe.py").write_text(SLEEPER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def started(folder: Path, *, timeout: float) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a parent; return it and its probes with their children once they run."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder), str(timeout)])
    files = [folder / name / "pids" for name in ("one", "two")[: cores()]]
    end = time.monotonic() + SECONDS
    while not all(file.exists() for file in files):
        assert time.monotonic() < end
        time.sleep(0.05)
    return parent, [int(pid) for file in files for pid in file.read_text().split()]


def assert_ended(pids: list[int]) -> None:
    end = time.monotonic() + SECONDS
    while any(map(running, pids)):
        assert time.monotonic() < end, "a process was left running"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_probe_outlives_its_parent(sleeper: Path, end: signal.Signals) -> None:
    parent, pids = started(sleeper, timeout=100)
    parent.send_signal(end)
    assert parent.wait(SECONDS) != 0
    assert_ended(pids)


def test_no_probe_outlives_its_time(sleeper: Path) -> None:
    parent, pids = started(sleeper, timeout=3 * slowness())
    assert_ended(pids)
    parent.kill()
    parent.wait(SECONDS)
