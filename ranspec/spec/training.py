"""The training recipe, as a spec writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from ranspec.spec.base import Fraction, Model, Rate

MOST_ITERATIONS = 100_000_000
EPOCHS = re.compile(r"^([0-9]{1,9}(?:\.[0-9]{1,9})?) epochs?$", re.ASCII)
COUNTED_IN_EPOCHS = frozenset({"iterations", "at", "every"})
"""The keys whose whole numbers of iterations may be written in epochs."""

Iterations = Annotated[
    int,
    Field(ge=1, le=MOST_ITERATIONS),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_ITERATIONS},
                {"type": "string", "pattern": EPOCHS.pattern, "examples": ["60 epochs"]},
            ]
        }
    ),
]
"""A time in iterations; a spec may write epochs, which `Training` turns into them."""

Decay = Annotated[
    float,
    Field(
        ge=0.0,
        le=1.0,
        description="L2 penalty on convolution and linear weights alone: this share of a weight is "
        "added to its gradient.",
    ),
]
DecayedWeights = Annotated[
    Literal["all", "head"],
    Field(description="all: of all these weights; head: of the head's linear layers alone."),
]


class Sgd(Model):
    """Stochastic gradient descent, v = momentum v + (g + decay w)."""

    kind: Literal["sgd"] = "sgd"
    momentum: Fraction = Field(default=0.9, description="Share of the last update that is kept.")
    nesterov: bool = Field(default=True, description="Nesterov's form: the step is g + momentum v.")
    weight_decay: Decay = 1e-4
    decayed_weights: DecayedWeights = "all"


class Adam(Model):
    """Adam (Kingma and Ba, 2015) with L2 penalty."""

    kind: Literal["adam"] = "adam"
    beta1: Fraction = Field(default=0.9, description="Decay of the mean of gradients.")
    beta2: Fraction = Field(default=0.999, description="Decay of the mean of squared gradients.")
    epsilon: Rate = Field(default=1e-8, description="Added to the root of that mean.")
    weight_decay: Decay = 0.0
    decayed_weights: DecayedWeights = "all"


class RmsProp(Model):
    """RMSProp (Tieleman and Hinton, 2012), epsilon added to the root, with L2 penalty.

    The defaults are those of Inception-v4 (Szegedy et al., 2017).
    """

    kind: Literal["rmsprop"]
    decay: Fraction = Field(default=0.9, description="Decay of the mean of squared gradients.")
    epsilon: Rate = Field(default=1.0, description="Added to the root of that mean.")
    weight_decay: Decay = 0.0
    decayed_weights: DecayedWeights = "all"


Optimizer = Annotated[Sgd | Adam | RmsProp, Field(discriminator="kind")]


class Warmup(Model):
    """The rate of the first iterations."""

    kind: Literal["constant", "linear"] = Field(
        default="constant",
        description="constant: one rate until the warm-up ends; linear: it goes in equal steps "
        "from that rate to the schedule's initial one.",
    )
    iterations: Iterations = Field(description="How long the warm-up lasts.")
    rate: Rate = Field(description="The rate at the start.")


Warmed = Annotated[
    Warmup | None,
    Field(description="Another rate for the first iterations, before the schedule's."),
]
Reduction = Annotated[float, Field(gt=0.0, le=1.0, description="What the rate is multiplied by.")]
Least = Annotated[float, Field(ge=0.0, le=1e3)]


class ConstantSchedule(Model):
    """The rate stays as it is."""

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["constant"]
    initial: Rate = Field(description="The rate.")
    warmup: Warmed = None


class PlateauSchedule(Model):
    """The rate is multiplied by `factor` after `patience` epochs without a better validation.

    Better is a higher accuracy than that of any epoch before.
    """

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["plateau"]
    initial: Rate = Field(description="The rate at the start.")
    factor: Reduction = 0.1
    patience: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10, description="Epochs without a better validation before the rate falls."
    )
    least: Least = Field(default=0.0, description="The rate is never lowered below this.")
    warmup: Warmed = None

    @model_validator(mode="after")
    def _falls(self) -> Self:
        _check_least(self.initial, self.least)
        return self


class StepSchedule(Model):
    """The rate is multiplied by `factor` at each of the given iterations."""

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["step"] = "step"
    initial: Rate = Field(default=0.1, description="The rate at the start, or after the warm-up.")
    factor: Reduction = 0.1
    at: tuple[Iterations, ...] = Field(
        default=(64_000, 96_000), description="Iterations at which the rate falls, rising."
    )
    warmup: Warmed = None

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
    factor: Reduction
    every: Iterations = Field(description="Iterations between two steps of the rate.")
    warmup: Warmed = None


class CosineSchedule(Model):
    """The rate falls along half a cosine (Loshchilov and Hutter, 2017, without restarts).

    It begins where the warm-up ends, and would reach `least` one iteration after the last.
    """

    number_keys: ClassVar[tuple[str, ...]] = ("initial",)

    kind: Literal["cosine"]
    initial: Rate = Field(description="The rate at the start, or after the warm-up.")
    least: Least = Field(default=0.0, description="The rate at the end.")
    warmup: Warmed = None

    @model_validator(mode="after")
    def _falls(self) -> Self:
        _check_least(self.initial, self.least)
        return self


def _check_least(initial: float, least: float) -> None:
    if least > initial:
        raise ValueError(f"least is {least:g}, which is more than the initial rate of {initial:g}")


Schedule = Annotated[
    StepSchedule | ExponentialSchedule | CosineSchedule | ConstantSchedule | PlateauSchedule,
    Field(discriminator="kind"),
]


Share = Annotated[float, Field(gt=0.0, le=1.0)]
Ratio = Annotated[float, Field(ge=0.01, le=100.0)]
Concentration = Annotated[float, Field(ge=0.0, le=16.0)]


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
    mixup: Concentration = Field(
        default=0.0,
        description="Images and labels are mixed with those of another image of the batch, by "
        "shares from the beta distribution with both parameters this (Zhang et al., 2018); 0: not.",
    )
    cutmix: Concentration = Field(
        default=0.0,
        description="A box is taken from another image of the batch, and of its label the box's "
        "share of the area, drawn as in mixup (Yun et al., 2019); 0: not.",
    )

    @property
    def mixes(self) -> bool:
        """Tell whether an image takes part of another, and of its label."""
        return self.mixup > 0 or self.cutmix > 0

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
    def _mixes_once(self) -> Self:
        if self.mixup and self.cutmix:
            raise ValueError(f"mixup is {self.mixup:g} beside cutmix; an image has one of them")
        return self

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


class Test(Model):
    """What of a validation or test image the network is shown.

    Of its central part with the input's shape, crops are resized to the input size; the softmax
    outputs of several crops are averaged.
    """

    crops: Literal[1, 10] = Field(
        default=1,
        description="1: the centre; 10: the centre and the four corners, and the five mirrored "
        "(Krizhevsky et al., 2012).",
    )
    size: Share = Field(
        default=1.0, description="Height and width of a crop, as a share of that central part's."
    )

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.crops > 1 and self.size == 1:
            raise ValueError(
                "crops of the whole image are all the same; a size below 1 makes ten of them"
            )
        return self


CLASSES_OF_DATA = {
    "cifar10": 10,
    "cifar100": 100,
    "digits": 10,
    "imagenet": 1000,
    "tiny_imagenet": 200,
}
"""How many classes the images of each name have."""

IMAGES_OF_DATA = {
    "cifar10": 50_000,
    "cifar100": 50_000,
    "digits": 1_437,
    "imagenet": 1_281_167,
    "tiny_imagenet": 100_000,
}
"""How many images there are to train on, those held out for validation among them."""


class Training(Model):
    """The recipe.

    What is counted in iterations may be written in epochs, such as `60 epochs`: when the spec is
    read they become iterations, as many as whole batches fit into the images to train on.
    """

    data: Literal["cifar10", "cifar100", "digits", "imagenet", "tiny_imagenet", "folder"] = Field(
        description="The images; digits come with scikit-learn, others lie in a folder of yours."
    )
    images: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None,
        description="How many images a folder has to train on, if anything is counted in epochs; "
        "of other data it is known.",
    )
    batch_size: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=64, description="Images of a training step, on all devices together."
    )
    micro_batches: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=1,
        description="Equal parts of a batch that are computed one after the other, and their "
        "gradients averaged; batch norm sees each alone.",
    )
    iterations: Iterations = Field(default=160_000, description="Training steps.")
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
    gradient_clipping: Rate | None = Field(
        default=None,
        description="Gradients whose norm, of all together and before any L2 penalty, is larger "
        "are scaled down to this norm.",
    )
    weight_average: Fraction = Field(
        default=0.0,
        description="Share that a moving average of the weights keeps at each step; it starts from "
        "the initial weights, and is evaluated in place of the weights. 0: none.",
    )
    augmentation: Augmentation = Field(
        default=Augmentation(), description="What is done to training images."
    )
    test: Test = Field(default=Test(), description="How images are shown to be evaluated.")
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

    @model_validator(mode="before")
    @classmethod
    def _in_iterations(cls, data: Any) -> Any:
        """Turn epochs into iterations."""
        if not isinstance(data, dict) or not any(_epochs(data)):
            return data
        name = next(_epochs(data))
        images = data.get("images") or IMAGES_OF_DATA.get(str(data.get("data")))
        if data.get("data") == "folder" and images is None:
            raise ValueError(
                f"{name} is counted in epochs, which needs images: how many there are to train on"
            )
        counts = images, data.get("validation", 0), data.get("batch_size", 64)
        # Where one of these is no number, that is the mistake to tell.
        known = all(type(count) is int for count in counts) and counts[2] > 0
        steps = (counts[0] - counts[1]) // counts[2] if known else 1
        return _with_epochs(data, max(1, steps))

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        known = IMAGES_OF_DATA.get(self.data)
        if self.images and known:
            raise ValueError(f"images of {self.data} are known: {known:,}; leave the key out")
        images = self.images or known
        if images and self.validation >= images:
            raise ValueError(
                f"validation is {self.validation:,}, but there are {images:,} images in all"
            )
        if images and self.batch_size > images - self.validation:
            raise ValueError(
                f"batch_size is {self.batch_size:,}, but there are {images - self.validation:,} "
                "images to train on"
            )
        if self.batch_size % self.micro_batches:
            raise ValueError(
                f"micro_batches is {self.micro_batches}, which does not divide the batch size of "
                f"{self.batch_size}"
            )
        if self.augmentation.mixes and self.batch_size % 2:
            raise ValueError(
                f"batch_size is {self.batch_size}, but mixup and cutmix need pairs of images"
            )
        return self

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


def _epochs(part: dict[str, Any]) -> Iterator[str]:
    """Yield the keys of a part that are counted in epochs, or have something within that is."""
    for key, value in part.items():
        items = value if isinstance(value, tuple | list) else (value,)
        counted = key in COUNTED_IN_EPOCHS and any(
            isinstance(item, str) and EPOCHS.match(item) for item in items
        )
        if counted or (isinstance(value, dict) and any(_epochs(value))):
            yield key


def _with_epochs(value: Any, steps: int, counted: bool = False) -> Any:
    """Return a part with its epochs in iterations, of which an epoch has `steps`."""
    match value:
        case dict():
            return {
                key: _with_epochs(item, steps, key in COUNTED_IN_EPOCHS)
                for key, item in value.items()
            }
        case tuple() | list():
            return tuple(_with_epochs(item, steps, counted) for item in value)
        case str() if counted and (found := EPOCHS.match(value)):
            return round(float(found[1]) * steps)
        case _:
            return value
