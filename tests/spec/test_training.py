"""Recipes that contradict themselves are refused in words."""

from __future__ import annotations

import pytest

from ranspec.spec import SpecError, load_spec

from .conftest import BASE, Write


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
        (
            "learning_rate={kind: cosine, initial: 0.1, least: 0.2}",
            "train.learning_rate: least is 0.2, which is more than the initial rate of 0.1",
        ),
        (
            "augmentation={mixup: 0.2, cutmix: 1}",
            "train.augmentation: mixup is 0.2 beside cutmix; an image has one of them",
        ),
        ("augmentation={mixup: 17}", "train.augmentation.mixup: found 17, expected at most 16.0"),
        (
            "micro_batches=3",
            "micro_batches is 3, which does not divide the batch size of 64",
        ),
        ("validation=2000", "validation is 2,000, but there are 1,437 images in all"),
        ("batch_size=2000", "batch_size is 2,000, but there are 1,437 images to train on"),
        ("images=5", "images of digits are known: 1,437; leave the key out"),
        (
            "test={crops: 10}",
            "train.test: crops of the whole image are all the same; a size below 1 makes ten",
        ),
        ("test={crops: 5}", "train.test.crops: found 5 (an integer), expected 1 or 10"),
        ("test={size: 0}", "train.test.size: found 0, expected more than 0.0"),
        ("weight_average=1", "train.weight_average: found 1, expected less than 1.0"),
        ("gradient_clipping=0", "train.gradient_clipping: found 0, expected more than 0.0"),
        ("iterations=0 epochs", "train.iterations: found '0 epochs', expected at least 1"),
        ("iterations=6o epochs", "train.iterations: found '6o epochs' (a string), expected an"),
        ("epochs=60", "train.epochs: unknown key; did you mean iterations?"),
        ("learning_rate.at=[3 epochs, 2 epochs]", "found [66, 44], expected rising iterations"),
    ],
)
def test_a_contradiction_is_told(change: str, expected: str, write: Write) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(), [f"train.{change}"])
    assert expected in str(caught.value)


def test_pairs_are_mixed(write: Write) -> None:
    changes = ["train.augmentation.mixup=0.2", "train.batch_size=9"]
    with pytest.raises(SpecError, match="batch_size is 9, but mixup and cutmix need pairs of"):
        load_spec(write(), changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["iterations=2 epochs"], {"iterations": 2 * (1437 // 64)}),
        (["iterations=1 epoch"], {"iterations": 1437 // 64}),
        (["iterations=2.5 epochs"], {"iterations": 55}),
        (["iterations=2 epochs", "validation=437"], {"iterations": 2 * (1000 // 64)}),
        (["iterations=3 epochs", "batch_size=10"], {"iterations": 3 * 143}),
        (["iterations=60 epochs", "data=cifar10"], {"iterations": 60 * 781}),
        (
            ["iterations=3 epochs", "data=folder", "images=650", "batch_size=100"],
            {"iterations": 3 * 6},
        ),
        (
            ["learning_rate.at=[1 epoch, 30, 2 epochs]"],
            {"iterations": 160_000, "learning_rate": {"at": (22, 30, 44)}},
        ),
        (
            ["learning_rate={kind: exponential, initial: 1, factor: 0.9, every: 2 epochs}"],
            {"learning_rate": {"every": 44}},
        ),
        (
            [
                "learning_rate={kind: cosine, initial: 1}",
                "learning_rate.warmup={kind: linear, rate: 0.1, iterations: 5 epochs}",
            ],
            {"learning_rate": {"warmup": {"iterations": 110}}},
        ),
    ],
)
def test_epochs_become_iterations(
    changes: list[str], expected: dict[str, object], write: Write
) -> None:
    recipe = load_spec(write(), [f"train.{change}" for change in changes]).spec.train

    def check(part: dict[str, object], expected: dict[str, object]) -> None:
        for key, value in expected.items():
            found = part[key]
            if isinstance(value, dict) and isinstance(found, dict):
                check(found, value)
            else:
                assert found == value

    check(recipe.model_dump(), expected)


def test_a_spec_in_epochs_is_that_in_iterations(write: Write) -> None:
    epochs = load_spec(write(), ["train.iterations=2 epochs"])
    assert epochs.digest == load_spec(write(), ["train.iterations=44"]).digest


def test_epochs_of_a_folder_need_its_size_and_say_where(write: Write) -> None:
    text = BASE.replace("data: digits", "data: folder") + "  iterations: 60 epochs\n"
    assert "data: folder" in text
    with pytest.raises(SpecError) as caught:
        load_spec(write(text))
    (problem,) = caught.value.problems
    assert problem.line == text.count("\n")
    assert problem.message == (
        "iterations is counted in epochs, which needs images: how many there are to train on"
    )


def test_every_default_keeps_the_plain_recipe(write: Write) -> None:
    recipe = load_spec(write()).spec.train
    assert (recipe.micro_batches, recipe.gradient_clipping, recipe.weight_average) == (1, None, 0)
    assert (recipe.test.crops, recipe.test.size, recipe.augmentation.mixes) == (1, 1.0, False)
    assert recipe.optimizer.decayed_weights == "all"
    assert recipe.learning_rate.warmup is None
