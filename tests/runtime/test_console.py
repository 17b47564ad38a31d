"""What a person sees: a bar on a terminal, plain lines elsewhere, nothing where nobody looks."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ranspec.runtime.console import Console

ROOT = Path(__file__).parents[2]


def on_a_terminal(*arguments: str) -> str:
    """Return what a program writes to a terminal of 110 columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=its, stdout=its, stderr=its, env=environment
    ):
        os.close(its)
        written = b""
        while True:
            try:
                written += os.read(ours, 4096)
            except OSError:  # Its other end is closed.
                break
    os.close(ours)
    return written.decode()


def test_a_terminal_shows_a_bar_with_phase_loss_error_rate_speed_and_time_left(
    tmp_path: Path,
) -> None:
    program = str(Path(__file__).parent / "training.py")
    options = ["--nap", "0.02", "--evaluate-every", "10", "--log-every", "5"]
    text = on_a_terminal(program, "--output", str(tmp_path / "run"), *options)
    last = [line for line in text.split("\r") if "100%" in line][-1]
    for shown in ("training: ", "40/40", "<00:00", "loss 1.4973", "rate 0.1", "error 35.17%"):
        assert shown in last
    assert "images/s" in last
    for phase in ("starting", "evaluating", "saving"):
        assert f"{phase}: " in text
    assert "step 40: test accuracy 66.56%" in text
    assert "step 5/40" not in text


def test_no_terminal_shows_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.begin(10, 0)
    console.phase("training")
    console.advance(5)
    console.line(5, {"loss": "1.5", "rate": "0.1"})
    console.later("kept back", result=True)
    console.message("said")
    console.tell()
    console.close()
    shown = capsys.readouterr()
    assert shown.err == "step 5/10: loss 1.5, rate 0.1\nsaid\n"
    assert shown.out == "kept back\n"


def test_of_many_processes_one_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(shown=False)
    console.begin(10, 0)
    console.line(5, {"loss": "1.5"})
    console.result("1")
    console.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, None)
    console = Console()
    console.begin(10, 0)
    console.line(5, {"loss": "1.5"})
    console.result("1")
    console.close()
