"""The spec language: what a YAML spec may say, as pydantic models.

Every default of the language is written here and nowhere else. Unless a docstring says otherwise
the defaults are those of "Residual Attention Network for Image Classification" (Wang et al.,
CVPR 2017) as its authors released it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from keyword import iskeyword
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError


def _not_reserved(name: str) -> str:
    if iskeyword(name):
        raise ValueError(f"{name!r} is a keyword of Python; choose another name")
    return name


def _printable(text: str) -> str:
    """Refuse control characters other than newlines: texts end up in docstrings."""
    for line in text.split("\n"):
        if not line.isprintable():
            odd = next(character for character in line if not character.isprintable())
            raise ValueError(f"character U+{ord(odd):04X} cannot be printed; remove it")
    return text


Identifier = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64), AfterValidator(_not_reserved)
]
Count = Annotated[int, Field(ge=0, le=1000)]
Positive = Annotated[int, Field(ge=1, le=65536)]
Size = Annotated[int, Field(ge=1, le=4096)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1e3)]
Text = Annotated[str, Field(max_length=2000), AfterValidator(_printable)]


class Model(BaseModel):
    """A strict, immutable, hashable part of a spec."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """Take lists for tuples, and a part without `kind` to be of its default's kind."""
        if not isinstance(data, dict):
            return data
        data = {key: tuple(item) if isinstance(item, list) else item for key, item in data.items()}
        for name, field in cls.model_fields.items():
            if field.discriminator and hasattr(field.default, "kind"):
                part = data.get(name)
                if isinstance(part, dict):
                    data[name] = {"kind": field.default.kind, **part}
        return data


class Input(Model):
    """Images as the network sees them."""

    height: Size
    width: Size
    channels: Annotated[int, Field(ge=1, le=64)] = 3


class Pool(Model):
    """A pooling layer; padding is chosen so that even sizes halve at stride 2."""

    kind: Literal["max", "average"] = "max"
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 2
    padding: Literal["ceil", "same", "valid"] = Field(
        default="ceil",
        description="ceil: no padding, the last window may hang over the edge (Caffe); "
        "same: TensorFlow's SAME, for odd sizes one window more; valid: whole windows only.",
    )


# --- units ---------------------------------------------------------------------------------


class PreactivationBottleneck(Model):
    """BN-ReLU-conv1x1, BN-ReLU-conv3x3, BN-ReLU-conv1x1 and a shortcut (He et al., 2016)."""

    kind: Literal["preactivation_bottleneck"] = "preactivation_bottleneck"
    reduction: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="The 3x3 convolution has channels / reduction channels."
    )


Unit = PreactivationBottleneck


# --- attention -----------------------------------------------------------------------------


class EncoderDecoderMask(Model):
    """The soft mask branch: pool down, interpolate up, with skips between equal sizes.

    After each of `depth` poolings come r units; after each interpolation but the last, the skip
    is added. Unit counts are per level.
    """

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    pool: Pool = Pool()
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    align_corners: bool = True
    bottom_units: Count = Field(default=1, description="Units after the r of the lowest level.")
    up_units: Count = Field(default=1, description="Units after each interpolation but the last.")
    skip_units: Count = Field(default=1, description="Units on each skip connection.")
    head_normalization: bool = Field(
        default=True, description="BN-ReLU before each 1x1 convolution of the mask's head."
    )
    head_bias: bool = False


class LocalConvolutionMask(Model):
    """Three residual units without pooling or interpolation (Wang et al., Table 4)."""

    kind: Literal["local_convolution"] = "local_convolution"
    units: Annotated[int, Field(ge=1, le=64)] = 3
    head_normalization: bool = True
    head_bias: bool = False


Mask = Annotated[EncoderDecoderMask | LocalConvolutionMask, Field(discriminator="kind")]


