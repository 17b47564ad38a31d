"""The spec language: what a YAML spec may say, as pydantic models.

Every default of the language is written in these models and nowhere else. Unless a docstring says
otherwise the defaults are those of "Residual Attention Network for Image Classification" (Wang et
al., CVPR 2017) as its authors released it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ranspec.spec.attention import Attention, EncoderDecoderMask
from ranspec.spec.base import Count, Fraction, Identifier, Model, Positive, Rate, Size, Text
from ranspec.spec.reserved import RESERVED_STAGE_NAMES
from ranspec.spec.training import Training
from ranspec.spec.units import Pool, PreactivationBottleneck, Unit


class Input(Model):
    """Images as the network sees them."""

    height: Size
    width: Size
    channels: Annotated[int, Field(ge=1, le=64)] = 3


class ConvolutionStem(Model):
    """A convolution, and what follows it before the first stage."""

    kind: Literal["convolution"] = "convolution"
    channels: Positive
    kernel: Annotated[int, Field(ge=1, le=15)] = 3
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    bias: bool = False
    valid: bool = Field(default=False, description="No padding.")
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


class Published(Model):
    """Figures that the source prints."""

    source: Text | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None
    macs: Annotated[float, Field(gt=0)] | None = None
    macs_input: Size | None = Field(
        default=None, description="Height and width for which macs is printed, if not the input's."
    )
    test_error: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Top-1 error in percent."
    )
    top5_error: Annotated[float, Field(ge=0, le=100)] | None = None
    comment: Text | None = None


Alternatives = Annotated[
    dict[
        Annotated[str, Field(max_length=200)],
        Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)],
    ],
    Field(max_length=50),
]


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
    padding: Literal["symmetric", "same"] = Field(
        default="symmetric",
        description="Of convolutions that keep the size at stride 1. symmetric: the same on both "
        "sides; same: TensorFlow's SAME, which at stride 2 pads even sizes on one side alone.",
    )
    batch_norm: BatchNorm = BatchNorm()
    train: Training
    paper: Published | None = None
    alternatives: Alternatives | None = Field(
        default=None,
        exclude=True,
        description="What the source leaves open: keys such as attention.t, and the values that "
        "`ranspec explain` tries. They are no part of the network.",
    )
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
                message = f"{name!r} means something in generated code; choose another name"
                yield ("stages", name), message
            mask = (stage.attention or self.attention).mask
            deep = isinstance(mask, EncoderDecoderMask)
            if deep and stage.modules and stage.mask_depth is None:
                yield (
                    ("stages", name),
                    "mask_depth is missing; stages with encoder-decoder attention need it",
                )
