"""Operations that move values without changing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import (
    KEEPS_NOTHING,
    OWN_POSITION,
    Cheap,
    Kept,
    Positions,
    Reach,
    Shape,
    ShapeError,
    Sizes,
    whole_map,
)
from ranspec.ir.operations.elementwise import sizes

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


@dataclass(frozen=True, eq=False)
class _Move(Cheap, abstract=True):
    arity: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING
    trunk: ClassVar[Positions] = "all"

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return 0

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (OWN_POSITION,) * len(inputs)


@dataclass(frozen=True, eq=False)
class Concatenate(_Move):
    """Join maps of one size along the channels; takes any number of them."""

    label: ClassVar[str] = "concatenate"
    arity: ClassVar[int] = -1

    def infer(self, *inputs: Shape) -> Shape:
        extents = {tuple(size.value for size in shape[:2]) for shape in inputs}
        if len(extents) > 1:
            named = ", ".join(sizes(extent) for extent in sorted(extents))
            raise ShapeError(f"cannot concatenate maps of different sizes: {named}", "branches")
        return *inputs[0][:2], reduce(lambda a, b: a + b, (shape[2] for shape in inputs))

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        ends = np.cumsum([x.shape[1] for x in inputs])
        return np.concatenate(inputs, axis=1), ends[:-1]

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        return tuple(np.split(gradient, saved, axis=1)), {}


@dataclass(frozen=True, eq=False)
class Flatten(_Move):
    """(height, width, channels) to a vector, channels first, then rows, then columns."""

    label: ClassVar[str] = "flatten"

    def infer(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        return (channels * height * width,)

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (whole_map(inputs[0]),)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        return x.reshape(len(x), -1), x.shape

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient.reshape(saved),), {}


@dataclass(frozen=True, eq=False)
class VectorToMap(_Move):
    """A vector as a map of one position: (features,) to (1, 1, features)."""

    label: ClassVar[str] = "vector_to_map"

    def infer(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise ShapeError("the input is a map already")
        one = Dimension(1)
        return one, one, inputs[0][0]

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        return inputs[0][:, :, None, None], None

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient[:, :, 0, 0],), {}


@dataclass(frozen=True, eq=False)
class PadChannels(_Move):
    """Append channels of zeros, so that there are `channels` (He et al., 2016, option A)."""

    label: ClassVar[str] = "pad_channels"

    channels: Dimension

    def infer(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        if channels.value > self.channels.value:
            message = f"cannot pad {channels.value} channels to {self.channels.value}"
            raise ShapeError(message, "channels")
        return height, width, self.channels

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        (x,) = inputs
        channels = x.shape[1]
        return np.pad(x, ((0, 0), (0, self.channels.value - channels), (0, 0), (0, 0))), channels

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient[:, :saved],), {}


@dataclass(frozen=True, eq=False)
class Subsample(_Move):
    """Keep every stride-th row and column, from the first."""

    label: ClassVar[str] = "subsample"

    stride: Dimension

    def infer(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        return (height - 1) // self.stride + 1, (width - 1) // self.stride + 1, channels

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (Reach(step=(self.stride.value, self.stride.value)),)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        step = self.stride.value
        return x[:, :, ::step, ::step], x.shape

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        step = self.stride.value
        by_input = np.zeros(saved, gradient.dtype)
        by_input[:, :, ::step, ::step] = gradient
        return (by_input,), {}
