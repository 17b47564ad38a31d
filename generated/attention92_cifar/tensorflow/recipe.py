"""The recipe of attention92_cifar.

It is what the spec decides of the training, and the same for every framework. Sample order and
augmentation are pure functions of the seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from augment import crop_and_flip_images, normalize
from data import DataOptions, DataSets, Statistics, load_data
from run import Plan
from sampling import batch_indices, crop_and_flip
from schedule import step_schedule
from settings import RISING, BatchSize, Count, Fraction, Padding, Penalty, Rate, Share, Steps

NETWORK = "attention92_cifar"
DIGEST = "b59b8d6713c312def37edafb40ba9abaef2a944bb327f0be2159c3976a0830c3"
HEIGHT, WIDTH, CHANNELS = 32, 32, 3
CLASSES = 10
INITIALIZATION = {
    "distribution": "he_normal",
    "fan": "in",
    "deviation": 0.01,
}
DECAYED = ""
"""What the names of kernels with an L2 penalty begin with."""
CROPS: tuple[Any, ...] = (None,)
"""The crops that images are tested by: the whole image."""
MEASURES = ("loss", "accuracy", "top5_accuracy")


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how."""

    seed: Annotated[Count, "seed of weights, sample order, augmentation"] = 0
    iterations: Annotated[Steps, "steps to train"] = 160_000
    batch_size: Annotated[BatchSize, "images per step"] = 64
    learning_rate: Annotated[Rate, "initial learning rate"] = 0.1
    learning_rate_factor: Annotated[Share, "factor of each change"] = 0.1
    learning_rate_steps: Annotated[tuple[Steps, ...], RISING, "when the rate changes"] = (
        64_000,
        96_000,
    )
    momentum: Annotated[Fraction, "momentum of SGD"] = 0.9
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    weight_decay: Annotated[Penalty, "L2 penalty, not on biases or norms"] = 0.0001
    pad: Annotated[Padding, "zero pixels around an image to crop from"] = 4
    flip: Annotated[bool, "flip images at random, left to right"] = True


def learning_rate(step: int, reductions: int, recipe: Recipe) -> float:
    """Return the rate of a 0-based step, after so many reductions on a plateau."""
    return step_schedule(
        step,
        initial=recipe.learning_rate,
        factor=recipe.learning_rate_factor,
        at=recipe.learning_rate_steps,
    )


def plan(recipe: Recipe) -> Plan:
    """Return what a run follows."""
    return Plan(
        recipe,
        learning_rate,
    )


def load(
    recipe: Recipe,
    options: DataOptions,
    *,
    statistics: Statistics | None = None,
    training: bool = True,
) -> DataSets:
    """Return the images to train and to test on, with their statistics unless these are given."""
    return load_data(
        "cifar10",
        options,
        height=HEIGHT,
        width=WIDTH,
        channels=CHANNELS,
        classes=CLASSES,
        normalization="pixel_mean",
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        statistics=statistics,
        training=training,
    )


class Draws(NamedTuple):
    """What is drawn for a step."""

    indices: np.ndarray
    offsets: np.ndarray
    flips: np.ndarray


def draw(step: int, size: int, recipe: Recipe, sizes: np.ndarray | None = None) -> Draws:
    """Draw the samples of a 0-based step from `size` of them, and how each is augmented.

    `sizes` [size, 2] are heights and widths of images that are decoded when they are asked for.
    """
    seed, count = recipe.seed, recipe.batch_size
    indices = batch_indices(seed, step, count, size)
    offsets, flips = crop_and_flip(seed, step, count, recipe.pad, recipe.flip)
    return Draws(
        indices=indices.astype(np.int32),
        offsets=offsets,
        flips=flips,
    )


def training_images(images: Any, draws: Draws, statistics: Any, recipe: Recipe) -> Any:
    """Turn uint8 images [N, H, W, C] of a step into the network's input, on the device."""
    images = normalize(images, statistics)
    images = crop_and_flip_images(images, draws.offsets, draws.flips, recipe.pad)
    return images


def training_labels(labels: Any, draws: Draws) -> Any:
    """Return what a step's images are to be: their labels [N]."""
    return labels


def test_images(images: Any, crop: Any, statistics: Any) -> Any:
    """Turn uint8 images [N, H, W, C] into the network's input for one of `CROPS` on the device."""
    return normalize(images, statistics)
