"""Every spec's generated code takes a training step, in every backend.

PyTorch runs every network whole. TensorFlow runs each with its repetitions cut, for it needs half
a minute to make a deep one. JAX would need as long to compile each: it traces the steps, shapes
alone, and compiles and runs them all where the environment says EXHAUSTIVE (`make exhaustive`);
`tests/verify/test_families.py` runs one of each family in any case.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.compile import compile_spec
from ranspec.spec import LoadedSpec, load_spec, packaged_specs
from tests.rendering import SPECS, TRAINING, write

FRAMEWORKS = {"torch": "torch", "tensorflow": "keras", "jax": "flax"}
WHOLE = {"torch"}
LARGEST_INPUT = 96
"""Larger images are cut to this size: height and width matter to no class here."""

COMMON = """
import importlib, json, math, os, sys
import numpy as np

def batch(train):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, size, size, train.CHANNELS)).astype(np.float32)
    return images, generator.integers(0, train.CLASSES, 2)

results = {}
for folder in sys.argv[1:]:
    size, run = json.load(open(f"{folder}/plan"))
    sys.path.insert(0, folder)
    mine = {name.removesuffix(".py") for name in os.listdir(folder)}
    train = importlib.import_module("train")
    importlib.import_module("weights")
    results[folder] = take_step(train, train.Settings(), *batch(train), run)
    sys.path.remove(folder)
    for name in mine & set(sys.modules):
        del sys.modules[name]
print(json.dumps(results))
"""
STEPS = {
    "torch": """
import torch

def network(train):
    return next(v for k, v in vars(train).items() if getattr(v, "__module__", "") == "model")

def take_step(train, settings, images, labels, run):
    model = network(train)()
    optimizer = train.make_optimizer(model, settings)
    before = next(iter(model.parameters())).detach().clone()
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    loss = train.train_step(model, optimizer, images, torch.from_numpy(labels), 0.01, settings)
    return float(loss), bool((next(iter(model.parameters())) != before).any())
""",
    "tensorflow": """
import os
os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
import tensorflow as tf

def network(train):
    return next(v for k, v in vars(train).items() if getattr(v, "__module__", "") == "model")

def take_step(train, settings, images, labels, run):
    model = network(train)()
    optimizer = train.make_optimizer(model, settings)
    before = model.trainable_variables[0].numpy()
    images, labels = tf.constant(images), tf.constant(labels)
    loss = train.train_step(model, optimizer, images, labels, tf.constant(0.01), settings)
    return float(loss), bool((model.trainable_variables[0].numpy() != before).any())
""",
    "jax": """
import jax
import numpy as np
from flax import nnx

jax.config.update("jax_disable_most_optimizations", True)

def take_step(train, settings, images, labels, run):
    model = train.make_model(settings)
    optimizer = train.make_optimizer(model, settings)
    before = np.array(jax.tree.leaves(nnx.state(model, nnx.Param))[0])
    if not run:
        rest = images, labels, 0.01, settings
        loss = nnx.eval_shape(lambda *parts: train.train_step(*parts, *rest), model, optimizer)
        return (0.0 if loss.shape == () and loss.dtype == np.float32 else math.nan), True
    step = nnx.jit(train.train_step, static_argnames="settings")
    loss = step(model, optimizer, images, labels, 0.01, settings=settings)
    after = np.array(jax.tree.leaves(nnx.state(model, nnx.Param))[0])
    return float(loss), bool((after != before).any())
""",
}


@cache
def loaded(spec: str, whole: bool) -> LoadedSpec:
    """Load a spec for small images; unless `whole`, with its repetitions cut.

    What is left is two units, one attention module and one unit after it in each stage, and
    attention modules with one unit before, in and after each branch.
    """
    path = packaged_specs() / f"{spec}.yaml"
    full = load_spec(path).spec
    size = min(full.input.height, LARGEST_INPUT)
    changes = [f"input.height={size}", f"input.width={size}"]
    for name, stage in full.stages.items():
        for key, most in {"units": 2, "units_after": 1, "modules": 1}.items():
            if not whole and getattr(stage, key) > most:
                changes.append(f"stages.{name}.{key}={most}")
    for key, most in {"p": 1, "t": 1, "r": 1}.items():
        if not whole and getattr(full.attention, key) > most:
            changes.append(f"attention.{key}={most}")
    return load_spec(path, changes)


@cache
def distinct(whole: bool) -> dict[str, str]:
    """Return, by a name for its folder, a spec for each network but for the number of classes."""
    found: dict[str, str] = {}
    for spec in SPECS:
        graph = compile_spec(loaded(spec, whole))
        blocks = [definition.trace.description for definition in graph.definitions[:-1]]
        layers = [(layer.operation.label, layer.output) for layer in graph.layers[:-1]]
        shapes = [tensor.shape for tensor in list(graph.tensors.values())[:-2]]
        found.setdefault(repr((blocks, layers, shapes)), spec)
    return {re.sub(r"\W", "_", spec): spec for spec in found.values()}


@pytest.mark.parametrize("backend", TRAINING)
def test_every_network_takes_a_training_step(backend: str, tmp_path: Path) -> None:
    if find_spec(FRAMEWORKS[backend]) is None:
        pytest.skip(f"{FRAMEWORKS[backend]} is not installed")
    whole = backend in WHOLE
    files = {
        name: render_files(loaded(spec, whole), load_backend(backend))
        for name, spec in distinct(whole).items()
    }
    run = backend != "jax" or "EXHAUSTIVE" in os.environ
    for name, texts in files.items():
        write(tmp_path / name, texts)
        size = loaded(distinct(whole)[name], whole).spec.input.height
        (tmp_path / name / "plan").write_text(json.dumps([size, run]))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    folders = {str(tmp_path / name): spec for name, spec in distinct(whole).items()}
    command = [sys.executable, "-c", STEPS[backend] + COMMON, *folders]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    for folder, (loss, moved) in json.loads(result.stdout.splitlines()[-1]).items():
        spec = folders[folder]
        assert math.isfinite(loss), spec
        assert moved, spec
