"""Every generated model, made by its framework, holds exactly the counted parameters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import pytest

from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.spec import load_spec, packaged_specs
from tests.rendering import SPECS, TRAINING, rendered

FRAMEWORKS = {"torch": "torch", "tensorflow": "keras", "jax": "flax"}

PROLOGUE = """
import json, math, os, sys
from pathlib import Path
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
folder, *names = sys.argv[1:]
sys.path.insert(0, folder)
import weights

def make(path, class_name):
    namespace = {"__name__": "model"}
    exec(compile(path.read_text(), path, "exec"), namespace)
    return instance(namespace[class_name])

"""
INSTANCES = {
    "torch": """
import torch

def instance(network):
    with torch.device("meta"):
        return network()

def trainable(model):
    return sum(parameter.numel() for parameter in model.parameters())
""",
    "tensorflow": """
import keras

# A network is built when it is called; Keras would have it run once more for that.
keras.Model.build = lambda model, shape: setattr(model, "built", True)

def instance(network):
    return network()

def trainable(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
""",
    "jax": """
import jax
import numpy as np
from flax import nnx

def empty(key, shape, *dtype, **more):
    return np.broadcast_to(np.float32(0), shape)

# Drawing initial weights would take most of the time.
for layer in (nnx.Conv, nnx.Linear):
    layer.__init__.__kwdefaults__ |= {"kernel_init": empty, "bias_init": empty}

def instance(network):
    return network(rngs=nnx.Rngs(0))

def trainable(model):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
""",
}
EPILOGUE = """
result = {}
for name in names:
    model = make(Path(folder, f"{name}.py"), name)
    result[name] = [trainable(model), weights.shapes(model)]
print(json.dumps(result))
"""


@cache
def compiled(spec: str) -> Graph:
    return compile_spec(load_spec(packaged_specs() / f"{spec}.yaml"))


@cache
def specs_for(backend: str) -> dict[str, str]:
    """Return, by a name for each, one spec of those whose networks are the same but for classes.

    Keras takes minutes for thousands of layers: it gets those that differ in more than how often
    they repeat their parts, up to a thousand arrays.
    """
    found: dict[object, str] = {}
    for spec in sorted(SPECS, key=lambda spec: len(compiled(spec).tensors)):
        model = rendered(spec, backend)["model.py"].replace(class_of(spec), "Network")
        model = re.sub(r"classes: int = \d+", "classes: int", model)
        body: object = re.sub(r'"""[^"]*(".*")?[^"]*"""', "", model)
        if backend == "tensorflow":
            if len(compiled(spec).tensors) > 1000:
                continue
            body = frozenset(re.findall(r"\b(?!range|Input)\w+\([^()=]*\)", str(body)))
        found.setdefault(body, spec)
    return {f"Network{number}": spec for number, spec in enumerate(found.values())}


def class_of(spec: str) -> str:
    return compiled(spec).definitions[-1].class_name


@pytest.mark.parametrize("backend", TRAINING)
def test_instances_hold_exactly_the_counted_parameters(backend: str, tmp_path: Path) -> None:
    if find_spec(FRAMEWORKS[backend]) is None:
        pytest.skip(f"{FRAMEWORKS[backend]} is not installed")
    instances = measured(backend, tmp_path)
    for name, spec in specs_for(backend).items():
        tensors = compiled(spec).tensors
        trainable, shapes = instances[name]
        assert {key: tuple(shape) for key, shape in shapes.items()} == {
            key: tensor.shape for key, tensor in tensors.items()
        }, spec
        sizes = [prod(tensor.shape) for tensor in tensors.values() if tensor.trainable]
        assert trainable == sum(sizes), spec


def measured(backend: str, folder: Path) -> Any:
    """Return trainable parameters and canonical shapes of every network, in one process."""
    for name, spec in specs_for(backend).items():
        files = rendered(spec, backend)
        model = files["model.py"].replace(f"class {class_of(spec)}(", f"class {name}(")
        (folder / f"{name}.py").write_text(model)
        for other, text in files.items():
            if other.endswith(".py") and other not in ("model.py", "train.py"):
                (folder / other).write_text(text)
    script = PROLOGUE + INSTANCES[backend] + EPILOGUE
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script, str(folder), *specs_for(backend)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])
