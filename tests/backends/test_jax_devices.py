"""JAX's generated training is the same on any number of devices and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest

from ranspec.codegen.render import render_files
from ranspec.runtime import checkpoint
from ranspec.spec import load_spec
from ranspec_jax import BACKEND
from tests.interrupted import interrupted
from tests.rendering import write

pytest.importorskip("jax")
pytest.importorskip("flax")
pytest.importorskip("optax")

SPEC = """
name: tiny
source: A test
input: {height: 8, width: 8, channels: 1}
classes: 10
stem: {channels: 8, kernel: 3}
head: {dropout: 0.1}
stages:
  stage1: {channels: 8, units: 1}
train:
  data: digits
  iterations: 20
  batch_size: 16
  learning_rate: {kind: step, initial: 0.05, factor: 0.1, at: [10]}
  label_smoothing: 0.05
"""
OPTIONS = ["--device", "cpu", "--precision", "float64", "--cache-dir", "cache"]
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    (folder / "tiny.yaml").write_text(SPEC)
    write(folder / "code", render_files(load_spec(folder / "tiny.yaml"), BACKEND))
    return folder / "code"


def start(
    folder: Path, *arguments: str, program: tuple[str, ...] = ("train.py",)
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *OPTIONS, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = process.communicate(timeout=300)
    return process.returncode, text


def together(folder: Path, *arguments: str, dies: int | None = None) -> list[subprocess.Popen[str]]:
    """Start two processes that train together, one of which may die."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    several = ("--coordinator", address, "--processes", "2")
    return [
        start(
            folder,
            *several,
            "--process",
            str(index),
            *arguments,
            program=interrupted(SIGKILL, 7) if index == dies else ("train.py",),
        )
        for index in range(2)
    ]


def newest(folder: Path) -> dict[str, Any]:
    """Return the tensors of the last checkpoint of a run."""
    found = map(checkpoint.load, folder.glob("*.safetensors"))
    tensors, manifest = max(found, key=lambda item: item[1].step)
    assert manifest.step == 20
    return tensors


def largest_difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    assert all(one[name].dtype == np.float64 for name in one)
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.fixture(scope="module")
def expected(built: Path) -> Iterator[dict[str, Any]]:
    """Return what a run on one device leaves."""
    code, text = ended(start(built, "--output", "one"))
    assert code == 0, text
    yield newest(built / "one")


@pytest.mark.parametrize("count", [2, 4])
def test_host_devices_train_as_one(count: int, built: Path, expected: dict[str, Any]) -> None:
    code, text = ended(start(built, "--devices", str(count), "--output", f"{count}"))
    assert code == 0, text
    assert largest_difference(newest(built / str(count)), expected) < TOLERANCE


def test_steps_in_one_call_are_as_steps_one_by_one(built: Path, expected: dict[str, Any]) -> None:
    code, text = ended(start(built, "--steps-per-dispatch", "5", "--output", "five"))
    assert code == 0, text
    assert largest_difference(newest(built / "five"), expected) < TOLERANCE


def test_a_process_is_lost_and_all_go_on_from_the_checkpoint(
    built: Path, expected: dict[str, Any]
) -> None:
    arguments = ("--output", "two", "--log-every", "1", "--checkpoint-every", "2")
    first, second = together(built, *arguments, dies=1)
    second.communicate()
    code, text = ended(first)
    assert code == 75, text
    assert "start all again to go on" in text
    results = [ended(process) for process in together(built, *arguments)]
    assert [code for code, _ in results] == [0, 0], results
    assert "going on after step" in results[0][1]
    assert largest_difference(newest(built / "two"), expected) < TOLERANCE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images, eight of each class to train on and two to test on."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        for label in range(10):
            (root / part / f"{label}").mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (12, 10), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / f"{label}" / f"{number}.png")
    return root


def test_streamed_images_train_as_those_on_the_devices(built: Path, folder: Path) -> None:
    arguments = ("--data-dir", str(folder), "--devices", "2", "--iterations", "20")
    states = []
    for name in ("--stream", "--no-stream"):
        code, text = ended(start(built, *arguments, name, "--output", name.strip("-")))
        assert code == 0, text
        states.append(newest(built / name.strip("-")))
    assert largest_difference(*states) < TOLERANCE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--devices", "3"], "--batch-size 16: no multiple of 3 devices"),
        (["--processes", "2"], "--processes and --process need --coordinator HOST:PORT"),
        (
            ["--coordinator", "localhost:1", "--processes", "2", "--process", "2"],
            "--coordinator needs --processes N, and --process from 0 to N - 1",
        ),
        (["--device", "gpu"], "--device gpu: JAX finds no GPU"),
    ],
)
def test_devices_that_cannot_be_are_refused(
    arguments: list[str], message: str, built: Path
) -> None:
    assert ended(start(built, *arguments)) == (2, f"error: {message}\n")
