"""The recipe of attention56_imagenet.

It is what the spec decides of the training, and the same for every framework. Sample order and
augmentation are pure functions of the seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from augment import normalize, shift_colors, warp
from data import DataOptions, DataSets, Statistics, load_data
from run import Plan
from sampling import affine_maps, batch_indices, color_shares, crop_boxes
from schedule import step_schedule
from settings import ORDERED, RISING, BatchSize, Count, Fraction, Penalty, Rate, Ratio, Share, Steps

NETWORK = "attention56_imagenet"
DIGEST = "c5dbc8dfb4b4822c4e6d126136e2bfe8cd58c8af5bbc4f0694e34769adf443af"
HEIGHT, WIDTH, CHANNELS = 224, 224, 3
CLASSES = 1000
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
    iterations: Annotated[Steps, "steps to train"] = 530_000
    batch_size: Annotated[BatchSize, "images per step"] = 64
    learning_rate: Annotated[Rate, "initial learning rate"] = 0.1
    learning_rate_factor: Annotated[Share, "factor of each change"] = 0.1
    learning_rate_steps: Annotated[tuple[Steps, ...], RISING, "when the rate changes"] = (
        200_000,
        400_000,
        500_000,
    )
    momentum: Annotated[Fraction, "momentum of SGD"] = 0.9
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    weight_decay: Annotated[Penalty, "L2 penalty, not on biases or norms"] = 0.0001
    area: Annotated[tuple[Share, Share], ORDERED, "least and largest share to crop"] = (0.08, 1.0)
    ratio: Annotated[tuple[Ratio, Ratio], ORDERED, "least and largest width / height of it"] = (
        0.75,
        1.3333333333333333,
    )
    flip: Annotated[bool, "flip images at random, left to right"] = True
    color: Annotated[Fraction, "deviation of shares of principal colours"] = 0.1


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
        "imagenet",
        options,
        height=HEIGHT,
        width=WIDTH,
        channels=CHANNELS,
        classes=CLASSES,
        normalization="channel_mean_std",
        colors=True,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        whole=True,
        statistics=statistics,
        training=training,
    )


class Draws(NamedTuple):
    """What is drawn for a step."""

    indices: np.ndarray
    parts: np.ndarray | None
    """Of whole images: left, upper, right, lower edge of what is decoded."""
    maps: np.ndarray
    colors: np.ndarray


def draw(step: int, size: int, recipe: Recipe, sizes: np.ndarray | None = None) -> Draws:
    """Draw the samples of a 0-based step from `size` of them, and how each is augmented.

    `sizes` [size, 2] are heights and widths of images that are decoded when they are asked for.
    """
    seed, count = recipe.seed, recipe.batch_size
    indices = batch_indices(seed, step, count, size)
    area, ratio = recipe.area, recipe.ratio
    parts = None
    if sizes is not None:
        aspect = WIDTH / HEIGHT
        parts = crop_boxes(seed, step, sizes[indices], aspect=aspect, area=area, ratio=ratio)
        area = ratio = (1.0, 1.0)
    maps = affine_maps(
        seed,
        step,
        count,
        HEIGHT,
        WIDTH,
        area=area,
        ratio=ratio,
        flip=recipe.flip,
    )
    return Draws(
        indices=indices.astype(np.int32),
        parts=parts,
        maps=maps,
        colors=color_shares(seed, step, count, CHANNELS, recipe.color),
    )


def training_images(images: Any, draws: Draws, statistics: Any, recipe: Recipe) -> Any:
    """Turn uint8 images [N, H, W, C] of a step into the network's input, on the device."""
    images = warp(images, draws.maps)
    images = shift_colors(images, draws.colors, statistics)
    images = normalize(images, statistics)
    return images


def training_labels(labels: Any, draws: Draws) -> Any:
    """Return what a step's images are to be: their labels [N]."""
    return labels


def test_images(images: Any, crop: Any, statistics: Any) -> Any:
    """Turn uint8 images [N, H, W, C] into the network's input for one of `CROPS` on the device."""
    return normalize(images, statistics)
