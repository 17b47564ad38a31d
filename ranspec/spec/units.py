"""Units and pooling: the smallest parts of a network that a spec names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ranspec.spec.base import Identifier, Model, Positive


class Pool(Model):
    """A pooling layer. Padding never counts as a value."""

    kind: Literal["max", "average"] = Field(
        default="max", description="Maximum or mean of each window."
    )
    kernel: Annotated[int, Field(ge=1, le=15)] = Field(
        default=3, description="Height and width of the window."
    )
    stride: Annotated[int, Field(ge=1, le=8)] = Field(
        default=2, description="Step from window to window."
    )
    padding: Literal["ceil", "same", "valid", 0, 1, 2, 3, 4, 5, 6, 7] = Field(
        default="ceil",
        description="ceil: no padding, the last window may hang over the edge (Caffe); "
        "same: TensorFlow's SAME, for odd sizes one window more; valid: whole windows only; a "
        "number: so much on each side, whole windows only (PyTorch).",
    )

    @field_validator("padding", mode="before")
    @classmethod
    def _is_no_truth(cls, padding: object) -> object:
        return None if isinstance(padding, bool) else padding

    @model_validator(mode="after")
    def _windows_meet_the_map(self) -> Pool:
        if isinstance(self.padding, int) and 2 * self.padding > self.kernel:
            raise ValueError(
                f"padding {self.padding} is more than half of the kernel, {self.kernel}"
            )
        return self


Projection = Annotated[
    Literal["when_needed", "always"],
    Field(description="Shortcuts that are 1x1 convolutions: where the shape changes, or all."),
]
ShortcutInput = Annotated[
    Literal["activated", "raw", "norm", "norm_relu"],
    Field(
        description="What a projection shortcut takes: the unit's first BN-ReLU, its raw input, "
        "or that input after a BN or BN-ReLU of its own."
    ),
]
StrideOn = Annotated[
    Literal["conv1", "conv2"],
    Field(description="The convolution that carries the stride: the first 1x1 or the 3x3."),
]
Reduction = Annotated[
    int, Field(ge=1, le=64, description="Inner convolutions have channels / reduction channels.")
]


class PreactivationBottleneck(Model):
    """BN-ReLU-conv1x1, BN-ReLU-conv3x3, BN-ReLU-conv1x1 and a shortcut (He et al., 2016)."""

    kind: Literal["preactivation_bottleneck"] = "preactivation_bottleneck"
    reduction: Reduction = 4
    bias: bool = Field(default=False, description="Biases of the convolutions.")
    projection: Projection = "when_needed"
    shortcut: ShortcutInput = "activated"
    stride_on: StrideOn = "conv2"


class PreactivationBasic(Model):
    """BN-ReLU-conv3x3, BN-ReLU-conv3x3 and a shortcut (He et al., 2016; wide: Zagoruyko, 2016)."""

    kind: Literal["preactivation_basic"]
    bias: bool = Field(default=False, description="Biases of the convolutions.")
    projection: Projection = "when_needed"
    shortcut: ShortcutInput = "activated"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="Dropout rate between the two convolutions."
    )


class PreactivationInception(Model):
    """Branches of 1x1, 1x1-3x3 and 1x1-3x3-3x3, concatenated, 1x1, and a shortcut.

    A pre-activation form of the Inception-ResNet units (Szegedy et al., 2016).
    """

    kind: Literal["preactivation_inception"]
    reductions: tuple[Reduction, Reduction, Reduction] = Field(
        default=(4, 8, 16), description="The branches have channels / reduction channels each."
    )
    bias: bool = Field(default=False, description="Biases of the convolutions.")
    projection: Projection = "when_needed"
    shortcut: ShortcutInput = "activated"


class Bottleneck(Model):
    """conv1x1-BN-ReLU, conv3x3-BN-ReLU, conv1x1-BN, plus the shortcut, ReLU (He et al., 2015).

    Grouped 3x3 convolutions make it the unit of ResNeXt (Xie et al., 2017).
    """

    kind: Literal["bottleneck"]
    reduction: Reduction = 4
    groups: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=1, description="Groups of the 3x3 convolution; ResNeXt's cardinality."
    )
    stride_on: StrideOn = "conv2"


class Basic(Model):
    """conv3x3-BN-ReLU, conv3x3-BN, plus the shortcut, ReLU (He et al., 2015)."""

    kind: Literal["basic"]
    shortcut: Literal["projection", "zero_padding"] = Field(
        default="projection",
        description="Where the shape changes: a 1x1 convolution and BN, or every stride-th "
        "position with channels of zeros appended.",
    )


class Convolution(Model):
    """conv-BN-ReLU."""

    kind: Literal["convolution"]
    kernel: Annotated[int, Field(ge=1, le=15)] = Field(
        default=3, description="Height and width of the kernel."
    )
    valid: bool = Field(default=False, description="No padding.")


class BranchLayer(Model):
    """A convolution (`channels`) or a pooling (`pool`) of an Inception branch."""

    channels: Positive | None = Field(
        default=None, description="Channels of a convolution's output."
    )
    pool: Literal["max", "average"] | None = Field(
        default=None, description="A pooling instead of a convolution."
    )
    kernel: (
        Annotated[int, Field(ge=1, le=15)]
        | tuple[Annotated[int, Field(ge=1, le=15)], Annotated[int, Field(ge=1, le=15)]]
    ) = Field(default=1, description="One size, or [height, width].")
    stride: Annotated[int, Field(ge=1, le=8)] = Field(default=1, description="Stride of the layer.")
    valid: bool = Field(default=False, description="No padding.")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> BranchLayer:
        if (self.channels is None) == (self.pool is None):
            raise ValueError("a branch's layer needs either channels or pool")
        if self.pool is not None and not isinstance(self.kernel, int):
            raise ValueError("a pooling window is square: write one number for kernel")
        return self


class Inception(Model):
    """Branches side by side, concatenated (Szegedy et al., 2016).

    A residual unit returns to the input's width by a 1x1 convolution and adds the input.
    """

    kind: Literal["inception"]
    name: Identifier = Field(default="inception", description="Names the class, in snake case.")
    branches: Annotated[
        tuple[Annotated[tuple[BranchLayer, ...], Field(max_length=16)], ...],
        Field(min_length=1, max_length=16, description="Each a list of layers; none is the input."),
    ]
    convolution: Literal["normalized", "activated", "linear"] = Field(
        default="normalized",
        description="normalized: conv-BN-ReLU; activated: conv with bias, ReLU; linear: conv with "
        "bias alone.",
    )
    residual: bool = Field(default=True, description="Add the input; its size must then stay.")
    scale: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0, description="Factor of the residual before it is added."
    )
    normalization: Literal["none", "norm", "norm_relu"] = Field(
        default="none", description="What the branches' common input goes through first."
    )
    activation: bool = Field(default=True, description="ReLU at the end.")


Unit = Annotated[
    PreactivationBottleneck
    | PreactivationBasic
    | PreactivationInception
    | Bottleneck
    | Basic
    | Convolution
    | Inception,
    Field(discriminator="kind"),
]
