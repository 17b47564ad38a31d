"""The TensorFlow backend writes every operation with its NumPy meaning, and its code trains.

TensorFlow runs in processes of its own: imported into this one it would slow all other tests.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from signal import SIGTERM
from typing import Any

import numpy as np
import pytest

from ranspec.codegen.classes import ClassText, write_classes
from ranspec.codegen.render import render_files, template_environment
from ranspec.codegen.training import TrainingContext, training_context
from ranspec.ir import operations as ops
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.ir.trace import OperationNode, Trace
from ranspec.runtime import checkpoint
from ranspec.runtime.run import INTERRUPTED
from ranspec.spec import load_spec
from ranspec_tensorflow import BACKEND
from tests.interrupted import interrupted
from tests.ir.test_operation_gradients import (
    CASES,
    Case,
    largest_error,
    random_arrays,
    random_inputs,
)

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "backends/ranspec_tensorflow/runtime"
TOLERANCES = {"float64": 1e-12, "float32": 1e-4}

needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None or find_spec("keras") is None, reason="needs TensorFlow"
)


def process(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])},
    )


def written(case: Case, number: int) -> ClassText:
    """Write a layer that does nothing but one operation."""
    inputs = tuple("xyzuv"[: len(case.inputs)])
    output = case.operation.infer(*(tuple(map(Dimension, sizes)) for sizes in case.inputs))
    node = OperationNode("layer", case.operation, tuple(range(len(inputs))), len(inputs))
    trace = Trace(
        class_name=f"Case{number}",
        description="One operation.",
        arguments={},
        inputs=inputs,
        nodes=(node,),
        sizes=(*case.inputs, tuple(size.value for size in output)),
        output=len(inputs),
        output_shape=output,
    )
    (text,) = write_classes(Graph("cases", trace), BACKEND)
    return replace(text, is_network=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return, for each floating type, arrays under the number of a case and their names."""
    folder = tmp_path_factory.mktemp("cases")
    source = template_environment("ranspec_tensorflow").get_template("model.py.j2")
    source_text = source.render(
        docstring='"""Every operation."""',
        classes=[written(case, number) for number, case in enumerate(CASES)],
        layers=list(BACKEND.layers),
    )
    (folder / "cases.py").write_text(source_text)
    for module in ("layers.py", "weights.py"):
        (folder / module).write_text((RUNTIME / module).read_text())
    done = process("-m", "tests.backends.tensorflow_operations", str(folder), *TOLERANCES)
    assert done.returncode == 0, done.stderr
    return {dtype: dict(np.load(folder / f"{dtype}.npz")) for dtype in TOLERANCES}


def test_every_operation_is_written_and_tried() -> None:
    assert set(BACKEND.operations) | {ops.Gate} == set(ops.ALL)
    assert {type(case.operation) for case in CASES} == set(ops.ALL)


