"""A layer that is used twice is one layer: its weights are counted once, its gradients added."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ranspec.analysis.count import count
from ranspec.analysis.interpreter import backward, forward, updated_statistics
from ranspec.codegen.backend import CodeBackend, installed_backends
from ranspec.codegen.classes import write_classes
from ranspec.codegen.render import template_environment
from ranspec.ir.builder import Builder, BuildError, NetworkSettings, Tracer, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.ir.verifier import verify_graph

BACKENDS = {
    backend.name: backend for backend in installed_backends() if isinstance(backend, CodeBackend)
}
SETTINGS = NetworkSettings(epsilon=1e-5, momentum=0.1)


@block
def inner(b: Builder, x: Value, *, channels: Dimension) -> Value:
    """Two convolutions that share their weights and their batch norm."""
    y = b.relu(b.batch_norm("norm", b.convolution("conv", x, channels, kernel=3)))
    return b.add(x, b.again("norm", b.again("conv", y)))


@block
def twin(b: Builder, x: Value) -> Value:
    """A block, and a row of blocks, that are used twice each."""
    y = b.call("part", inner(channels=x.channels), x)
    z = b.again("part", b.sequence("parts", [inner(channels=x.channels)] * 2, y))
    return b.linear("classifier", b.global_average_pool(b.again("parts", b.add(y, z))), 3)


@cache
def graph() -> Graph:
    return Graph("twin", Tracer(SETTINGS).trace(twin(), [(6, 5, 4)]))


def state() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    return {
        name: random.uniform(0.5, 1.5, tensor.shape) if tensor.spec.shape else np.zeros(())
        for name, tensor in graph().tensors.items()
    }


def images() -> np.ndarray:
    return np.random.default_rng(6).normal(size=(7, 4, 6, 5))


def cotangent() -> np.ndarray:
    return np.random.default_rng(7).normal(size=(7, 3))


def test_weights_are_owned_and_counted_once() -> None:
    verify_graph(graph())
    counted = count(graph())
    part = 4 * 4 * 9 + 2 * 4
    assert counted.trainable_parameters == 3 * part + 4 * 3 + 3
    assert counted.batch_norm_statistics == 3 * 2 * 4
    assert sum(row.cost.parameters for row in counted.rows("layer")) == 3 * part + 15
    assert counted.macs == 6 * (2 * 4 * 4 * 9 * 6 * 5) + 4 * 3
    assert [name for name in graph().tensors if name.startswith("part.")] == [
        "part.conv.weight",
        "part.norm.weight",
        "part.norm.bias",
        "part.norm.running_mean",
        "part.norm.running_var",
    ]


def test_gradients_are_the_slopes_of_the_output() -> None:
    arrays = state()

    def value(changed: dict[str, np.ndarray]) -> float:
        return float(
            (forward(graph(), changed, images(), training=True).output * cotangent()).sum()
        )

    evaluation = forward(graph(), arrays, images(), training=True)
    gradients = backward(graph(), arrays, evaluation, cotangent())
    random = np.random.default_rng(8)
    for name, gradient in gradients.items():
        direction = random.normal(size=gradient.shape)
        ahead, behind = (
            value({**arrays, name: arrays[name] + step * direction}) for step in (1e-6, -1e-6)
        )
        slope = (gradient * direction).sum()
        assert (ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_is_made_once_and_called_twice(backend: str) -> None:
    first, network = write_classes(graph(), BACKENDS[backend])
    body = "\n".join(first.statements)
    assert sum("self.conv = " in line for line in first.assignments) == 1
    assert body.count("self.conv(") == body.count("self.norm(") == 2
    assert sum("self.parts = " in line for line in network.assignments) == 1
    assert "\n".join(network.statements).count("self.parts(") == 2


SCRIPT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
folder = sys.argv[1]
sys.path.insert(0, folder)
given = dict(np.load(f"{folder}/given.npz"))
images, cotangent = given.pop("images"), given.pop("cotangent")
"""
FRAMEWORKS = {
    "torch": """
import torch
import weights
from model import Twin

model = Twin().double()
weights.load(model, given)
output = model(torch.from_numpy(images))
(output * torch.from_numpy(cotangent)).sum().backward()
found = {f"gradient.{name}": p.grad.numpy() for name, p in model.named_parameters()}
found["output"] = output.detach().numpy()
""",
    "tensorflow": """
import keras
keras.config.set_floatx("float64")
import tensorflow as tf
import weights
from model import Twin

model = Twin()
weights.load(model, given)
with tf.GradientTape() as tape:
    output = model(images.transpose(0, 2, 3, 1), training=True)
    loss = tf.reduce_sum(output * cotangent)
found = {"output": output.numpy()}
""",
    "jax": """
import jax
jax.config.update("jax_enable_x64", True)
from flax import nnx
import weights
from model import Twin

model = weights.abstract(Twin)
weights.load(model, given)
model.train()
output = model(images.transpose(0, 2, 3, 1))
found = {"output": np.asarray(output)}
""",
}
SAVE = """
found |= {f"state.{name}": array for name, array in weights.state(model).items()}
np.savez(f"{folder}/found.npz", **found)
"""


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_every_framework_uses_it_as_the_reference_does(backend: str, tmp_path: Path) -> None:
    if any(find_spec(name) is None for name in BACKENDS[backend].requirements):
        pytest.skip(f"{backend} is not installed")
    write_model(backend, tmp_path)
    arrays = state()
    np.savez(tmp_path / "given.npz", images=images(), cotangent=cotangent(), **arrays)
    script = SCRIPT + FRAMEWORKS[backend] + SAVE
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    found = dict(np.load(tmp_path / "found.npz"))
    evaluation = forward(graph(), arrays, images(), training=True)
    expected = {"output": evaluation.output}
    expected |= {
        f"state.{name}": array
        for name, array in updated_statistics(graph(), arrays, evaluation).items()
    }
    gradients = backward(graph(), arrays, evaluation, cotangent())
    expected |= {f"gradient.{name}": array for name, array in gradients.items()}
    assert {name for name in expected if not name.startswith("gradient.")} <= set(found)
    for name in expected.keys() & found.keys():
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def write_model(backend: str, folder: Path) -> None:
    found = BACKENDS[backend]
    environment = template_environment(found.package)
    spec = {"input": {"height": 6, "width": 5, "channels": 4}}
    (folder / "model.py").write_text(
        environment.get_template("model.py.j2").render(
            docstring='"""Shared layers."""',
            classes=write_classes(graph(), found),
            imports=list(found.imports.values()),
            layers=[name for name in found.layers if name != "Block"],
            spec=spec,
        )
    )
    runtime = Path(__file__).parents[2] / "backends" / found.package / "runtime"
    for path in (*runtime.glob("*.py"), *(Path("ranspec/runtime").glob("*.py"))):
        if path.name != "__init__.py":
            (folder / path.name).write_text(path.read_text())


