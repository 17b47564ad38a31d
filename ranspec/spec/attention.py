"""The attention module and its masks, as a spec writes them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from ranspec.spec.base import Count, Model, Rate
from ranspec.spec.units import Pool

Activation = Annotated[
    Literal["mixed", "channel", "spatial", "channel_standardized"],
    Field(
        description="mixed: sigmoid; channel: L2 norm over channels; spatial: sigmoid of each "
        "feature map normalised over its positions (Wang et al., Table 1); channel_standardized: "
        "sigmoid of each position normalised over its channels."
    ),
]


class ActivationNormalization(Model):
    """How the channel and spatial activations normalise; the sources give no figures."""

    epsilon: Rate | None = Field(
        default=None,
        description="Keeps the division finite; 1e-6 for channel, 1e-5 for the others.",
    )
    epsilon_use: Literal["added", "least"] = Field(
        default="added",
        description="added: to the sum of squares or the variance; least: the sum of squares is "
        "never taken as less (channel alone, as TensorFlow's l2_normalize).",
    )
    affine: Literal["none", "channel", "position"] = Field(
        default="none",
        description="A scale and a shift of the normalised values, learned for each channel or "
        "for each position.",
    )

    def epsilon_of(self, activation: str) -> float:
        """Return the epsilon with which an activation normalises."""
        if self.epsilon is not None:
            return self.epsilon
        return 1e-6 if activation == "channel" else 1e-5


class MaskModel(Model):
    """What every mask says of itself."""

    described: ClassVar[str]
    """Ends the description of an attention module with such a mask: `a mask of ...`."""
    has_depth: ClassVar[bool] = False
    """Whether a stage's `mask_depth` means something to it."""
    has_activation: ClassVar[bool] = True
    """Whether `attention.activation` means something to it."""


HeadNormalization = Annotated[
    Literal["each", "inner", "none"],
    Field(
        description="BN-ReLU before the 1x1 convolutions of the mask's head: before each, before "
        "all but the first, or before none."
    ),
]


class EncoderDecoderMask(MaskModel):
    """The soft mask branch: pool down, interpolate up, with skips between equal sizes.

    After each of `depth` poolings come r units; after each interpolation but the last, the skip
    is added. Unit counts are per level.
    """

    described: ClassVar[str] = "a mask"
    has_depth: ClassVar[bool] = True

    kind: Literal["encoder_decoder"] = "encoder_decoder"
    pool: Pool = Field(default=Pool(), description="The pooling before each level.")
    interpolation: Literal["bilinear", "nearest"] = Field(
        default="bilinear", description="How maps are enlarged."
    )
    align_corners: bool = Field(
        default=True,
        description="Bilinear: corner pixels keep their place; else corners of pixels do.",
    )
    bottom_units: Count = Field(default=1, description="Units after the r of the lowest level.")
    up_units: Count = Field(default=1, description="Units after each interpolation but the last.")
    skip_units: Count = Field(default=1, description="Units on each skip connection.")
    decoder: Literal["stepwise", "direct"] = Field(
        default="stepwise",
        description="stepwise: interpolate level by level, adding the skips; direct: from the "
        "lowest level to the input's size at once, without skips.",
    )
    head_convolutions: Annotated[int, Field(ge=0, le=8)] = Field(
        default=2, description="1x1 convolutions before the activation."
    )
    head_normalization: HeadNormalization = "each"
    head_bias: bool = Field(default=False, description="A bias of the head's 1x1 convolutions.")
    skip_identity: bool = Field(
        default=False, description="Each skip adds its level's own map to that of its units."
    )
    add_trunk: bool = Field(
        default=False, description="The trunk's output is added to the mask before its head."
    )


class LocalConvolutionMask(MaskModel):
    """Three residual units without pooling or interpolation (Wang et al., Table 4)."""

    described: ClassVar[str] = "a mask of local convolutions"

    kind: Literal["local_convolution"] = "local_convolution"
    units: Annotated[int, Field(ge=1, le=64)] = Field(default=3, description="Units of the mask.")
    head_convolutions: Annotated[int, Field(ge=0, le=8)] = Field(
        default=2, description="1x1 convolutions before the activation."
    )
    head_normalization: HeadNormalization = "each"
    head_bias: bool = Field(default=False, description="A bias of the head's 1x1 convolutions.")


Mask = Annotated[EncoderDecoderMask | LocalConvolutionMask, Field(discriminator="kind")]


class Attention(Model):
    """The attention module: p units, then trunk (t units) and soft mask, then p units."""

    p: Count = Field(default=1, description="Units before the branches and after their fusion.")
    p_after: Count | None = Field(
        default=None, description="Units after the fusion, where they are not p."
    )
    t: Annotated[int, Field(ge=1, le=100)] = Field(default=2, description="Units of the trunk.")
    r: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="Units between adjacent poolings of the mask."
    )
    learning: Literal["residual", "naive"] = Field(
        default="residual", description="residual: (1 + M) T; naive: M T."
    )
    activation: Activation = "mixed"
    normalization: ActivationNormalization = Field(
        default=ActivationNormalization(),
        description="How the channel and spatial activations normalise.",
    )
    mask: Mask = Field(default=EncoderDecoderMask(), description="The soft mask branch.")

    @model_validator(mode="after")
    def _activation_normalizes(self) -> Attention:
        if self.activation == "mixed" and self.normalization != ActivationNormalization():
            raise ValueError("normalization means nothing to the mixed activation, a sigmoid alone")
        if self.activation != "mixed" and not self.mask.has_activation:
            raise ValueError(
                f"activation {self.activation} means nothing to {self.mask.kind} masks, which "
                "have one of their own"
            )
        if self.activation != "channel" and self.normalization.epsilon_use == "least":
            raise ValueError("normalization.epsilon_use least is for the channel activation alone")
        return self
