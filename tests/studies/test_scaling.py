"""A recipe is shortened in proportion, and stays one."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ranspec.spec import load_spec
from ranspec.studies.scaling import ScaleError, parse_scale, shortened

WARM = "train.learning_rate={kind: cosine, initial: 0.1, warmup: {iterations: 500, rate: 0.01}}"
STEPS = "train.learning_rate.at=[100, 200, 300]"


@pytest.mark.parametrize(
    ("text", "scale"),
    [("1", 1), ("1/50", Fraction(1, 50)), ("0.02", Fraction(1, 50)), (" 1/2", 0.5)],
)
def test_a_scale_is_a_share(text: str, scale: Fraction) -> None:
    assert parse_scale(text) == scale


@pytest.mark.parametrize(
    "text", ["0", "2", "51/50", "abc", "", "-1", "1/0", "0/5", "nan", "inf", "1e-3", "1//2", "½"]
)
def test_no_other_text_is_a_scale(text: str) -> None:
    with pytest.raises(ScaleError, match="more than 0 and at most 1"):
        parse_scale(text)


@pytest.mark.parametrize(
    ("spec", "override", "scale", "changes"),
    [
        ("attention56_cifar", "classes=10", "1", []),
        ("attention56_cifar", "classes=10", "1/50", ["iterations=3200", "at=[1280, 1920]"]),
        ("attention56_cifar", STEPS, "1/1000", ["iterations=160", "at=[1, 2, 3]"]),
        ("attention56_cifar", WARM, "1/50", ["iterations=3200", "warmup.iterations=10"]),
        ("attention56_cifar", WARM, "1/1000", ["iterations=160", "warmup.iterations=1"]),
        ("lzlz2020/attention56_cifar", "classes=10", "1/2", ["iterations=93750", "patience=4"]),
        ("edirisooriya2017/attn_simple", "classes=200", "1/100", ["iterations=781", "every=10"]),
    ],
)
def test_times_are_multiplied(spec: str, override: str, scale: str, changes: list[str]) -> None:
    train = load_spec(spec, [override]).spec.train
    found = shortened(train, parse_scale(scale))
    assert [
        change.removeprefix("train.").removeprefix("learning_rate.") for change in found
    ] == changes
    load_spec(spec, [override, *found])


def test_early_stopping_keeps_its_patience() -> None:
    train = load_spec("yeah2020/attention56_cifar").spec.train
    assert not [change for change in shortened(train, Fraction(1, 50)) if "stopping" in change]
