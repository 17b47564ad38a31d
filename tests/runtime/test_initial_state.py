"""A generated program starts as the operations say: in their values, and in what decays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranspec.analysis.interpreter import initial_state
from ranspec.codegen.build import build
from ranspec.compile import compile_spec
from ranspec.spec import load_spec
from tests.rendering import TRAINING

SPEC = "attention_digits"
OVERRIDES = [
    "attention.activation=spatial",
    "attention.normalization.affine=position",
    "stem.bias=true",
]
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import train, weights
model = train.make_model(train.Settings())
state = weights.state(model).items()
sums = {name: [float(array.sum()), list(array.shape)] for name, array in state}
print(json.dumps({"state": sums, "kernels": weights.kernels(model)}))
"""


@pytest.mark.parametrize("backend", TRAINING)
def test_a_program_starts_as_the_operations_say(backend: str, tmp_path: Path) -> None:
    loaded = load_spec(SPEC, OVERRIDES)
    graph = compile_spec(loaded)
    folder = build(loaded, backend, tmp_path / "code").folder
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    expected = initial_state(graph, loaded.spec.train)
    assert found["state"] == {
        name: [pytest.approx(float(array.sum()), rel=1e-5, abs=1e-4), list(array.shape)]
        for name, array in expected.items()
    }
    decaying = {name: list(item.shape) for name, item in graph.tensors.items() if item.spec.decays}
    assert found["kernels"] == decaying
