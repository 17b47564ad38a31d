"""Operations on each element alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ranspec.ir.operation import (
    KEEPS_INPUTS,
    KEEPS_NOTHING,
    KEEPS_OUTPUT,
    Kept,
    Positions,
    Positionwise,
    Shape,
    ShapeError,
    Sizes,
)

if TYPE_CHECKING:
    from ranspec.ir.builder import Value
    from ranspec.ir.decomposition import Parts
    from ranspec.ir.operation import Array

Learning = Literal["residual", "naive"]
"""How a mask weights a trunk (Wang et al., 2017, section 3.2): (1 + M) T, or M T."""


@dataclass(frozen=True, eq=False)
class Relu(Positionwise):
    """max(x, 0), with derivative 0 at 0."""

    label: ClassVar[str] = "relu"
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_OUTPUT

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        (x,) = inputs
        return np.maximum(x, 0), x > 0

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient * saved,), {}


@dataclass(frozen=True, eq=False)
class Sigmoid(Positionwise):
    """1 / (1 + exp(-x))."""

    label: ClassVar[str] = "sigmoid"
    cost: ClassVar[int] = 4
    keeps: ClassVar[Kept] = KEEPS_OUTPUT

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        (x,) = inputs
        # The exponential of a negative number cannot overflow.
        decay = np.exp(-np.abs(x))
        output = np.where(x >= 0, 1, decay) / (1 + decay)
        return output, output

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        output: Array = saved
        return (gradient * output * (1 - output),), {}


@dataclass(frozen=True, eq=False)
class AddScalar(Positionwise):
    """x + value."""

    label: ClassVar[str] = "add_scalar"
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING
    value: float

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        return inputs[0] + self.value, None

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient,), {}


@dataclass(frozen=True, eq=False)
class Scale(Positionwise):
    """factor * x."""

    label: ClassVar[str] = "scale"
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING
    factor: float

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        return self.factor * inputs[0], None

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (self.factor * gradient,), {}


@dataclass(frozen=True, eq=False)
class Dropout(Positionwise):
    """In training, zero elements with probability `rate` and divide the others by 1 - rate.

    The NumPy meaning is the identity, in training too: comparisons are made with dropout off.
    """

    label: ClassVar[str] = "dropout"
    cost: ClassVar[int] = 0
    keeps: ClassVar[Kept] = KEEPS_OUTPUT
    rate: float

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        return inputs[0], None

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient,), {}


@dataclass(frozen=True, eq=False)
class Add(Positionwise):
    """The sum of two maps of the same shape."""

    label: ClassVar[str] = "add"
    arity: ClassVar[int] = 2
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING

    def infer(self, *inputs: Shape) -> Shape:
        left, right = (tuple(size.value for size in shape) for shape in inputs)
        if left != right:
            raise ShapeError(f"cannot add maps of {sizes(left)} and {sizes(right)}")
        return inputs[0]

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        left, right = inputs
        return left + right, None

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        return (gradient, gradient), {}


@dataclass(frozen=True, eq=False)
class Multiply(Positionwise):
    """The element-wise product of a map with weights for it, such as an excitation's.

    Where one has a size of 1, its values are repeated.
    """

    label: ClassVar[str] = "multiply"
    arity: ClassVar[int] = 2
    trunk: ClassVar[Positions] = (0,)
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    def infer(self, *inputs: Shape) -> Shape:
        return _repeated(*inputs)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        left, right = inputs
        return left * right, inputs

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        from ranspec.ir.operations._arrays import sum_to

        left, right = saved
        return (sum_to(left.shape, gradient * right), sum_to(right.shape, gradient * left)), {}


@dataclass(frozen=True, eq=False)
class Gate(Positionwise):
    """A trunk weighted by a mask: (1 + mask) * trunk, or mask * trunk.

    Takes the mask first; where it has a size of 1, its values are repeated.
    """

    label: ClassVar[str] = "gate"
    arity: ClassVar[int] = 2
    keeps: ClassVar[Kept] = KEEPS_INPUTS
    trunk: ClassVar[Positions] = (1,)
    mask: ClassVar[Positions] = (0,)
    cost: ClassVar[int] = 1

    learning: Learning

    def infer(self, *inputs: Shape) -> Shape:
        _, trunk = inputs
        if tuple(size.value for size in _repeated(*inputs)) != tuple(size.value for size in trunk):
            raise ShapeError("a mask is not larger than the trunk that it weights")
        return trunk

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        added = math.prod(inputs[0]) if self.learning == "residual" else 0
        return added + super().flops(inputs, output)

    def decompose(self, parts: Parts, *inputs: Value) -> Value:
        mask, trunk = inputs
        weight = parts.add(AddScalar(1.0), mask) if self.learning == "residual" else mask
        return parts.add(Multiply(), weight, trunk)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        mask, trunk = inputs
        return self._weight(mask) * trunk, inputs

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        from ranspec.ir.operations._arrays import sum_to

        mask, trunk = saved
        return (sum_to(mask.shape, gradient * trunk), gradient * self._weight(mask)), {}

    def _weight(self, mask: Array) -> Array:
        return 1 + mask if self.learning == "residual" else mask


def _repeated(left: Shape, right: Shape) -> Shape:
    """Return the shape of two maps once sizes of 1 are repeated to the other's."""
    if len(left) != len(right) or any(
        a.value != b.value and 1 not in (a.value, b.value) for a, b in zip(left, right, strict=True)
    ):
        shapes = (sizes(tuple(size.value for size in shape)) for shape in (left, right))
        raise ShapeError(f"cannot multiply maps of {' and '.join(shapes)}")
    return tuple(b if a.value == 1 else a for a, b in zip(left, right, strict=True))


def sizes(shape: Sizes) -> str:
    """Write a shape as people do: 8x8x64."""
    return "x".join(str(size) for size in shape)