def test_an_onnx_model_holds_its_arrays_once() -> None:
    pytest.importorskip("onnxruntime")
    from ranspec_onnx import BACKEND
    from ranspec_onnx.model import IMAGES, LOGITS, write_model
    from ranspec_onnx.probe import evaluate

    model = write_model(graph(), BACKEND, state(), {}, double=True)
    assert sorted(array.name for array in model.graph.initializer) == sorted(graph().tensors)
    found = evaluate(model, {LOGITS: LOGITS}, {IMAGES: images()})[LOGITS]
    expected = forward(graph(), state(), images(), training=False).output
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_what_was_not_made_cannot_be_used_again() -> None:
    @block
    def part(b: Builder, x: Value) -> Value:
        """A part."""
        return b.again("conv", x)

    with pytest.raises(BuildError, match="part has no layer 'conv' to use again"):
        Tracer(SETTINGS).trace(part(), [(6, 5, 4)])


def test_a_layer_is_not_used_again_for_another_shape() -> None:
    @block
    def part(b: Builder, x: Value) -> Value:
        """A part."""
        return b.again("conv", b.convolution("conv", x, 8, kernel=1))

    with pytest.raises(BuildError, match=r"'conv' was made for \[\(6, 5, 4\)\]; it cannot be"):
        Tracer(SETTINGS).trace(part(), [(6, 5, 4)])
