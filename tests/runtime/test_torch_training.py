"""PyTorch's generated training: clean in every variant, and the same run however often it ends."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files, template_environment
from ranspec.codegen.training import TrainingContext, training_context
from ranspec.runtime import checkpoint
from ranspec.spec import load_spec
from ranspec.spec.model import ConvolutionStem, Head, Input, Spec, Stage
from ranspec.spec.training import Training
from ranspec.verify.probe import imported

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]

SPEC = """
name: tiny
source: A test
input: {height: 8, width: 8, channels: 1}
classes: 10
stem: {channels: 8, kernel: 3}
stages:
  stage1: {channels: 8, units: 1}
head: {dropout: 0.1}
train:
  data: digits
  batch_size: 32
  iterations: 40
  micro_batches: 2
  gradient_clipping: 1.0
  weight_average: 0.9
  label_smoothing: 0.05
  clean_labels: 0.9
  augmentation: {mixup: 0.2}
  test: {crops: 10, size: 0.75}
"""


def context(**recipe: Any) -> TrainingContext:
    spec = Spec(
        name="tiny",
        source="",
        input=Input(height=8, width=8, channels=1),
        classes=10,
        stem=ConvolutionStem(channels=8),
        stages={"stage1": Stage(channels=8)},
        head=Head(),
        train=Training.model_validate({"data": "digits", "iterations": 40, **recipe}),
    )
    return training_context(spec, digest="5" * 64, model_class="Tiny")


def render(training: TrainingContext) -> str:
    template = template_environment("ranspec_torch").get_template("train.py.j2")
    return template.render(training=training)


def variants() -> dict[str, TrainingContext]:
    optimizers = ("sgd", "adam", "rmsprop")
    flags = ("smoothed", "dropout", "accumulated", "clipped", "averaged")
    choices = itertools.product((False, True), repeat=len(flags))
    return {
        f"variant{index}": replace(
            context(optimizer={"kind": kind}),
            **dict(zip(flags, chosen, strict=True)),
            model_class=name,
        )
        for index, (kind, chosen, name) in enumerate(
            itertools.product(optimizers, choices, ("Tiny", "Tiny" + "x" * 60))
        )
    }


def test_every_variant_is_clean_formatted_and_short(tmp_path: Path) -> None:
    for name, training in variants().items():
        (tmp_path / f"{name}.py").write_text(render(training))
    for module in render_files(write_spec(tmp_path), load_backend("torch")):
        if module.endswith(".py"):
            (tmp_path / module).touch()
    for command in (["check", "--no-cache"], ["format", "--diff", "--no-cache"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*ruff, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert max(len(path.read_text().splitlines()) for path in tmp_path.glob("variant*.py")) < 200
    template = (ROOT / "backends/ranspec_torch/templates/train.py.j2").read_text()
    assert template.count("{% if") + template.count("{% elif") < 10


def test_only_what_a_recipe_needs_is_rendered() -> None:
    plain = render(context())
    for name in ("manual_seed", "label_smoothing", "Adam", "RMSprop", "ranspec"):
        assert name not in plain


def test_a_model_class_that_is_no_identifier_is_refused() -> None:
    spec = load_spec("attention92_cifar").spec
    with pytest.raises(ValueError, match="not an identifier"):
        training_context(spec, digest="", model_class="A()\nimport os")


def write_spec(folder: Path, text: str = SPEC) -> Any:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return load_spec(path)


def build(folder: Path, text: str = SPEC) -> Path:
    folder.mkdir()
    for name, content in render_files(write_spec(folder, text), load_backend("torch")).items():
        (folder / name).write_text(str(content))
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "tiny")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "train.py", "--device", "cpu", *arguments]
    environment = {"OMP_NUM_THREADS": "1", "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def whole(built: Path) -> Path:
    done = run(built, "--output", "whole", "--profile", "2")
    assert done.returncode == 0, done.stderr
    assert "test accuracy:" in done.stdout
    return built / "whole"


def newest(folder: Path) -> Path:
    return folder / "checkpoint.safetensors"


def test_a_run_that_was_ended_ends_bit_for_bit_where_an_undisturbed_one_does(
    built: Path, whole: Path
) -> None:
    run(built, "--output", "parts", "--iterations", "16")
    rest = run(built, "--output", "parts")
    assert rest.returncode == 0, rest.stderr
    expected, manifest = checkpoint.load(newest(whole))
    resumed, _ = checkpoint.load(newest(built / "parts"))
    assert manifest.step == 40
    assert resumed.keys() == expected.keys()
    assert all(np.array_equal(resumed[name], expected[name]) for name in expected)
    lines = (built / "parts" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert losses[-1] < losses[0]


def test_steps_are_recorded(whole: Path) -> None:
    events = json.loads((whole / "trace.json").read_text())["traceEvents"]
    assert {"ProfilerStep#10", "ProfilerStep#11"} <= {event.get("name") for event in events}


@pytest.mark.parametrize(
    ("precision", "weights", "convolutions"),
    [
        ("auto", "float32", "float32"),
        ("tf32", "float32", "float32"),
        ("bfloat16", "float32", "bfloat16"),
        ("float64", "float64", "float64"),
    ],
)
def test_weights_are_float32_or_better(
    built: Path, precision: str, weights: str, convolutions: str
) -> None:
    with imported(built) as code:
        settings = code.train.Settings(device="cpu", precision=precision)
        place = code.train.choose_place(settings)
        model = place.put(code.train.make_model(settings))
        seen = []
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda *found: seen.append(found[2].dtype))
        images = torch.zeros((4, 1, 8, 8), dtype=place.dtype)
        optimizer = code.train.make_optimizer(model, settings)
        labels = torch.arange(4)
        loss = code.train.train_step(model, optimizer, images, labels, 0.1, settings)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, weights)}
    assert set(seen) == {getattr(torch, convolutions)}
    assert loss.dtype == getattr(torch, weights)


def test_a_checkpoint_is_tested_alone(built: Path, whole: Path) -> None:
    done = run(built, "--evaluate", "--weights", str(newest(whole)))
    assert done.returncode == 0, done.stderr
    lines = (whole / "metrics.jsonl").read_text().splitlines()
    accuracy = json.loads(lines[-1])["test_accuracy"]
    assert done.stdout.startswith(f"test accuracy: {accuracy:.2%}")


def test_to_test_a_checkpoint_takes_no_image_to_train_on(built: Path, whole: Path) -> None:
    for digit in range(10):
        folder = built / "images" / "test" / str(digit)
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 20 * digit, np.uint8)).save(folder / "0.png")
    images = ("--data-dir", "images", "--cache-dir", "cache")
    done = run(built, "--evaluate", "--weights", str(newest(whole)), *images)
    assert done.returncode == 0, done.stderr
    assert "test accuracy:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "absent.safetensors"), "error: absent.safetensors: no such file\n"),
        (("--evaluate",), "error: argument --evaluate: needs --weights\n"),
        (("--device", "gpu"), "error: --device gpu: PyTorch finds no GPU\n"),
        (("--precision", "float8"), "--precision"),
    ],
)
def test_what_the_user_did_wrong_is_said_without_a_traceback(
    built: Path, arguments: tuple[str, ...], message: str
) -> None:
    failed = run(built, *arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
