"""`ranspec compare`: runs of any backends, from what their folders tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from ranspec.cli.app import app


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(argument) for argument in arguments)])


def run(folder: Path, losses: dict[int, float | None], **config: Any) -> Path:
    folder.mkdir()
    records: list[dict[str, Any]] = [
        {"step": step, "loss": loss, "learning_rate": 0.1, "images_per_second": 10.0 * step}
        for step, loss in losses.items()
    ]
    records += [
        {"step": 2, "test_loss": 1.0, "test_accuracy": 0.9},
        {"step": 4, "test_loss": 1.0, "test_accuracy": 0.8},
    ]
    lines = sorted(records, key=lambda record: record["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = {"network": "net", "digest": "a", "data": "b", "state": "finished", **config}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    one = run(
        *(tmp_path / "one", {2: 2.0, 4: 1.0}),
        framework="torch 2.13.0",
        settings={"seed": 0, "output": "one", "flip": True},
    )
    other = run(
        *(tmp_path / "other", {2: 2.0, 3: 9.0, 4: 1.25}),
        framework="jax 0.10",
        settings={"seed": 1, "output": "other", "flip": True},
    )
    return one, other


def test_runs_are_told_beside_each_other(two: tuple[Path, Path]) -> None:
    found = json.loads(compare(*two, "--format", "json").stdout)
    one = found["runs"][0]
    assert (one["framework"], one["steps"], one["loss"]) == ("torch 2.13.0", 4, 1.0)
    assert one["error"] == pytest.approx(0.2)
    assert (one["best_error"], one["best_step"]) == (pytest.approx(0.1), 2)
    assert one["images_per_second"] == 30.0


def test_curves_part_at_a_step_that_both_have(two: tuple[Path, Path]) -> None:
    (distance,) = json.loads(compare(*two, "--format", "json").stdout)["distances"]
    assert (distance["distance"], distance["step"], distance["steps_compared"]) == (0.25, 4, 2)


def test_what_was_set_otherwise_is_told(two: tuple[Path, Path]) -> None:
    found = json.loads(compare(*two, "--format", "json").stdout)
    assert found["differences"] == {"seed": [0, 1]}


@pytest.mark.parametrize("shape", ["table", "markdown"])
def test_tables_tell_the_same(two: tuple[Path, Path], shape: str) -> None:
    text = compare(*two, "--format", shape).stdout
    for told in ("torch 2.13.0", "jax 0.10", "20.00%", "10.00%", "2.50e-01", "seed"):
        assert told in text


@pytest.mark.parametrize(("tolerance", "code"), [("0.25", 0), ("0.2", 1)])
def test_a_tolerance_decides_the_exit_code(
    two: tuple[Path, Path], tolerance: str, code: int
) -> None:
    assert compare(*two, "--tolerance", tolerance).exit_code == code


def test_runs_without_a_common_step_are_within_no_tolerance(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a", {2: 1.0}), run(tmp_path / "b", {3: 1.0})
    assert compare(one, other).exit_code == 0
    assert compare(one, other, "--tolerance", "1").exit_code == 1


def test_a_run_that_diverged_can_be_compared(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a", {2: 1.0, 4: None}), run(tmp_path / "b", {2: 1.5, 4: 1.0})
    (distance,) = json.loads(compare(one, other, "--format", "json").stdout)["distances"]
    assert distance["distance"] == 0.5


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_curves_are_drawn_into_a_file(two: tuple[Path, Path], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"curves{suffix}"
    assert compare(*two, "-o", file).exit_code == 0
    assert "other test" in file.read_text()
    if suffix == ".svg":
        ElementTree.parse(file)
    assert compare(*two, "-o", file).exit_code == 2
    assert compare(*two, "-o", file, "--force").exit_code == 0


def test_what_is_no_run_is_bad_input(two: tuple[Path, Path], tmp_path: Path) -> None:
    for result in (compare(tmp_path), compare(tmp_path / "absent"), compare()):
        assert result.exit_code == 2
    assert "has no metrics.jsonl" in compare(tmp_path).output
    assert compare(*two, "-o", tmp_path / "x.gif").exit_code == 2
    (two[0] / "config.json").write_text("{")
    result = compare(*two)
    assert result.exit_code == 2
    assert "damaged" in result.output
