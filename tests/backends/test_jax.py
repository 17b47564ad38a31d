"""The JAX backend writes every operation with its NumPy meaning, and its code trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ranspec.codegen.classes import ClassText, write_classes
from ranspec.codegen.render import render_files, template_environment
from ranspec.codegen.training import RUNTIME_MODULES, training_context
from ranspec.ir import operations as ops
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.ir.trace import OperationNode, Trace
from ranspec.runtime import checkpoint
from ranspec.spec import LoadedSpec, load_spec
from ranspec_jax import BACKEND
from tests.interrupted import interrupted
from tests.ir.test_operation_gradients import (
    CASES,
    Case,
    largest_error,
    random_arrays,
    random_inputs,
)

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
pytest.importorskip("optax")

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-12


def written(case: Case, number: int) -> ClassText:
    """Write a class that does nothing but one operation."""
    inputs = tuple("xyzuv"[: len(case.inputs)])
    shapes = [tuple(map(Dimension, sizes)) for sizes in case.inputs]
    output = case.operation.infer(*shapes)
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
    return write_classes(Graph("cases", trace), BACKEND)[-1]


def model_source() -> str:
    return (
        template_environment("ranspec_jax")
        .get_template("model.py.j2")
        .render(
            docstring='"""Every operation."""',
            classes=[written(case, number) for number, case in enumerate(CASES)],
            imports=list(BACKEND.imports.values()),
            layers=list(BACKEND.layers),
        )
    )


def inward(array: Any) -> Any:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def outward(array: Any) -> Any:
    return np.asarray(array).transpose(0, 3, 1, 2) if array.ndim == 4 else np.asarray(array)


@pytest.fixture(scope="module")
def float64() -> Iterator[None]:
    options = ("jax_enable_x64", "jax_disable_most_optimizations")
    for option in options:
        jax.config.update(option, True)
    yield
    for option in options:
        jax.config.update(option, False)


@pytest.fixture(scope="module")
def models(float64: None) -> Iterator[list[Any]]:
    from ranspec_jax.runtime import layers, weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "layers", layers)
        cases = ModuleType("cases")
        patch.setitem(sys.modules, "cases", cases)
        exec(model_source(), cases.__dict__)
        built = []
        for number, case in enumerate(CASES):
            model = weights.abstract(getattr(cases, f"Case{number}"))
            arrays = random_arrays(case.operation)
            weights.load(model, {f"layer.{name}": array for name, array in arrays.items()})
            # The meaning of dropout is the identity; its masks are another test's.
            dropout = isinstance(case.operation, ops.Dropout)
            model.train() if case.training and not dropout else model.eval()
            built.append(model)
        yield built


@pytest.fixture(scope="module")
def results(models: list[Any]) -> list[tuple[Any, list[Any], dict[str, Any]]]:
    """Return of each case the output, the inputs' gradients, and the rest by canonical names.

    The rest is gradients of parameters and new statistics. All is compiled at once.
    """
    from ranspec_jax.runtime import weights

    parts = [nnx.split(model, nnx.Param, ...) for model in models]

    def forward(graph: Any, rest: Any, parameters: Any, inputs: Any) -> Any:
        # Variables may only change in the trace that made them.
        model = nnx.merge(graph, parameters, jax.tree.map(jax.numpy.asarray, rest))
        return model(*inputs), nnx.split(model, nnx.Param, ...)[2]

    def compute(states: list[Any], inputs: list[Any]) -> list[Any]:
        computed = []
        for (graph, _, _), (parameters, rest), values in zip(parts, states, inputs, strict=True):
            function = partial(forward, graph, rest)
            output, pull, moved = jax.vjp(function, parameters, values, has_aux=True)
            computed.append((output, *pull(cotangent(output)), moved))
        return computed

    states = [(parameters, rest) for _, parameters, rest in parts]
    inputs = [[inward(array) for array in random_inputs(case)] for case in CASES]
    computed = jax.device_get(jax.jit(compute)(states, inputs))
    return [
        (output, by_input, weights.state(nnx.merge(graph, by_parameter, moved)))
        for (graph, _, _), (output, by_parameter, by_input, moved) in zip(
            parts, computed, strict=True
        )
    ]


def cotangent(output: Any) -> Any:
    """Return a gradient of the output that no symmetry hides in."""
    return np.cos(np.arange(output.size)).reshape(output.shape)


def test_every_operation_is_written_and_tried() -> None:
    assert set(BACKEND.operations) | {ops.Gate} == set(ops.ALL)
    assert {type(case.operation) for case in CASES} == set(ops.ALL)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_operation_is_its_numpy_meaning(number: int, results: list[Any]) -> None:
    case = CASES[number]
    arrays = random_arrays(case.operation)
    output, by_input, others = results[number]
    expected, saved = case.operation.forward(arrays, *random_inputs(case), training=case.training)
    gradient = outward(cotangent(output))
    expected_inputs, expected_arrays = case.operation.backward(arrays, saved, gradient)
    assert output.dtype == np.float64
    assert largest_error(outward(output), expected) < TOLERANCE
    for found, wanted in zip(by_input, expected_inputs, strict=True):
        assert largest_error(outward(found), wanted) < TOLERANCE
    statistics = case.operation.updated_statistics(arrays, saved)
    for name, wanted in {**expected_arrays, **statistics}.items():
        assert largest_error(others[f"layer.{name}"], wanted) < TOLERANCE, name


@pytest.mark.parametrize(("platform", "convolves"), [("cpu", False), ("gpu", True)])
def test_pointwise_convolution_is_a_product_on_cpus_alone(
    platform: str, convolves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ranspec_jax.runtime.layers import PointwiseConv

    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    layer = PointwiseConv(3, 4, strides=2, rngs=nnx.Rngs(0))
    written = jax.make_jaxpr(layer)(np.zeros((2, 5, 4, 3), np.float32))
    assert [array.shape for array in written.out_avals] == [(2, 3, 2, 4)]
    assert ("conv_general_dilated" in str(written)) == convolves


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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.yaml").write_text(TINY)
    for name, text in render_files(load_spec(folder / "tiny.yaml"), BACKEND).items():
        (folder / name).write_text(text)
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "train.py", "--device", "cpu"]
    return subprocess.run(
        [*command, "--cache-dir", "cache", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def variants() -> dict[str, LoadedSpec]:
    """Return specs that ask for each thing that train.py has a condition on."""
    asked = (
        ["optimizer.kind=adam"],
        ["optimizer.kind=rmsprop", "data=imagenet"],
        ["label_smoothing=0", "iterations=100000000"],
    )
    return {
        f"variant{index}": load_spec("attention_digits", [f"train.{item}" for item in items])
        for index, items in enumerate([[], *asked])
    }


def test_training_code_of_every_variant_is_clean_and_formatted(tmp_path: Path) -> None:
    copied = ("augment", "devices", "layers", "losses", "model", "recipe", "run", "updates")
    for module in (*copied, "weights", *(Path(name).stem for name in RUNTIME_MODULES)):
        (tmp_path / f"{module}.py").write_text("")
    template = template_environment("ranspec_jax").get_template("train.py.j2")
    lengths = set()
    for name, loaded in variants().items():
        context = training_context(loaded.spec, digest="0" * 64, model_class="Variant" + "x" * 53)
        text = template.render(training=context)
        lengths.add(len(text.splitlines()))
        (tmp_path / f"{name}.py").write_text(text)
    assert max(lengths) < 200
    for command in (["check"], ["format", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache"]
        done = subprocess.run(
            [*ruff, "--config", str(ROOT / "pyproject.toml"), "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_ended_by_a_signal_goes_on_and_ends_bit_for_bit_as_an_unbroken_one(
    built: Path,
) -> None:
    whole = run(built, "--output", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "test accuracy:" in whole.stdout
    options = ["--device", "cpu", "--cache-dir", "cache", "--output", "parts", "--log-every", "1"]
    command = [sys.executable, *interrupted(signal.SIGTERM, 5), *options]
    assert subprocess.run(command, cwd=built, capture_output=True).returncode == 75
    rest = run(built, "--output", "parts", "--log-every", "1")
    assert rest.returncode == 0, rest.stderr
    expected, manifest = newest(built / "whole")
    resumed, again = newest(built / "parts")
    assert (manifest.step, again.step) == (30, 30)
    assert expected.keys() == resumed.keys()
    assert all(np.array_equal(resumed[name], expected[name]) for name in expected)
    lines = (built / "parts" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert len(losses) == 30
    assert losses[-1] < losses[0]


LOWERING = """
import jax.export, recipe, sys, train
from devices import put_data
settings = train.Settings(device="cpu", precision=sys.argv[1], compile_cache=False)
devices = train.Devices.choose(settings)
model = train.make_model(settings)
devices.prepare(model)
optimizer = train.make_optimizer(model, settings)
training, _, _ = put_data(recipe.load(settings, settings), devices)
steps = train.CompiledSteps(
    train.train_step, train.training_batch, model, optimizer, settings, devices
)
with training.ahead(recipe.draw, settings, range(2)) as made:
    batches = devices.put_steps(list(made))
arguments = steps.arrays, (*batches, devices.put([0.1, 0.1])), training.arrays
exported = jax.export.export(steps.compiled, platforms=["cuda"])(*arguments)
print(exported.platforms, exported.out_avals[-1])
"""


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_steps_are_lowered_for_a_gpu_where_there_is_none(precision: str, built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOWERING, precision], cwd=built, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "('cuda',) float32[2]\n"


def newest(folder: Path) -> tuple[dict[str, Any], checkpoint.Manifest]:
    """Return the last checkpoint of a run."""
    return max(map(checkpoint.load, folder.glob("*.safetensors")), key=lambda item: item[1].step)


def test_what_the_user_did_wrong_is_said_without_a_traceback(built: Path) -> None:
    failed = run(built, "--resume", "absent.safetensors", "--output", "other")
    assert (failed.returncode, failed.stderr) == (2, "error: absent.safetensors: no such file\n")
