"""Every spec's generated code takes a training step, in every backend.

PyTorch runs every network whole. TensorFlow runs each with its repetitions cut, for it needs half
a minute to make a deep one. JAX would need as long to compile each: it traces the steps, shapes
alone, and compiles and runs them all where the environment says EXHAUSTIVE (`make exhaustive`);
`tests/verify/test_families.py` runs one of each family in any case.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.spec import LoadedSpec, load_spec, packaged_specs
from tests.rendering import SPECS, TRAINING, write
from tests.serving import Server

FRAMEWORKS = {"torch": "torch", "tensorflow": "keras", "jax": "flax"}
WHOLE = {"torch"}
LARGEST_INPUT = 96
"""Larger images are cut to this size: height and width matter to no class here."""

STRUCTURE = {"input", "stem", "unit", "attention", "stages", "head", "padding", "batch_norm"}
"""What decides a network, but for the number of its classes."""


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


def distinct(whole: bool) -> list[str]:
    """Return a spec for each network."""
    found = {
        repr(loaded(spec, whole).spec.model_dump(include=STRUCTURE)): spec
        for spec in reversed(SPECS)
    }
    return sorted(found.values())


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """A process of each backend, started once for all its networks."""
    processes = {backend: Server("tests.specs.stepping", backend) for backend in TRAINING}
    yield processes
    for process in processes.values():
        process.end()


CASES = [(backend, spec) for backend in TRAINING for spec in distinct(backend in WHOLE)]


@pytest.mark.parametrize(("backend", "spec"), CASES, ids=map("-".join, CASES))
def test_a_network_takes_a_training_step(
    servers: dict[str, Server], backend: str, spec: str, tmp_path: Path
) -> None:
    if find_spec(FRAMEWORKS[backend]) is None:
        pytest.skip(f"{FRAMEWORKS[backend]} is not installed")
    for other in servers.keys() - {backend}:
        servers[other].end()
    case = loaded(spec, backend in WHOLE)
    write(tmp_path / "code", render_files(case, load_backend(backend)))
    run = backend != "jax" or "EXHAUSTIVE" in os.environ
    loss, moved = servers[backend].ask((tmp_path / "code", case.spec.input.height, run))
    assert math.isfinite(loss)
    assert moved