class Attention(Model):
    """The attention module: p units, then trunk (t units) and soft mask, then p units."""

    p: Count = Field(default=1, description="Units before the branches and after their fusion.")
    t: Annotated[int, Field(ge=1, le=100)] = Field(default=2, description="Units of the trunk.")
    r: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="Units between adjacent poolings of the mask."
    )
    learning: Literal["residual", "naive"] = Field(
        default="residual", description="residual: (1 + M) T; naive: M T."
    )
    activation: Literal["mixed", "channel", "spatial"] = Field(
        default="mixed",
        description="mixed: sigmoid; channel: L2 norm over channels; spatial: sigmoid of each "
        "feature map normalised over its positions (Wang et al., Table 1).",
    )
    mask: Mask = EncoderDecoderMask()


# --- stem, stages, head --------------------------------------------------------------------


class ConvolutionStem(Model):
    """A convolution, and what follows it before the first stage."""

    kind: Literal["convolution"] = "convolution"
    channels: Positive
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    bias: bool = False
    normalization: bool = Field(default=True, description="BN-ReLU after the convolution.")
    pool: Pool | None = None


Stem = ConvolutionStem


class Stage(Model):
    """Units that set the width and size, then attention modules, then further units."""

    channels: Positive
    stride: Annotated[int, Field(ge=1, le=8)] = Field(
        default=1, description="Stride of the stage's first unit."
    )
    units: Count = Field(default=1, description="Units before the attention modules.")
    modules: Count = Field(default=0, description="Attention modules.")
    mask_depth: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None, description="Poolings of each encoder-decoder mask of the stage."
    )
    units_after: Count = Field(default=0, description="Units after the attention modules.")
    unit: Unit | None = Field(default=None, description="Unit of this stage, if its own.")
    attention: Attention | None = Field(
        default=None, description="Attention of this stage, if its own."
    )

    @model_validator(mode="after")
    def _has_units(self) -> Self:
        if self.units + self.modules + self.units_after < 1:
            raise ValueError("units, modules and units_after are all 0; a stage needs one of them")
        return self


class Head(Model):
    """From the last feature map to the logits."""

    normalization: bool = Field(default=True, description="BN-ReLU before pooling.")
    dropout: Fraction = Field(default=0.0, description="Dropout rate before each linear layer.")
    hidden: tuple[Positive, ...] = Field(
        default=(), description="Widths of linear-ReLU layers before the last linear layer."
    )


# --- training ------------------------------------------------------------------------------


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


class Published(Model):
    """Figures that the source prints."""

    source: Text | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None
    macs: Annotated[float, Field(gt=0)] | None = None
    test_error: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Top-1 error in percent."
    )
    top5_error: Annotated[float, Field(ge=0, le=100)] | None = None
    comment: Text | None = None


RESERVED_STAGE_NAMES = frozenset({"stem", "head"})


class BatchNorm(Model):
    """Batch normalisation, the same in the whole network."""

    epsilon: Rate = 1e-5
    momentum: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="Weight of the new batch in the running statistics."
    )


class Spec(Model):
    """One network and its training recipe."""

    name: Identifier
    source: Text
    notes: tuple[Text, ...] = ()
    input: Input
    classes: Annotated[int, Field(ge=2, le=1_000_000)]
    stem: Stem
    unit: Unit = PreactivationBottleneck()
    attention: Attention = Attention()
    stages: Annotated[dict[Identifier, Stage], Field(min_length=1, max_length=100)]
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    train: Training
    paper: Published | None = None
    parameter_limit: Annotated[int, Field(ge=1, le=10**12)] = Field(
        default=500_000_000, description="A spec with more parameters is refused: raise to allow."
    )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        """Raise `spec_problems`, whose context lists (path, message) pairs."""
        problems = tuple(self._disagreements())
        if problems:
            text = "; ".join(f"{'.'.join(path)}: {message}" for path, message in problems)
            context = {"problems": problems, "text": text}
            raise PydanticCustomError("spec_problems", "{text}", context)
        return self

    def _disagreements(self) -> Iterator[tuple[tuple[str, ...], str]]:
        for name, stage in self.stages.items():
            if name in RESERVED_STAGE_NAMES:
                yield ("stages", name), f"{name!r} is another part's name; choose another name"
            mask = (stage.attention or self.attention).mask
            deep = isinstance(mask, EncoderDecoderMask)
            if deep and stage.modules and stage.mask_depth is None:
                yield (
                    ("stages", name),
                    "mask_depth is missing; stages with encoder-decoder attention need it",
                )
