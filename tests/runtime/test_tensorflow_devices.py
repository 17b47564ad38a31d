"""TensorFlow's training is the same run on any number of devices and of processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from signal import SIGKILL

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.runtime import checkpoint
from ranspec.spec import load_spec
from tests.interrupted import interrupted

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs TensorFlow")

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
  micro_batches: 2
  gradient_clipping: 0.5
  weight_average: 0.9
  optimizer: {kind: sgd, momentum: 0.9, decayed_weights: head}
  augmentation: {mixup: 0.5}
  test: {crops: 10, size: 0.875}
"""
LOST = 75

Tensors = dict[str, NDArray[np.float64]]


def command(*arguments: str, program: tuple[str, ...] = ("train.py",)) -> list[str]:
    return [sys.executable, *program, "--device", "cpu", "--precision", "float64", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **variables}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(SPEC)
    files = render_files(load_spec(folder / "tiny.yaml"), load_backend("tensorflow"))
    for name, text in files.items():
        (folder / name).write_text(str(text))
    return folder


def trained(folder: Path, output: str, *arguments: str) -> Tensors:
    done = subprocess.run(
        command("--output", output, *arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return result(folder / output)


def result(folder: Path) -> Tensors:
    tensors, manifest = checkpoint.load(folder / "checkpoint.safetensors")
    assert manifest.step == 20
    return tensors


def distance(tensors: Tensors, others: Tensors) -> float:
    assert tensors.keys() == others.keys()
    return max(float(np.abs(tensors[name] - others[name]).max()) for name in tensors)


@pytest.fixture(scope="module")
def alone(built: Path) -> Tensors:
    return trained(built, "alone")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--devices", "4"),
        ("--steps-per-dispatch", "7"),
        ("--devices", "2", "--steps-per-dispatch", "7", "--evaluation-batch-size", "99"),
    ],
    ids=" ".join,
)
def test_the_run_is_that_of_one_device(
    built: Path, alone: Tensors, arguments: tuple[str, ...]
) -> None:
    output = "run" + "".join(arguments)
    assert distance(trained(built, output, *arguments), alone) < 1e-9
    found, expected = (
        [json.loads(line) for line in (built / name / "metrics.jsonl").read_text().splitlines()]
        for name in (output, "alone")
    )
    assert found[-1].keys() == expected[-1].keys()
    assert found[-1]["test_loss"] == pytest.approx(expected[-1]["test_loss"], rel=1e-9)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images, four of each class to train on and one to test on."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 1)):
        for label in range(10):
            (root / part / f"{label}").mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (12, 10), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / f"{label}" / f"{number}.jpg")
    return root


def test_streamed_images_train_as_those_on_the_devices(built: Path, images: Path) -> None:
    arguments = "--data-dir", str(images), "--devices", "2"
    streamed = trained(built, "streamed", "--stream", *arguments)
    assert distance(trained(built, "resident", "--no-stream", *arguments), streamed) < 1e-9


def test_local_batch_norm_is_another_run(built: Path, alone: Tensors) -> None:
    tensors = trained(built, "local", "--devices", "2", "--local-batch-norm")
    assert distance(tensors, alone) > 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "3"), "cannot be divided among 3 devices, each with a multiple of 2 images"),
        (("--devices", "2", "--xla", "on"), "--xla on: XLA compiles for one device"),
        (("--device", "gpu"), "TensorFlow finds no GPU"),
    ],
)
def test_what_cannot_be_shared_out_is_said(
    built: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "train.py", *arguments],
        cwd=built,
        capture_output=True,
        text=True,
        env=environment(CUDA_VISIBLE_DEVICES=""),
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def processes(
    folder: Path, output: str, *arguments: str, dies: int | None = None
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start two processes of one training, one of which may die; none is left behind."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        program = interrupted(SIGKILL, 7) if index == dies else ("train.py",)
        started.append(
            subprocess.Popen(
                command("--output", output, *arguments, program=program),
                cwd=folder,
                env=environment(TF_CONFIG=json.dumps(task)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stderr
            process.stderr.close()


def test_two_processes_train_as_one_and_go_on_when_one_was_killed(
    built: Path, alone: Tensors
) -> None:
    arguments = "two", "--log-every", "1", "--checkpoint-every", "5", "--evaluate-every", "20"
    with processes(built, *arguments, dies=1) as (first, _):
        _, message = first.communicate(timeout=300)
        assert first.returncode == LOST, message
        assert message.splitlines()[-1].endswith(
            "another process was lost: start all again to go on"
        )
    with processes(built, *arguments) as both:
        messages = [process.communicate()[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], messages
    assert "going on after step 5" in messages[0]
    assert distance(result(built / "two"), alone) < 1e-9
