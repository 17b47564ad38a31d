"""The recipe of attention56_imagenet: what its spec decides of the training.

This file is the same for every framework. Sample order and augmentation are pure functions of the
seed and the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np

from augment import normalize, shift_colors, warp
from data import DataOptions, DataSets, Statistics, load_data
from run import Plan
from sampling import affine_maps, batch_indices, color_shares
from schedule import step_schedule
from settings import Count, Fraction, Positive, Rate

NETWORK = "attention56_imagenet"
DIGEST = "c5dbc8dfb4b4822c4e6d126136e2bfe8cd58c8af5bbc4f0694e34769adf443af"
HEIGHT, WIDTH, CHANNELS = 224, 224, 3
CLASSES = 1000
INITIALIZATION = {
    "distribution": "he_normal",
    "fan": "in",
    "deviation": 0.01,
}
MEASURES = ("loss", "accuracy", "top5_accuracy")


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how."""

    seed: Annotated[Count, "seed of weights, sample order, augmentation"] = 0
    iterations: Annotated[Positive, "steps to train"] = 530_000
    batch_size: Annotated[Positive, "images per step"] = 64
    learning_rate: Annotated[Rate, "initial learning rate"] = 0.1
    learning_rate_factor: Annotated[Rate, "factor of each change"] = 0.1
    learning_rate_steps: Annotated[tuple[Count, ...], "steps at which the rate changes"] = (
        200_000,
        400_000,
        500_000,
    )
    momentum: Annotated[Fraction, "momentum of SGD"] = 0.9
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    weight_decay: Annotated[Rate, "L2 penalty, not on biases or norms"] = 0.0001
    area: Annotated[tuple[Rate, Rate], "least and largest share to crop"] = (0.08, 1.0)
    ratio: Annotated[tuple[Rate, Rate], "least and largest width / height of it"] = (
        0.75,
        1.3333333333333333,
    )
    flip: Annotated[bool, "flip images at random, left to right"] = True
    color: Annotated[Rate, "deviation of shares of principal colours"] = 0.1


def learning_rate(step: int, reductions: int, recipe: Recipe) -> float:
    """Return the rate of a 0-based step; only a plateau schedule has reductions."""
    return step_schedule(
        step,
        recipe.learning_rate,
        recipe.learning_rate_factor,
        recipe.learning_rate_steps,
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
        statistics=statistics,
        training=training,
    )


class Draws(NamedTuple):
    """What is drawn for a step."""

    indices: np.ndarray
    shares: np.ndarray
    maps: np.ndarray


def draw(step: int, size: int, recipe: Recipe) -> Draws:
    """Draw the samples of a 0-based step from `size` of them, and how each is augmented."""
    indices = batch_indices(recipe.seed, step, recipe.batch_size, size)
    shares = color_shares(recipe.seed, step, recipe.batch_size, CHANNELS, recipe.color)
    maps = affine_maps(
        recipe.seed,
        step,
        recipe.batch_size,
        HEIGHT,
        WIDTH,
        area=recipe.area,
        ratio=recipe.ratio,
        flip=recipe.flip,
    )
    return Draws(indices.astype(np.int32), shares, maps)


def training_images(images: Any, draws: Draws, statistics: Any, recipe: Recipe) -> Any:
    """Turn uint8 images [N, H, W, C] of a step into the network's input, on the device."""
    images = warp(images, draws.maps)
    images = shift_colors(images, draws.shares, statistics)
    return normalize(images, statistics)
