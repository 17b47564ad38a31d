"""The training recipe, as a spec writes it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ranspec.spec.base import Fraction, Model, Rate


class Sgd(Model):
    """Stochastic gradient descent, v = momentum v + (g + decay w)."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = Field(default=0.9, description="Share of the last update that is kept.")
    nesterov: bool = Field(default=True, description="Nesterov's form: the step is g + momentum v.")
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=1e-4, description="L2 penalty on convolution and linear weights alone."
    )


class Adam(Model):
    """Adam (Kingma and Ba, 2015) with L2 penalty."""

    kind: Literal["adam"] = "adam"
    beta1: Fraction = Field(default=0.9, description="Decay of the mean of gradients.")
    beta2: Fraction = Field(default=0.999, description="Decay of the mean of squared gradients.")
    epsilon: Rate = Field(default=1e-8, description="Added to the root of that mean.")
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0, description="L2 penalty on convolution and linear weights alone."
    )


class RmsProp(Model):
    """RMSProp (Tieleman and Hinton, 2012), epsilon added to the root, with L2 penalty.

    The defaults are those of Inception-v4 (Szegedy et al., 2017).
    """

    kind: Literal["rmsprop"]
    decay: Fraction = Field(default=0.9, description="Decay of the mean of squared gradients.")
    epsilon: Rate = Field(default=1.0, description="Added to the root of that mean.")
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0, description="L2 penalty on convolution and linear weights alone."
    )


Optimizer = Annotated[Sgd | Adam | RmsProp, Field(discriminator="kind")]


class Warmup(Model):
    """The rate of the first iterations."""

    iterations: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        description="How long the warm-up lasts."
    )
    rate: Rate = Field(description="The rate until then.")


class ConstantSchedule(Model):
    """The rate stays as it is."""

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["constant"]
    initial: Rate = Field(description="The rate.")


class PlateauSchedule(Model):
    """The rate is multiplied by `factor` after `patience` epochs without a better validation.

    Better is a higher accuracy than that of any epoch before.
    """

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["plateau"]
    initial: Rate = Field(description="The rate at the start.")
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="What the rate is multiplied by."
    )
    patience: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10, description="Epochs without a better validation before the rate falls."
    )
    least: Annotated[float, Field(ge=0.0, le=1e3)] = Field(
        default=0.0, description="The rate is never lowered below this."
    )


class StepSchedule(Model):
    """The rate is multiplied by `factor` at each of the given iterations."""

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["step"] = "step"
    initial: Rate = Field(default=0.1, description="The rate at the start, or after the warm-up.")
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="What the rate is multiplied by."
    )
    at: tuple[Annotated[int, Field(ge=1, le=100_000_000)], ...] = Field(
        default=(64_000, 96_000), description="Iterations at which the rate falls, rising."
    )
    warmup: Warmup | None = Field(
        default=None, description="Another rate for the first iterations."
    )

    @field_validator("at")
    @classmethod
    def _rising(cls, at: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(at)):
            raise ValueError(f"found {list(at)}, expected rising iterations")
        return at


class ExponentialSchedule(Model):
    """The rate is multiplied by `factor` every `every` iterations, in steps."""

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["exponential"]
    initial: Rate = Field(description="The rate at the start.")
    factor: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        description="What the rate is multiplied by."
    )
    every: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        description="Iterations between two steps of the rate."
    )


Schedule = Annotated[
    StepSchedule | ExponentialSchedule | ConstantSchedule | PlateauSchedule,
    Field(discriminator="kind"),
]


Share = Annotated[float, Field(gt=0.0, le=1.0)]
Ratio = Annotated[float, Field(ge=0.01, le=100.0)]


