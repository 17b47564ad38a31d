"""An operation says all that is known about it, in its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from ranspec.ir import operations as ops
from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import KEEPS_OUTPUT, Kept, Operation, ParameterSpec, Positionwise

FACTS = [
    "arity",
    "backward",
    "counts_in_depth",
    "flops",
    "forward",
    "infer",
    "keeps",
    "label",
    "macs",
    "parameters",
    "reach",
    "trunk",
]


def test_a_class_that_says_nothing_is_refused_with_all_that_is_missing() -> None:
    with pytest.raises(TypeError, match=f"operation Mute does not say: {', '.join(FACTS)} "):

        class Mute(Operation):
            pass


@pytest.mark.parametrize("fact", ["label", "cost", "keeps", "forward", "backward"])
def test_a_class_that_lacks_one_fact_is_refused(fact: str) -> None:
    body: dict[str, Any] = {
        "label": "twice",
        "cost": 1,
        "keeps": KEEPS_OUTPUT,
        "forward": lambda self, arrays, x, training: (2 * x, None),
        "backward": lambda self, arrays, saved, gradient: ((2 * gradient,), {}),
    }
    assert type("Twice", (Positionwise,), body).label == "twice"
    del body[fact]
    with pytest.raises(TypeError, match=f"operation Twice does not say: {fact} "):
        type("Twice", (Positionwise,), body)


def test_a_family_may_leave_facts_to_its_members() -> None:
    @dataclass(frozen=True, eq=False)
    class Family(Positionwise, abstract=True):
        cost: ClassVar[int] = 2
        keeps: ClassVar[Kept] = KEEPS_OUTPUT
        slope: ClassVar[float]

    with pytest.raises(TypeError, match="does not say: backward, forward, label, slope "):
        type("Member", (Family,), {})


def test_an_axis_is_named_for_every_size() -> None:
    with pytest.raises(ValueError, match="2 sizes, but 1 axes"):
        ParameterSpec((Dimension(3), Dimension(2)), ("channel",), initial=0.0, decays=False)


def test_only_kernels_are_drawn() -> None:
    with pytest.raises(ValueError, match="output and an input axis"):
        ParameterSpec((Dimension(3),), ("channel",), initial="drawn", decays=False)


def test_kernels_alone_decay() -> None:
    norm = ops.BatchNorm(Dimension(3), 1e-5, 0.1).parameters()
    linear = ops.Linear(Dimension(3), Dimension(2), bias=True).parameters()
    assert {name: spec.initial for name, spec in norm.items()} == {
        "weight": 1.0,
        "bias": 0.0,
        "running_mean": 0.0,
        "running_var": 1.0,
    }
    assert [name for name, spec in {**norm, **linear}.items() if spec.decays] == ["weight"]
    assert linear["weight"].decays