@needs_tensorflow
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_operation_is_its_numpy_meaning(
    number: int, dtype: str, results: dict[str, dict[str, Any]]
) -> None:
    case = CASES[number]
    arrays = random_arrays(case.operation)
    output, saved = case.operation.forward(arrays, *random_inputs(case), training=case.training)
    gradient = np.cos(np.arange(output.size)).reshape(output.shape)
    by_inputs, by_arrays = case.operation.backward(arrays, saved, gradient)
    expected = {"output": output}
    expected |= {f"input{position}": array for position, array in enumerate(by_inputs)}
    others = {**arrays, **by_arrays, **case.operation.updated_statistics(arrays, saved)}
    expected |= {f"layer.{name}": array for name, array in others.items()}
    prefix = f"{number}/"
    found = {
        name.removeprefix(prefix): array
        for name, array in results[dtype].items()
        if name.startswith(prefix)
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == dtype
        assert largest_error(found[name], array) < TOLERANCES[dtype], name


def variants() -> Iterator[TrainingContext]:
    for kind, smoothed, dropout in itertools.product(
        ("sgd", "adam", "rmsprop"), (False, True), (False, True)
    ):
        changes = [f"train.optimizer.kind={kind}"]
        if smoothed:
            changes.append("train.label_smoothing=0.1")
        if dropout:
            changes.append("head.dropout=0.5")
        spec = load_spec("attention_digits", changes).spec
        for model_class in ("Tiny", "Tiny" + "x" * 60):
            context = training_context(spec, digest="5" * 64, model_class=model_class)
            yield context
            yield replace(context, accumulated=True, clipped=True, averaged=True)


def test_training_code_of_every_variant_is_clean_formatted_and_short(tmp_path: Path) -> None:
    for module in render_files(load_spec("attention_digits"), BACKEND):
        if module.endswith(".py"):
            (tmp_path / module).touch()
    template = template_environment("ranspec_tensorflow").get_template("train.py.j2")
    for index, context in enumerate(variants()):
        code = template.render(training=context)
        assert len(code.splitlines()) < 200
        (tmp_path / f"variant{index}.py").write_text(code)
    for command in (["check"], ["format", "--diff"]):
        ruff = ["-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "pyproject.toml"), "."]
        done = process(*ruff, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_template_of_training_hardly_decides_anything() -> None:
    template = (ROOT / "backends/ranspec_tensorflow/templates/train.py.j2").read_text()
    assert template.count("{% if") + template.count("{% elif") < 10


TINY = """
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
  iterations: 30
  learning_rate: {kind: step, initial: 0.05, factor: 0.1, at: [20]}
  label_smoothing: 0.05
  clean_labels: 0.95
"""

ADAM = """
  optimizer: {kind: adam}
"""


def build(folder: Path, spec: str) -> Path:
    (folder / "tiny.yaml").write_text(spec)
    for name, text in render_files(load_spec(folder / "tiny.yaml"), BACKEND).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), TINY)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return process("train.py", "--device", "cpu", *arguments, folder=folder)


def ended_by_a_signal(folder: Path, *arguments: str) -> None:
    """Start training, and end it by SIGTERM after some steps."""
    program = interrupted(SIGTERM, 3)
    ended = process(*program, "--device", "cpu", *arguments, folder=folder)
    assert ended.returncode == INTERRUPTED, ended.stderr


@needs_tensorflow
def test_a_run_that_was_ended_goes_on_bit_for_bit(built: Path) -> None:
    whole = run(built, "--output", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "test accuracy:" in whole.stdout
    assert "what it was taken for" in (built / "whole" / "report.html").read_text()
    parts = "--output", "parts", "--log-every", "1"
    ended_by_a_signal(built, *parts, "--iterations", "20")
    stopped, _ = checkpoint.load(built / "parts" / "checkpoint.safetensors")
    rest = run(built, *parts)
    assert rest.returncode == 0, rest.stderr
    expected, manifest = checkpoint.load(built / "whole" / "checkpoint.safetensors")
    resumed, _ = checkpoint.load(built / "parts" / "checkpoint.safetensors")
    assert manifest.step == 30
    assert all(np.array_equal(resumed[name], expected[name]) for name in expected)
    assert any(not np.array_equal(resumed[name], stopped[name]) for name in stopped)
    lines = (built / "parts" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert len(losses) == 30
    assert losses[-1] < losses[0]


@needs_tensorflow
def test_weights_are_evaluated_alone(built: Path) -> None:
    trained = run(built, "--output", "evaluated", "--iterations", "3")
    assert trained.returncode == 0, trained.stderr
    found = run(built, "--weights", "evaluated/checkpoint.safetensors", "--evaluate")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] in trained.stdout.splitlines()


@needs_tensorflow
def test_adam_in_bfloat16_keeps_weights_and_state_in_float32(tmp_path: Path) -> None:
    done = run(build(tmp_path, TINY + ADAM), "--output", "run", "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr
    tensors, _ = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")
    assert any(name.startswith("optimizer.second_moment.") for name in tensors)
    learned = {name: array for name, array in tensors.items() if not name.startswith("data.")}
    assert all(array.dtype == np.float32 for array in learned.values())
    assert all(np.isfinite(array).all() for array in learned.values())


@needs_tensorflow
def test_what_the_user_did_wrong_is_said_without_a_traceback(built: Path) -> None:
    failed = run(built, "--resume", "absent.safetensors")
    assert failed.returncode == 2
    assert failed.stderr.endswith("error: absent.safetensors: no such file\n")
    assert "Traceback" not in failed.stderr
