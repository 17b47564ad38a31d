"""The spec language: what a YAML spec may say, as pydantic models.

Every default of the language is written in these models and nowhere else. Unless a docstring says
otherwise the defaults are those of "Residual Attention Network for Image Classification" (Wang et
al., CVPR 2017) as its authors released it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ranspec.spec.attention import Attention
from ranspec.spec.base import Count, Fraction, Identifier, Model, Positive, Rate, Size, Text, Whole
from ranspec.spec.training import Training
from ranspec.spec.units import Pool, PreactivationBottleneck, Unit

PARTS = frozenset({"stem", "head"})
"""Parts beside the stages; names that a framework reserves are known to its backend."""


class Input(Model):
    """Images as the network sees them."""

    number_keys: ClassVar[tuple[str, ...]] = ("height", "width")

    height: Size = Field(description="Rows, in pixels.")
    width: Size = Field(description="Columns, in pixels.")
    channels: Annotated[int, Field(ge=1, le=64)] = Field(
        default=3, description="3 for colour, 1 for grey."
    )


class ConvolutionStem(Model):
    """A convolution, and what follows it before the first stage."""

    kind: Literal["convolution"] = "convolution"
    channels: Positive = Field(description="Channels of the convolution's output.")
    kernel: Annotated[int, Field(ge=1, le=15)] = Field(
        default=3, description="Height and width of the kernel."
    )
    stride: Annotated[int, Field(ge=1, le=8)] = Field(
        default=1, description="Stride of the convolution."
    )
    bias: bool = Field(default=False, description="A bias of the convolution.")
    valid: bool = Field(default=False, description="No padding.")
    normalization: bool = Field(default=True, description="BN-ReLU after the convolution.")
    pool: Pool | None = Field(default=None, description="Pooling at the stem's end.")


Stem = ConvolutionStem


class Stage(Model):
    """Units that set the width and size, then attention modules, then further units."""

    channels: Positive = Field(description="Channels of the output of each unit of the stage.")
    stride: Annotated[int, Field(ge=1, le=8)] = Field(
        default=1, description="Stride of the stage's first unit."
    )
    units: Count = Field(default=1, description="Units before the attention modules.")
    modules: Count = Field(default=0, description="Attention modules.")
    mask_depth: Annotated[int, Field(ge=1, le=10)] | None = Field(
        default=None, description="Poolings of each encoder-decoder mask of the stage."
    )
    units_after: Count = Field(default=0, description="Units after the attention modules.")
    first_preactivation: bool = Field(
        default=True,
        description="Whether the stage's first unit begins with BN-ReLU, as pre-activation units "
        "do; false where what it takes is activated already.",
    )
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
    activation: bool = Field(default=False, description="ReLU alone before pooling, without BN.")
    dropout: Fraction = Field(default=0.0, description="Dropout rate before each linear layer.")
    hidden: tuple[Positive, ...] = Field(
        default=(), description="Widths of linear-ReLU layers before the last linear layer."
    )

    @model_validator(mode="after")
    def _activates_once(self) -> Self:
        if self.normalization and self.activation:
            raise ValueError("normalization has a ReLU already; activation is one without BN")
        return self


class Published(Model):
    """Figures that the source prints."""

    source: Text | None = Field(default=None, description="Where they are printed.")
    parameters: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Trainable parameters."
    )
    macs: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Multiply-adds for one image, which papers often call FLOPs."
    )
    macs_input: Size | None = Field(
        default=None, description="Height and width for which macs is printed, if not the input's."
    )
    test_error: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Top-1 error in percent."
    )
    top5_error: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Top-5 error in percent."
    )
    comment: Text | None = Field(default=None, description="What explains a difference.")


Alternatives = Annotated[
    dict[
        Annotated[str, Field(max_length=200)],
        Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)],
    ],
    Field(max_length=50),
]


class BatchNorm(Model):
    """Batch normalisation, the same in the whole network."""

    epsilon: Rate = Field(default=1e-5, description="Added to the variance.")
    momentum: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="Weight of the new batch in the running statistics."
    )


class BuiltFrom(Model):
    """Which spec and overrides a built folder's `spec.yaml` was resolved from."""

    spec: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/-]+$")] = Field(
        description="The spec's name."
    )
    overrides: tuple[str, ...] = Field(default=(), description="What `--set` changed in it.")
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the resolved spec; in an edited file, which has another, "
        "`built_from` means nothing."
    )


class Spec(Whole):
    """One network and its training recipe."""

    name: Identifier = Field(
        description="The network's name, such as attention56_cifar; its class and folder follow it."
    )
    source: Text = Field(description="The paper, or whatever else the network is taken from.")
    notes: tuple[Text, ...] = Field(
        default=(),
        description="What a reader should know: choices, and differences from the source.",
    )
    input: Input = Field(description="The size of images.")
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        description="Classes that the network tells apart."
    )
    stem: Stem = Field(description="What comes before the first stage.")
    unit: Unit = Field(
        default=PreactivationBottleneck(),
        description="The residual unit that stages and masks are made of.",
    )
    attention: Attention = Field(default=Attention(), description="The attention modules.")
    stages: Annotated[dict[Identifier, Stage], Field(min_length=1, max_length=100)] = Field(
        description="The stages in order, by names of your own."
    )
    head: Head = Field(default=Head(), description="What comes after the last stage.")
    padding: Literal["symmetric", "same"] = Field(
        default="symmetric",
        description="Of convolutions that keep the size at stride 1. symmetric: the same on both "
        "sides; same: TensorFlow's SAME, which at stride 2 pads even sizes on one side alone.",
    )
    batch_norm: BatchNorm = Field(default=BatchNorm(), description="Batch normalisation.")
    train: Training = Field(description="How the network is trained.")
    paper: Published | None = Field(
        default=None, description="What the source prints, to compare with."
    )
    alternatives: Alternatives | None = Field(
        default=None,
        exclude=True,
        description="What the source leaves open: keys such as attention.t, and the values that "
        "`ranspec explain` tries. They are no part of the network.",
    )
    built_from: BuiltFrom | None = Field(
        default=None,
        exclude=True,
        description="Written by `ranspec build`, not by hand. It is no part of the network.",
    )
    parameter_limit: Annotated[int, Field(ge=1, le=10**12)] = Field(
        default=500_000_000, description="A spec with more parameters is refused: raise to allow."
    )

    def _disagreements(self) -> Iterator[tuple[tuple[str, ...], str]]:
        for name, stage in self.stages.items():
            if name in PARTS:
                message = f"{name!r} is a part of every network; choose another name"
                yield ("stages", name), message
            if not stage.first_preactivation:
                kind = (stage.unit or self.unit).kind
                if not stage.units or not kind.startswith("preactivation"):
                    first = f"a {kind} unit" if stage.units else "an attention module"
                    message = f"the stage begins with {first}; only a pre-activation unit can"
                    yield ("stages", name, "first_preactivation"), f"{message} go without"
            mask = (stage.attention or self.attention).mask
            if mask.has_depth and stage.modules and stage.mask_depth is None:
                yield (
                    ("stages", name),
                    "mask_depth is missing; stages with encoder-decoder attention need it",
                )
