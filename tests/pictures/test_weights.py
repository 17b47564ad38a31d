"""Weights are those of the network, or it is told what differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranspec.compile import compile_spec
from ranspec.pictures.weights import WeightsError, initial_weights, load_weights
from ranspec.runtime.checkpoint import CheckpointError, Manifest, save
from ranspec.spec import load_spec
from tests.verify.networks import TINY

LOADED = load_spec(TINY)
GRAPH = compile_spec(LOADED)
ARRAYS = dict(initial_weights(LOADED, GRAPH).arrays)


def saved(path: Path, changes: dict[str, np.ndarray | None], network: str = "tiny") -> Path:
    tensors = {name: array for name, array in {**ARRAYS, **changes}.items() if array is not None}
    save(path, tensors, Manifest(network, step=7, seed=0, batch_size=1))
    return path


def test_averages_take_the_place_of_weights_and_statistics_come_along(tmp_path: Path) -> None:
    name = "head.classifier.weight"
    beside = {"data.mean": np.zeros((1, 1, 3)), "data.scale": np.ones((1, 1, 3))}
    average = {f"average.{name}": ARRAYS[name] + 1, f"optimizer.momentum.{name}": ARRAYS[name]}
    found = load_weights(LOADED, GRAPH, saved(tmp_path / "a.safetensors", {**beside, **average}))
    assert found.arrays.keys() == ARRAYS.keys()
    assert np.array_equal(found.arrays[name], ARRAYS[name] + 1)
    assert found.statistics is not None
    assert found.origin.endswith("a.safetensors, after 7 steps")


@pytest.mark.parametrize("learning", ["residual", "naive"])
def test_it_is_known_where_another_spec_has_trained_them(tmp_path: Path, learning: str) -> None:
    path = tmp_path / "weights.safetensors"
    manifest = Manifest("tiny", step=7, seed=0, batch_size=1, digest=LOADED.digest)
    save(path, ARRAYS, manifest)
    changed = load_spec(TINY, [f"attention.learning={learning}"])
    assert load_weights(changed, GRAPH, path).other_spec == (learning == "naive")
    assert not load_weights(changed, GRAPH, saved(path, {})).other_spec


@pytest.mark.parametrize("stopping", [False, True])
def test_of_a_run_they_are_those_that_it_was_tested_with(tmp_path: Path, stopping: bool) -> None:
    changes = ["train.validation=5", "train.early_stopping={patience: 1, restore_best: true}"]
    loaded = load_spec(TINY, changes if stopping else [])
    for name in ("best", "checkpoint"):
        saved(tmp_path / f"{name}.safetensors", {})
    origin = load_weights(loaded, GRAPH, tmp_path).origin
    assert Path(origin.partition(",")[0]).stem == ("best" if stopping else "checkpoint")


@pytest.mark.parametrize(
    ("changes", "network", "message"),
    [
        (
            {
                "stem.conv.weight": np.ones((8, 3, 3, 3)),
                "head.classifier.bias": None,
                "more": np.ones(1),
            },
            "other",
            "weights of other, not of tiny: tensor stem.conv.weight has shape [8, 3, 3, 3], the "
            "network needs [4, 3, 3, 3]; tensor head.classifier.bias is missing; "
            "tensor more has no place in the network",
        ),
        ({}, "other", "weights of other, not of tiny"),
        (
            {"head.classifier.bias": np.full(5, np.nan, dtype=np.float32)},
            "tiny",
            "tensor head.classifier.bias has infinite numbers or NaN",
        ),
        (dict.fromkeys(ARRAYS), "tiny", "is missing; and "),
    ],
    ids=["tensors", "name", "numbers", "all"],
)
def test_those_of_another_network_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray | None], network: str, message: str
) -> None:
    path = saved(tmp_path / "weights.safetensors", {**changes, "data.mean": np.ones(1)}, network)
    with pytest.raises(WeightsError) as caught:
        load_weights(LOADED, GRAPH, path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_where_there_are_none_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no folder of a run"):
        load_weights(LOADED, GRAPH, tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_weights(LOADED, GRAPH, tmp_path / "none.safetensors")
