"""The training recipe, as a spec writes it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ranspec.spec.base import Fraction, Model, Rate


class Sgd(Model):
    """Stochastic gradient descent, v = momentum v + (g + decay w)."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=1e-4, description="L2 penalty on convolution and linear weights alone."
    )


class Adam(Model):
    """Adam (Kingma and Ba, 2015) with L2 penalty."""

    kind: Literal["adam"] = "adam"
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Rate = 1e-8
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


Optimizer = Annotated[Sgd | Adam, Field(discriminator="kind")]


class StepSchedule(Model):
    """The rate is multiplied by `factor` at each of the given iterations."""

    kind: Literal["step"] = "step"
    initial: Rate = 0.1
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    at: tuple[Annotated[int, Field(ge=1, le=100_000_000)], ...] = (64_000, 96_000)

    @field_validator("at")
    @classmethod
    def _rising(cls, at: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(at)):
            raise ValueError(f"found {list(at)}, expected rising iterations")
        return at


class ExponentialSchedule(Model):
    """The rate is multiplied by `factor` every `every` iterations, in steps."""

    kind: Literal["exponential"]
    initial: Rate
    factor: Annotated[float, Field(gt=0.0, le=1.0)]
    every: Annotated[int, Field(ge=1, le=100_000_000)]


Schedule = Annotated[StepSchedule | ExponentialSchedule, Field(discriminator="kind")]


class Augmentation(Model):
    """What is done to training images, drawn anew at each step."""

    pad: Annotated[int, Field(ge=0, le=64)] = Field(
        default=4, description="Zero padding on each side before a random crop to the input size."
    )
    flip: bool = Field(default=True, description="Random horizontal flip.")


class Initialization(Model):
    """Convolution and linear weights; batch norm starts at scale 1, every bias at 0."""

    kind: Literal["he_normal", "normal"] = "he_normal"
    fan: Literal["in", "out"] = "in"
    deviation: Rate = Field(default=0.01, description="Standard deviation for kind normal.")


class Training(Model):
    """The recipe."""

    data: Literal["cifar10", "cifar100", "digits", "imagenet", "tiny_imagenet", "folder"]
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    iterations: Annotated[int, Field(ge=1, le=100_000_000)] = 160_000
    optimizer: Optimizer = Sgd()
    learning_rate: Schedule = StepSchedule()
    augmentation: Augmentation = Augmentation()
    normalization: Literal["pixel_mean", "channel_mean_std", "unit"] = Field(
        default="pixel_mean",
        description="pixel_mean: subtract the training set's mean image; channel_mean_std: "
        "subtract each channel's mean and divide by its deviation; unit: scale to [0, 1] only.",
    )
    initialization: Initialization = Initialization()
    label_smoothing: Fraction = 0.0
    clean_labels: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Ratio of clean labels; the others are drawn from the rest."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
