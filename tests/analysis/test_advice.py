"""What is legal but surely not meant is told where it was written, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranspec.analysis.advice import advice
from ranspec.analysis.count import count
from ranspec.compile import compile_spec
from ranspec.spec import Problem, available_specs, load_spec, packaged_specs

RESNET18 = """\
name: resnet18
source: He et al., CVPR 2016
input: 224
classes: 1000
stem: {channels: 64, kernel: 7, stride: 2, pool: max}
unit: basic
stages:
  stage1: {channels: 64, units: 2}
  stage2: {channels: 128, units: 2, stride: 2}
  stage3: {channels: 256, units: 2, stride: 2}
  stage4: {channels: 512, units: 2, stride: 2}
head: {normalization: false}
train:
  data: imagenet
"""


def told(path: Path, *overrides: str) -> tuple[Problem, ...]:
    loaded = load_spec(path, overrides)
    return advice(loaded, count(compile_spec(loaded)))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("a.yaml")


@pytest.mark.parametrize("name", available_specs([packaged_specs()]))
def test_there_is_nothing_to_say_of_a_shipped_spec(name: str) -> None:
    assert told(packaged_specs() / f"{name}.yaml") == ()


def test_the_resnet_that_everyone_writes_first_has_a_second_norm(write: Path) -> None:
    write.write_text(RESNET18)
    assert told(write) == ()
    write.write_text(RESNET18.replace("head: {normalization: false}\n", ""))
    (warning,) = told(write)
    assert count(compile_spec(load_spec(write))).trainable_parameters == 11_690_536
    assert str(warning).startswith("a.yaml:6:7: head.normalization: a second BN-ReLU, 1,024 param")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1000\n", "10\n", "4:10: classes: imagenet has 1,000 classes, the network 10"),
        ("channels: 128, units: 2, stride: 2", "channels: 128, units: 0, modules: 1, mask_depth: "
         "1, stride: 2", "9:72: stages.stage2.stride: a stage without units before its modules "
         "keeps the size; write units: 1"),
        ("channels: 64, units: 2", "channels: 64, mask_depth: 2", "8:38: stages.stage1.mask_depth: "
         "the stage has no attention modules; write modules: 1"),
        ("imagenet\n", "imagenet\n  initialization: {kind: normal, fan: in}\n",
         "15:39: train.initialization.fan: kind normal has no fan; it starts all layers with "
         "deviation"),
        ("imagenet\n", "imagenet\n  initialization: {deviation: 0.1}\n", "15:31: "
         "train.initialization.deviation: kind he_normal takes its deviation from fan; write "
         "kind: normal"),
        ("imagenet\n", "imagenet\nbatch_norm: {momentum: 0.9}\n", "15:24: batch_norm.momentum: 0.9 "
         "is the weight of the new batch here; where the old statistics have this weight, write "
         "0.1"),
        ("imagenet\n", "imagenet\n  iterations: 90_000".replace("_", "") + "\n", "15:15: "
         "train.learning_rate.at: training ends at 90000, before the rate falls at 96000"),
        ("imagenet\n", "imagenet\n  learning_rate: {at: [2e5]}\n", "15:19: train.learning_rate.at: "
         "training ends at 160000, before the rate falls at 200000"),
        ("imagenet\n", "imagenet\n  learning_rate: {at: [100], warmup: {iterations: 500, rate: "
         "0.01}}\n", "15:30: train.learning_rate.warmup: the warm-up lasts until after the rate "
         "falls at 100"),
        ("imagenet\n", "imagenet\n  optimizer: adam\n", "15:14: train.learning_rate.initial: a "
         "rate of 0.1 is high for Adam, whose authors take 0.001"),
        ("imagenet\n", "imagenet\npaper: {parameters: 12.5e6}\n", "15:21: paper.parameters: the "
         "source prints 12,500,000, the network has 11,689,512 (-6.5%)"),
    ],
)  # fmt: skip
def test_what_is_surely_not_meant_is_told(write: Path, old: str, new: str, expected: str) -> None:
    assert old in RESNET18
    write.write_text(RESNET18.replace(old, new))
    assert [str(problem) for problem in told(write)] == [f"a.yaml:{expected}"]


def test_digits_are_not_to_be_mirrored(write: Path) -> None:
    write.write_text(RESNET18.replace("imagenet", "digits").replace("1000", "10"))
    (warning,) = told(write)
    assert str(warning).startswith("a.yaml:14:9: train.augmentation.flip: mirrored digits")


def test_a_difference_that_is_explained_is_no_news(write: Path) -> None:
    write.write_text(f"{RESNET18}paper: {{parameters: 20e6, comment: of two such networks}}\n")
    assert told(write) == ()


def test_advice_on_an_override_points_into_it(write: Path) -> None:
    write.write_text(RESNET18)
    (warning,) = told(write, "classes=12")
    assert warning.report(label="warning: ").splitlines() == [
        "--set classes=12: warning: classes: imagenet has 1,000 classes, the network 12",
        "  --set classes=12",
        "                ^",
    ]
