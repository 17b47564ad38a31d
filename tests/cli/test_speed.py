"""The command line is instant, measured beside the import of PyTorch on the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import available_backends

ROOT = Path(__file__).parents[2]
ROUNDS = 5

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or "torch" not in available_backends(),
    reason="PyTorch and its backend are not installed",
)


def seconds(*arguments: str) -> float:
    paths = [str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - start


def ratio(*arguments: str) -> float:
    """Return the time of a command over that of `import torch`, the best of rounds in turns."""
    times = [
        (seconds("-m", "ranspec", *arguments), seconds("-c", "import torch")) for _ in range(ROUNDS)
    ]
    command, torch = (min(column) for column in zip(*times, strict=True))
    return command / torch


def test_help_takes_a_fifth() -> None:
    assert ratio("--help") < 1 / 5


def test_counting_attention_452_takes_a_third() -> None:
    assert ratio("count", "attention452_cifar") < 1 / 3


def test_listing_every_network_with_its_size_takes_no_longer() -> None:
    assert ratio("list") < 1


def test_building_attention_452_takes_no_longer(tmp_path: Path) -> None:
    folder = str(tmp_path / "code")
    assert ratio("build", "attention452_cifar", "--backend", "torch", "-o", folder) < 1