class Augmentation(Model):
    """What is done to training images, drawn anew for each image at each step.

    Either they are padded and cropped, or `area` to `rotation` make one affine map an image, which
    samples it bilinearly and continues it by its nearest edge.
    """

    pad: Annotated[int, Field(ge=0, le=64)] = Field(
        default=4, description="Zero padding on each side before a random crop to the input size."
    )
    flip: bool = Field(default=True, description="Random horizontal flip.")
    area: tuple[Share, Share] = Field(
        default=(1.0, 1.0),
        description="Least and largest area of a random crop, which is resized to the input size, "
        "as a share of the image's.",
    )
    ratio: tuple[Ratio, Ratio] = Field(
        default=(1.0, 1.0),
        description="Least and largest width over height of that crop, relative to the image's.",
    )
    shift: Fraction = Field(
        default=0.0, description="Largest shift, as a share of the height and of the width."
    )
    zoom: Fraction = Field(
        default=0.0, description="Height and width are scaled by up to this share, independently."
    )
    shear: Fraction = Field(
        default=0.0,
        description="Largest shift of a row, relative to its distance from the middle row.",
    )
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = Field(
        default=0.0, description="Largest angle of a rotation, in degrees."
    )
    color: Fraction = Field(
        default=0.0,
        description="Deviation of the shares of the training set's principal colours that are "
        "added; a component is as long as its variance of pixels in [0, 1] (AlexNet: 0.1).",
    )

    @property
    def warps(self) -> bool:
        """Tell whether images go through an affine map."""
        crops = self.area != (1.0, 1.0) or self.ratio != (1.0, 1.0)
        return crops or any((self.shift, self.zoom, self.shear, self.rotation))

    @field_validator("area", "ratio")
    @classmethod
    def _ordered(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"found {list(limits)}, expected the least, then the largest")
        return limits

    @model_validator(mode="after")
    def _pads_or_warps(self) -> Self:
        if self.pad and self.warps:
            raise ValueError(
                f"pad is {self.pad} beside area, ratio, shift, zoom, shear or rotation, which take "
                "the place of pad-and-crop; write pad: 0"
            )
        return self


class Initialization(Model):
    """Convolution and linear weights; batch norm starts at scale 1, every bias at 0."""

    kind: Literal["he_normal", "normal"] = Field(
        default="he_normal",
        description="he_normal: variance 2 / fan (He et al., 2015); normal: deviation for all.",
    )
    fan: Literal["in", "out"] = Field(
        default="in",
        description="What he_normal divides by: in: inputs, out: outputs of a weight's layer.",
    )
    deviation: Rate = Field(default=0.01, description="Standard deviation for kind normal.")


class EarlyStopping(Model):
    """Training ends after `patience` epochs without a higher validation accuracy."""

    number_keys: ClassVar[tuple[str, ...]] = ("patience",)

    patience: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="Epochs without a higher accuracy before training ends."
    )
    restore_best: bool = Field(
        default=False, description="Test the weights of the epoch with the highest accuracy."
    )


CLASSES_OF_DATA = {
    "cifar10": 10,
    "cifar100": 100,
    "digits": 10,
    "imagenet": 1000,
    "tiny_imagenet": 200,
}
"""How many classes the images of each name have."""


class Training(Model):
    """The recipe."""

    data: Literal["cifar10", "cifar100", "digits", "imagenet", "tiny_imagenet", "folder"] = Field(
        description="The images; digits come with scikit-learn, others lie in a folder of yours."
    )
    batch_size: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=64, description="Images of a training step, on all devices together."
    )
    iterations: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=160_000, description="Training steps."
    )
    validation: Annotated[int, Field(ge=0, le=100_000_000)] = Field(
        default=0,
        description="Training images that are held out, chosen by the seed, and evaluated after "
        "every epoch; the test images are then evaluated only at the end.",
    )
    early_stopping: EarlyStopping | None = Field(
        default=None, description="Ends training before its last iteration; needs validation."
    )
    optimizer: Optimizer = Field(default=Sgd(), description="What turns gradients into steps.")
    learning_rate: Schedule = Field(
        default=StepSchedule(), description="The rate at each iteration."
    )
    augmentation: Augmentation = Field(
        default=Augmentation(), description="What is done to training images."
    )
    normalization: Literal["pixel_mean", "channel_mean_std", "unit"] = Field(
        default="pixel_mean",
        description="pixel_mean: subtract the training set's mean image; channel_mean_std: "
        "subtract each channel's mean and divide by its deviation; unit: scale to [0, 1] only.",
    )
    initialization: Initialization = Field(
        default=Initialization(), description="How convolution and linear weights start."
    )
    label_smoothing: Fraction = Field(
        default=0.0,
        description="Share of each label that is spread over all classes (Szegedy et al., 2016).",
    )
    clean_labels: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Ratio of clean labels; the others are drawn from the rest."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=0, description="Decides initial weights, order of images and all that is drawn."
    )

    @model_validator(mode="after")
    def _validates(self) -> Self:
        if not self.validation:
            if self.early_stopping:
                raise ValueError("early_stopping needs validation: the number of images held out")
            if isinstance(self.learning_rate, PlateauSchedule):
                raise ValueError(
                    "a learning_rate of kind plateau needs validation: the number of images held "
                    "out"
                )
        return self
