"""Trunk, mask and gated features are those of PyTorch's modules."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from ranspec.compile import compile_spec
from ranspec.pictures.activations import activations
from ranspec.pictures.modules import ModuleError, chosen_modules, fusions
from ranspec.spec import load_spec
from ranspec.verify.experiment import random_state
from tests.pictures.conftest import Sample


def test_they_are_pytorchs(sample: Sample, dtype: str) -> None:
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    found = list(fusions(sample.graph, sample.weights, sample.images))
    assert [item.module for item in found] == list(chosen_modules(sample.graph, []))
    for item in found:
        assert sample.relative_difference(f"{item.module}.trunk", item.trunk) < tolerance
        assert sample.relative_difference(f"{item.module}.mask", item.mask) < tolerance


def test_what_goes_on_is_the_trunk_weighted_by_the_mask(sample: Sample) -> None:
    residual = sample.loaded.spec.attention.learning == "residual"
    for item in fusions(sample.graph, sample.weights, sample.images):
        weight = 1 + item.mask if residual else item.mask
        assert np.array_equal(item.gated, weight * item.trunk)


def test_modules_are_chosen_by_their_paths_or_those_of_stages() -> None:
    graph = compile_spec(load_spec("attention92_cifar"))
    every = ("stage1.1", "stage1.2", "stage2.1", "stage2.2", "stage3.1", "stage3.2")
    assert chosen_modules(graph, []) == every
    assert chosen_modules(graph, ["stage2", "stage1.2"]) == every[1:4]


@pytest.mark.parametrize(
    ("spec", "names", "message"),
    [
        ("attention_digits", ["stage1.11"], "no attention module 'stage1.11'; did you mean"),
        ("attention_digits", ["head"], "there are stage1.1, stage2.1"),
        ("baselines/resnet164_cifar", [], "resnet164_cifar has no attention module"),
    ],
)
def test_a_module_that_is_not_there_is_told(spec: str, names: list[str], message: str) -> None:
    with pytest.raises(ModuleError, match=message):
        chosen_modules(compile_spec(load_spec(spec)), names)


def test_values_are_kept_no_longer_than_layers_need_them() -> None:
    graph = compile_spec(load_spec("attention_digits"))
    kept: list[weakref.ref[np.ndarray]] = []
    alive = []
    for found in activations(graph, random_state(graph, 0), np.ones((1, 1, 8, 8))):
        kept.append(weakref.ref(found.output))
        alive.append(sum(reference() is not None for reference in kept))
    assert len(kept) > 100
    assert max(alive) < 10
