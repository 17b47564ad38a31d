"""Responses of stages are those of PyTorch's modules."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.pictures import response
from ranspec.pictures.plot import SUFFIXES
from ranspec.pictures.response import mean_absolute_response, stages
from ranspec.pictures.weights import load_weights
from ranspec.runtime.data import DataOptions, load_data
from ranspec.spec import load_spec
from tests.pictures.conftest import Sample

SPEC = "attention_digits"
SIZE = {"height": 8, "width": 8, "channels": 1}


def test_they_are_those_of_the_stages_outputs_in_pytorch(sample: Sample, dtype: str) -> None:
    found = mean_absolute_response(sample.graph, sample.weights, sample.images)
    assert tuple(found) == stages(sample.graph) == tuple(sample.loaded.spec.stages)
    for stage, value in found.items():
        expected = np.abs(sample.torch[stage].astype("float64")).mean()
        assert value == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)


def test_they_do_not_depend_on_how_many_images_are_evaluated_at_once(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = mean_absolute_response(sample.graph, sample.weights, sample.images)
    monkeypatch.setattr(response, "PIXELS", 1)
    assert mean_absolute_response(sample.graph, sample.weights, sample.images) == pytest.approx(
        together, rel=1e-5
    )


def ranspec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["response", *map(str, arguments)])


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.safetensors"
    made = CliRunner().invoke(app, ["weights", SPEC, "--seed", "7", "-o", str(path)])
    assert made.exit_code == 0
    return path


def test_two_networks_are_told_beside_each_other(weights: Path) -> None:
    options = ("--against-weights", weights, "--count", "9", "--format")
    table = ranspec(SPEC, *options, "table")
    assert table.exit_code == 0, table.stderr
    assert table.stdout.splitlines()[0].endswith("second / first")
    found = json.loads(ranspec(SPEC, *options, "json").stdout)["networks"]
    assert [item["weights"].rpartition(", ")[2] for item in found] == ["seed 0", "seed 7"]
    assert [item["images"] for item in found] == [9, 9]
    lines = list(csv.reader(ranspec(SPEC, *options, "csv").stdout.splitlines()))
    assert lines[0] == ["stage", *(f"{SPEC}, {item['weights']}" for item in found)]
    for stage, *values in lines[1:]:
        assert [float(value) for value in values] == [
            item["mean_absolute_response"][stage] for item in found
        ]
    assert ranspec(SPEC, *options, "markdown").stdout.startswith("| stage |")


def test_images_are_evenly_spaced_ones_of_the_test_set_as_a_run_normalizes_them(
    weights: Path,
) -> None:
    loaded = load_spec(SPEC)
    graph = compile_spec(loaded)
    trained = load_weights(loaded, graph, weights)
    data = load_data("digits", DataOptions(), **SIZE, classes=10, normalization="pixel_mean")
    chosen = data.test.read(np.arange(6) * len(data.test) // 6)
    inputs = (chosen / 255 - data.statistics.mean).astype("float32").transpose(0, 3, 1, 2)
    expected = mean_absolute_response(graph, trained.arrays, inputs)
    result = ranspec(SPEC, "--weights", weights, "--count", "6", "--format", "json")
    (found,) = json.loads(result.stdout)["networks"]
    assert found["mean_absolute_response"] == pytest.approx(expected, rel=1e-5)


def test_overrides_tell_networks_of_one_name_apart(weights: Path) -> None:
    options = ("--set", "attention.learning=naive", "--against", SPEC, "--format", "csv")
    lines = ranspec(SPEC, "--count", "3", *options).stdout.splitlines()
    assert lines[0] == f'stage,"{SPEC}, attention.learning=naive",{SPEC}'


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_plot_is_written_once_and_the_same_each_time(weights: Path, suffix: str) -> None:
    output = weights.with_name(f"plot{suffix}")
    options = (SPEC, "--against-weights", weights, "--count", "2", "-o", output)
    assert ranspec(*options).exit_code == 0
    first = output.read_bytes()
    assert first.startswith({".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])
    assert ranspec(*options).exit_code == 2
    assert ranspec(*options, "--force").exit_code == 0
    assert output.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attention56_cifar",), "cifar10 is not bundled: pass --data-dir DIR"),
        ((SPEC, "--against-weights", "none"), "none: no such file"),
        ((SPEC, "--against", "attention_digit"), "did you mean attention_digits"),
        ((SPEC, "--images", "none.png"), "none.png: No such file"),
        ((SPEC, "-o", "plot.gif"), "does not end in .svg or .png or .pdf"),
    ],
)
def test_what_cannot_be_measured_is_told(
    weights: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = ranspec(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
    assert [path.name for path in weights.parent.iterdir()] == [weights.name]
