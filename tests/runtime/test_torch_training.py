import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ranspec.codegen.render import template_environment
from ranspec.codegen.training import RUNTIME_MODULES, training_context
from ranspec.runtime import checkpoint
from ranspec.spec.model import ConvolutionStem, Head, Input, Spec, Stage
from ranspec.spec.training import (
    Adam,
    Augmentation,
    ConstantSchedule,
    EarlyStopping,
    ExponentialSchedule,
    PlateauSchedule,
    RmsProp,
    Sgd,
    StepSchedule,
    Training,
    Warmup,
)

LONG = 0.00012345678901234567
ROOT = Path(__file__).parents[2]

MODEL = '''"""A small network."""

import torch.nn.functional as F
from torch import Tensor, nn


class Tiny(nn.Module):
    """Two convolutions, dropout and a linear layer."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.classifier = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.classifier(F.dropout(x.mean((2, 3)), 0.1, self.training))
'''


def spec(name: str = "tiny", dropout: float = 0.1, classes: int = 10, **recipe: object) -> Spec:
    return Spec(
        name=name,
        source="",
        input=Input(height=8, width=8, channels=1),
        classes=classes,
        stem=ConvolutionStem(channels=8),
        stages={"stage1": Stage(channels=8)},
        head=Head(dropout=dropout),
        train=Training.model_validate({"data": "digits", "iterations": 40, **recipe}),
    )


def render(recipe: Spec, model_class: str = "Tiny") -> str:
    context = training_context(recipe, model_class=model_class)
    return (
        template_environment("ranspec_torch").get_template("train.py.j2").render(training=context)
    )


def build(folder: Path, recipe: Spec, model_class: str = "Tiny") -> None:
    folder.mkdir()
    (folder / "model.py").write_text(MODEL.replace("Tiny", model_class))
    (folder / "train.py").write_text(render(recipe, model_class))
    for module in RUNTIME_MODULES:
        shutil.copy(ROOT / "ranspec/runtime" / module, folder)
    for module in ("augment.py", "weights.py"):
        shutil.copy(ROOT / "backends/ranspec_torch/runtime" / module, folder)


AUGMENTATIONS = (
    Augmentation(),
    Augmentation(pad=0, flip=False),
    Augmentation(color=LONG),
    Augmentation(pad=0, flip=False, color=LONG),
    Augmentation(pad=0, area=(LONG, 1.0), ratio=(LONG + 0.75, LONG + 1.333)),
    Augmentation(pad=0, shift=LONG, zoom=LONG, shear=LONG, rotation=LONG, color=LONG),
)


def variants() -> dict[str, Spec]:
    recipes = itertools.product(
        (
            Sgd(momentum=LONG, weight_decay=LONG),
            Adam(beta1=LONG, beta2=LONG, epsilon=LONG, weight_decay=LONG),
            RmsProp(kind="rmsprop", decay=LONG, epsilon=LONG, weight_decay=LONG),
        ),
        (
            StepSchedule(initial=LONG, factor=LONG, at=(1,)),
            StepSchedule(at=tuple(range(64_000, 64_020))),
            StepSchedule(warmup=Warmup(iterations=100_000_000, rate=LONG)),
            ConstantSchedule(kind="constant", initial=LONG),
            ExponentialSchedule(kind="exponential", initial=LONG, factor=LONG, every=100_000_000),
        ),
        AUGMENTATIONS,
        (0.0, LONG),
        ("digits", "imagenet"),
    )
    validations = itertools.product(
        (
            StepSchedule(),
            PlateauSchedule(kind="plateau", initial=LONG, factor=LONG, patience=10_000, least=LONG),
        ),
        (None, *(EarlyStopping(patience=10_000, restore_best=best) for best in (False, True))),
        ((0.0, Sgd()), (LONG, RmsProp(kind="rmsprop"))),
    )
    validated = {
        f"validated{index}{'_' * 50}": spec(
            f"validated{index}{'_' * 50}",
            validation=100_000_000,
            learning_rate=schedule,
            early_stopping=stopping,
            optimizer=optimizer,
            clean_labels=1.0 - share,
        )
        for index, (schedule, stopping, (share, optimizer)) in enumerate(validations)
    }
    return validated | {
        f"variant{index}{'_' * 50}": spec(
            f"variant{index}{'_' * 50}",
            dropout=share,
            classes=10 if share else 5,
            data=data,
            optimizer=optimizer,
            learning_rate=schedule,
            augmentation=augmentation,
            label_smoothing=share,
            clean_labels=1.0 - share,
            iterations=100_000_000,
            seed=2**31 - 1,
        )
        for index, (optimizer, schedule, augmentation, share, data) in enumerate(recipes)
    }


def test_every_variant_is_clean_and_formatted(tmp_path: Path) -> None:
    for name, recipe in variants().items():
        (tmp_path / f"{name}.py").write_text(render(recipe, "Variant" + "x" * 57))
    for module in (*RUNTIME_MODULES, "augment.py", "weights.py", "model.py"):
        (tmp_path / module).write_text("")
    for command in (["check", "--no-cache"], ["format", "--diff", "--no-cache"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml")]
        done = subprocess.run([*ruff, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_a_recipe_needs_is_rendered() -> None:
    plain = render(spec(dropout=0.0, augmentation=Augmentation(pad=0, flip=False)))
    for name in ("crop_and_flip", "noisy_labels", "manual_seed", "label_smoothing", "Adam"):
        assert name not in plain
    for name in ("warp", "validation", "progress.", "best"):
        assert name not in plain
    assert "color" not in plain
    assert "ranspec" not in plain


def test_a_model_class_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="not an identifier"):
        training_context(spec(), model_class="A()\nimport os")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("built") / "tiny"
    build(folder, spec(label_smoothing=0.05, clean_labels=0.9))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "train.py", "--device", "cpu", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"}
    )


def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(built: Path) -> None:
    whole = run(built, "--output", "whole")
    assert whole.returncode == 0, whole.stderr
    assert "tiny: 5,178 parameters, on cpu" in whole.stdout
    assert "test accuracy:" in whole.stdout
    run(built, "--output", "parts", "--iterations", "16")
    rest = run(built, "--output", "parts", "--resume", "parts/checkpoint.safetensors")
    assert rest.returncode == 0, rest.stderr
    expected, manifest = checkpoint.load(built / "whole" / "checkpoint.safetensors")
    resumed, _ = checkpoint.load(built / "parts" / "checkpoint.safetensors")
    assert manifest.step == 40
    assert all(np.array_equal(resumed[name], expected[name]) for name in expected)
    lines = (built / "parts" / "metrics.jsonl").read_text().splitlines()
    losses = [record["loss"] for record in map(json.loads, lines) if "loss" in record]
    assert len(losses) == 20
    assert losses[-1] < losses[0]


def test_what_the_user_did_wrong_is_said_without_a_traceback(built: Path) -> None:
    failed = run(built, "--resume", "absent.safetensors")
    assert (failed.returncode, failed.stderr) == (2, "error: absent.safetensors: no such file\n")
