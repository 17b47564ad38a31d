"""A run, survived, resumed and refused, with a training in NumPy."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranspec.runtime import checkpoint
from ranspec.runtime.folder import FolderError
from ranspec.runtime.run import RunError
from tests.runtime.training import Settings, start, train


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run but for its speeds, which no two runs share."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "images_per_second"}
        for line in lines
    ]


def signalled(step: int, *numbers: int) -> Callable[[int], None]:
    """Return what sends this process signals after a step."""

    def send(done: int) -> None:
        if done == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return send


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The folder of a run that nothing disturbed."""
    train(Settings(output=tmp_path / "whole"))
    return tmp_path / "whole"


def tensors(folder: Path) -> tuple[dict[str, Any], checkpoint.Manifest]:
    return checkpoint.load(folder / "checkpoint.safetensors")


def same_result(one: Path, other: Path) -> bool:
    """Tell whether two runs ended with the same bits, and wrote the same metrics."""
    (first, _), (second, _) = tensors(one), tensors(other)
    equal = all(np.array_equal(first[name], second[name]) for name in first | second)
    return equal and records(one) == records(other)


def test_a_run_keeps_the_newest_checkpoints_and_the_best(whole: Path) -> None:
    names = sorted(path.name for path in whole.iterdir())
    assert names == [
        *(".lock", "best.safetensors", "checkpoint-38.safetensors", "checkpoint.safetensors"),
        *("config.json", "metrics.jsonl"),
    ]
    config = json.loads((whole / "config.json").read_text())
    assert (config["state"], config["step"], config["framework"]) == ("finished", 40, "numpy")
    _, best = checkpoint.load(whole / "best.safetensors")
    results = {r["step"]: r["test_accuracy"] for r in records(whole) if "test_accuracy" in r}
    assert best.step == max(results, key=lambda step: results[step])


@pytest.mark.parametrize("step", [0, 6, 7, 38])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_after_the_step_and_the_run_goes_on(
    whole: Path, tmp_path: Path, step: int, number: int
) -> None:
    settings = Settings(output=tmp_path / "parts")
    with pytest.raises(SystemExit) as ended:
        train(settings, after=signalled(step, number))
    assert ended.value.code == 75
    assert tensors(tmp_path / "parts")[1].step == step + 1
    train(settings)
    assert same_result(whole, tmp_path / "parts")


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    settings = Settings(output=tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        train(settings, after=signalled(20, signal.SIGINT, signal.SIGINT))
    assert ended.value.code == 130
    assert tensors(tmp_path / "run")[1].step == 20


def test_blocks_of_steps_are_the_same_run(whole: Path, tmp_path: Path) -> None:
    train(Settings(output=tmp_path / "blocks"), most=7)
    assert same_result(whole, tmp_path / "blocks")


def test_a_finished_run_says_so(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train(Settings(output=whole))
    assert ended.value.code == 0
    assert "finished after 40 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed: 0 there, 1 here"),
        ({"batch_size": 4}, "--batch-size: 8 there, 4 here"),
        ({"precision": "float32"}, "--precision: float64 there, float32 here"),
        ({"images": "others"}, "data: images there, others here"),
        ({"iterations": 20}, "--iterations: 40 steps taken there, 20 asked for here"),
    ],
)
def test_another_run_is_refused_and_nothing_changed(
    whole: Path, change: dict[str, Any], message: str
) -> None:
    before = {path: path.read_bytes() for path in whole.iterdir() if path.name != ".lock"}
    with pytest.raises(RunError, match=message):
        start(replace(Settings(output=whole), **change))
    assert {path: path.read_bytes() for path in before} == before


def test_more_iterations_go_on(whole: Path, tmp_path: Path) -> None:
    options = {"log_every": 2, "evaluate_every": 2}
    train(Settings(output=whole, iterations=60, **options))
    train(Settings(output=tmp_path / "long", iterations=60, **options))
    assert same_result(whole, tmp_path / "long")


def test_more_iterations_are_refused_where_the_past_would_have_been_another(
    tmp_path: Path,
) -> None:
    settings = Settings(output=tmp_path / "run", cosine=True)
    train(settings)
    with pytest.raises(RunError, match="the 40 steps taken would have had other learning rates"):
        start(replace(settings, iterations=60))


def test_settings_that_change_no_result_may_differ(whole: Path, tmp_path: Path) -> None:
    settings = Settings(output=tmp_path / "run")
    with pytest.raises(SystemExit):
        train(settings, after=signalled(11, signal.SIGTERM))
    other = replace(settings, keep=5, checkpoint_minutes=0.0, nap=1e-4)
    train(other, framework="another")
    assert same_result(whole, tmp_path / "run")


def test_overwrite_begins_anew_and_leaves_what_is_not_the_runs(whole: Path) -> None:
    (whole / "notes.txt").write_text("mine")
    train(Settings(output=whole, seed=1, overwrite=True))
    assert (whole / "notes.txt").read_text() == "mine"
    assert tensors(whole)[1].seed == 1
    assert not (whole / ".replaced").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FolderError, match=r"holds 'thesis.tex' and is no run's folder"):
        start(Settings(output=tmp_path, overwrite=overwrite))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("step", [3, 17])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, step: int) -> None:
    settings = Settings(output=tmp_path / "run", spoil=step, log_every=5, evaluate_every=5)
    with pytest.raises(SystemExit) as ended:
        train(settings)
    assert ended.value.code == 1
    report = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert (report["step"], report["loss"]) == (step, "nan")
    assert report["tensors"] == ["optimizer.momentum.weights", "weights"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["state"] == "diverged"
    kept = list((tmp_path / "run").glob("*.safetensors"))
    assert bool(kept) == (step > 5)
    for path in kept:
        assert all(np.isfinite(array).all() for array in checkpoint.load(path)[0].values())
