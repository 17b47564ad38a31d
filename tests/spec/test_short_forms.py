"""What may be written shorter means what it means in full."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ranspec.spec import DEFAULT, Origin, SpecError, available_specs, load_spec, packaged_specs
from ranspec.spec.attention import Attention, LocalConvolutionMask
from ranspec.spec.units import Basic, Bottleneck

from .conftest import BASE, Write


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("unit=basic", "unit={kind: basic}"),
        ("attention.mask=local_convolution", "attention.mask={kind: local_convolution}"),
        ("attention.mask.pool=average", "attention.mask.pool={kind: average}"),
        ("stem.pool=max", "stem.pool={kind: max}"),
        ("stages.stage2.unit=convolution", "stages.stage2.unit={kind: convolution}"),
        ("train.optimizer=adam", "train.optimizer={kind: adam}"),
        ("train.learning_rate=0.05", "train.learning_rate={initial: 0.05}"),
        ("train.learning_rate=1", "train.learning_rate={initial: 1.0}"),
        ("train.initialization=normal", "train.initialization={kind: normal}"),
        ("input=48", "input={height: 48, width: 48}"),
        ("train={data: digits, validation: 9, early_stopping: 5.0}",
         "train={data: digits, validation: 9, early_stopping: {patience: 5}}"),
        ("train.iterations=1e5", "train.iterations=100000"),
        ("attention.t=3.0", "attention.t=3"),
        ("head.hidden=[1e2, 64]", "head.hidden=[100, 64]"),
        ("train.learning_rate.at=[3.2e4, 48e3]", "train.learning_rate.at=[32000, 48000]"),
        ("train.optimizer.weight_decay=1e-4", "train.optimizer.weight_decay=0.0001"),
    ],
)  # fmt: skip
def test_a_short_form_is_the_full_one(write: Write, short: str, full: str) -> None:
    path = write()
    assert load_spec(path, [short]).digest == load_spec(path, [full]).digest


def test_a_short_form_merges_and_replaces_as_the_full_one_does(write: Write) -> None:
    path = write(BASE + "  learning_rate: {kind: exponential, initial: 1, factor: 0.5, every: 9}\n")
    spec = load_spec(path, ["train.learning_rate=0.5"]).spec
    assert spec == load_spec(path, ["train.learning_rate.initial=0.5"]).spec
    child = write("extends: a.yaml\nunit: basic\nstages: {stage1: {unit: bottleneck}}\n", "b.yaml")
    assert load_spec(child).spec.unit == Basic(kind="basic")
    assert load_spec(child).locate("unit", "kind") == Origin("b.yaml", 2, 7)


def test_a_fraction_is_no_whole_number(write: Write) -> None:
    with pytest.raises(SpecError, match=r"found 2\.5 \(a number\), expected an integer"):
        load_spec(write(), ["attention.t=2.5"])


# --- stages


def test_a_stage_changes_the_networks_attention_and_unit(write: Write) -> None:
    text = BASE.replace("mask_depth: 2\n", "mask_depth: 2\n    attention: {r: 3}\n    unit: {}\n")
    loaded = load_spec(write(f"{text}attention: {{t: 5, r: 2}}\nunit: {{kind: bottleneck}}\n"))
    stage = loaded.spec.stages["stage1"]
    assert stage.attention == Attention(t=5, r=3)
    assert stage.unit == Bottleneck(kind="bottleneck")
    assert loaded.origins["stages", "stage1", "attention", "t"] == Origin("a.yaml", 16, 16)
    assert loaded.origins["stages", "stage1", "attention", "p"] == DEFAULT


def test_another_kind_in_a_stage_replaces_the_networks(write: Write) -> None:
    changed = ["stages.stage1.attention.mask=local_convolution", "attention.mask.bottom_units=3"]
    changed += ["stages.stage1.unit=basic", "unit.reduction=2"]
    stage = load_spec(write(), changed).spec.stages["stage1"]
    assert stage.attention
    assert stage.attention.mask == LocalConvolutionMask()
    assert stage.unit == Basic(kind="basic")


def test_a_mistake_in_the_network_is_told_once(write: Write) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(), ["attention.t=x", "stages.stage1.attention.r=2"])
    assert [problem.key for problem in caught.value.problems] == ["attention.t"]


# --- names of specs


def test_a_shipped_spec_is_extended_by_name_from_anywhere(write: Write) -> None:
    path = write("extends: attention56_cifar\nname: mine\n", "deep/er/mine.yaml")
    loaded = load_spec(path)
    assert loaded.files == (path, packaged_specs() / "attention56_cifar.yaml")
    path = write("extends: yeah2020/attention56_cifar\n", "mine.yaml")
    assert load_spec(path).digest == load_spec("yeah2020/attention56_cifar").digest


@pytest.mark.parametrize("name", available_specs([packaged_specs()]))
def test_a_copied_spec_works(write: Write, name: str) -> None:
    original = packaged_specs() / f"{name}.yaml"
    copy = write(original.read_bytes(), f"copies/{original.name}")
    assert load_spec(copy).digest == load_spec(original).digest


def test_a_name_is_looked_up_beside_a_spec_first(write: Write) -> None:
    write(BASE, "own/attention56_cifar.yaml")
    child = write("extends: attention56_cifar\n", "own/child.yaml")
    assert load_spec(child).spec.name == "small"
    again = write("extends: attention56_cifar\n", "specs/attention56_cifar.yaml")
    assert load_spec(again).spec.name == "attention56_cifar"


def test_a_shipped_spec_extends_shipped_ones_whatever_lies_around(write: Write) -> None:
    write(BASE, "specs/attention56_cifar.yaml")
    shipped = packaged_specs() / "attention92_cifar.yaml"
    assert load_spec(shipped).spec.stages["stage1"].units_after == 1


def test_a_name_that_extends_nothing_is_told_with_the_nearest(write: Write) -> None:
    with pytest.raises(SpecError, match=r"a\.yaml:1:10: extends: 'attention56_cifer': no spec of"):
        load_spec(write("extends: attention56_cifer\n"))


def test_a_spec_is_read_from_standard_input(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    text = io.TextIOWrapper(io.BytesIO(b"extends: a.yaml\nname: piped\n"))
    monkeypatch.setattr(sys, "stdin", text)
    loaded = load_spec("-", ["attention.t=3"])
    assert (loaded.spec.name, loaded.spec.attention.t) == ("piped", 3)
    assert str(loaded.locate("name")) == "<stdin>:2:7"
    assert loaded.files == (Path("<stdin>"), Path("a.yaml"))
