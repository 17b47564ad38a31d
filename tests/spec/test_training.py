"""Recipes that contradict themselves are refused in words."""

from __future__ import annotations

import pytest

from ranspec.spec import SpecError, load_spec

from .conftest import Write


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "augmentation={rotation: 20}",
            "pad is 4 beside area, ratio, shift, zoom, shear or rotation, which take the place of "
            "pad-and-crop; write pad: 0",
        ),
        (
            "augmentation={pad: 0, area: [1.0, 0.5]}",
            "augmentation.area: found [1.0, 0.5], expected the least, then the largest",
        ),
        (
            "augmentation={pad: 0, area: [0.5]}",
            "train.augmentation.area",
        ),
        (
            "early_stopping={patience: 3}",
            "early_stopping needs validation: the number of images held out",
        ),
        (
            "learning_rate={kind: plateau, initial: 0.1}",
            "a learning_rate of kind plateau needs validation: the number of images held out",
        ),
        ("augmentation={pad: 0, area: [0.0, 1.0]}", "area.0: found 0.0, expected more than 0.0"),
    ],
)
def test_a_contradiction_is_told(change: str, expected: str, write: Write) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(), [f"train.{change}"])
    assert expected in str(caught.value)
