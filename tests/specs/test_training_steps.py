"""Every spec's generated code takes a training step, in every backend.

PyTorch runs every network whole. TensorFlow would need half a minute to make a deep one: it runs
networks with their repetitions cut and narrowed, as many as have every class of every spec. JAX
would need as long to compile each: it traces the steps of the same, shapes alone. Where the
environment says EXHAUSTIVE (`make exhaustive`) no network is left out, and JAX runs them too.
`tests/codegen/test_instances.py` makes the networks whole in every backend, and
`tests/verify/test_families.py` runs one of each family.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.compile import compile_spec
from ranspec.ir.definitions import define
from ranspec.ir.graph import unique_traces
from ranspec.spec import LoadedSpec, Spec, load_spec, packaged_specs
from tests.rendering import SPECS, TRAINING, write
from tests.serving import Server

FRAMEWORKS = {"torch": "torch", "tensorflow": "keras", "jax": "flax"}
WHOLE = {"torch"}
EXHAUSTIVE = "EXHAUSTIVE" in os.environ
LARGEST_INPUT = 96
"""Larger images are cut to this size: height and width matter to no class here."""
NARROWING = 4
"""By how much networks that are cut are narrower too: widths are what classes are called with."""

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
        if not whole and not _fixed_widths(full):
            changes.append(f"stages.{name}.channels={stage.channels // NARROWING}")
    for key, most in {"p": 1, "t": 1, "r": 1}.items():
        if not whole and getattr(full.attention, key) > most:
            changes.append(f"attention.{key}={most}")
    if not whole and not _fixed_widths(full):
        changes.append(f"stem.channels={full.stem.channels // NARROWING}")
    return load_spec(path, changes)


def _fixed_widths(spec: Spec) -> bool:
    """Tell whether units have widths of their own, which are not to be more than the stage's."""
    return any(stage.unit and stage.unit.kind == "inception" for stage in spec.stages.values())


def distinct(whole: bool) -> list[str]:
    """Return a spec for each network; of those that are cut, as many as have every class of all."""
    found = {
        repr(loaded(spec, whole).spec.model_dump(include=STRUCTURE)): spec
        for spec in reversed(SPECS)
    }
    return sorted(found.values() if whole or EXHAUSTIVE else covering(found.values()))


def covering(specs: Iterable[str]) -> list[str]:
    """Return specs in whose networks every class is that occurs below a network's own.

    What is left out differs from them in widths, sizes and how often a stage has which of their
    classes; the largest are left out first.
    """
    graphs = {spec: compile_spec(loaded(spec, whole=False)) for spec in specs}
    traces = {spec: unique_traces(graph.root) for spec, graph in graphs.items()}
    classes = define(trace for each in traces.values() for trace in each)
    parts = {
        spec: {classes[trace] for trace in traces[spec]} - {classes[graph.root]}
        for spec, graph in graphs.items()
    }
    kept = sorted(specs, key=lambda spec: (-len(graphs[spec].layers), spec))
    for spec in tuple(kept):
        others = (parts[other] for other in kept if other != spec)
        if parts[spec] <= set().union(*others):
            kept.remove(spec)
    return kept


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
    run = backend != "jax" or EXHAUSTIVE
    loss, moved = servers[backend].ask((tmp_path / "code", case.spec.input.height, run))
    assert math.isfinite(loss)
    assert moved
