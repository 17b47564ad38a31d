"""Validation, plateau schedules and early stopping, in every backend's generated code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.runtime import checkpoint
from ranspec.spec import load_spec

SPEC = """
name: tiny
source: A test
input: {height: 8, width: 8, channels: 1}
classes: 10
stem: {channels: 4, kernel: 3}
stages:
  stage1: {channels: 4, units: 1}
train:
  data: digits
  batch_size: 200
  iterations: 200
  validation: 400
  learning_rate: {kind: plateau, initial: 0.3, factor: 0.5, patience: 1, least: 0.04}
  early_stopping: {patience: 3, restore_best: true}
  augmentation: {pad: 0, shift: 0.1, rotation: 10, flip: false}
"""

EPOCH = (1437 - 400) // 200

Records = list[dict[str, Any]]


def run(folder: Path, *arguments: str) -> Records:
    command = [sys.executable, "-W", "error", "train.py", "--device", "cpu", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    output = folder / arguments[arguments.index("--output") + 1]
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("backend", ["torch", "tensorflow", "jax"])
def test_a_stopped_run_tests_its_best_epoch_and_a_resumed_one_ends_as_it(
    backend: str, tmp_path: Path
) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    (tmp_path / "tiny.yaml").write_text(SPEC)
    for name, text in render_files(
        load_spec(tmp_path / "tiny.yaml"), load_backend(backend)
    ).items():
        (tmp_path / name).write_text(text)
    whole = run(tmp_path, "--output", "whole")
    tensors, manifest = checkpoint.load(tmp_path / "whole" / "checkpoint.safetensors")
    _, best = checkpoint.load(tmp_path / "whole" / "best.safetensors")

    epochs = [record for record in whole if "validation_accuracy" in record]
    accuracies = [record["validation_accuracy"] for record in epochs]
    assert [record["step"] for record in epochs] == [
        EPOCH * (index + 1) for index in range(len(epochs))
    ]
    assert manifest.progress is not None
    assert manifest.progress["best_accuracy"] == max(accuracies)
    assert manifest.progress["best_step"] == best.step
    assert accuracies.index(max(accuracies)) == len(epochs) - 4 == best.step // EPOCH - 1
    assert manifest.step == epochs[-1]["step"] < 200
    rates = {record["learning_rate"] for record in whole if "learning_rate" in record}
    assert rates <= {0.3, 0.15, 0.075, 0.04}
    assert len(rates) > 1
    assert "test_accuracy" in whole[-1]

    middle = best.step + 2
    run(tmp_path, "--output", "parts", "--iterations", str(middle))
    resumed = run(tmp_path, "--output", "others", "--resume", "parts/checkpoint.safetensors")
    again, manifest_again = checkpoint.load(tmp_path / "others" / "checkpoint.safetensors")
    assert manifest_again == manifest
    assert all(np.array_equal(again[name], tensors[name]) for name in tensors)
    assert resumed[-1] == whole[-1]
    ended = run(tmp_path, "--output", "more", "--resume", "others/checkpoint.safetensors")
    assert ended[-1] == whole[-1]
