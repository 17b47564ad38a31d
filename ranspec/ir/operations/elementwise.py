"""Operations on each element alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.operation import Operation, Shape, ShapeError, Sizes

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


@dataclass(frozen=True, eq=False)
class _Elementwise(Operation):
    cost: ClassVar[int] = 1
    """Floating-point operations per output element."""

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return self.cost * math.prod(output)


@dataclass(frozen=True, eq=False)
class Relu(_Elementwise):
    """max(x, 0), with derivative 0 at 0."""

    label: ClassVar[str] = "relu"

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
class Sigmoid(_Elementwise):
    """1 / (1 + exp(-x))."""

    label: ClassVar[str] = "sigmoid"
    cost: ClassVar[int] = 4

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
class AddScalar(_Elementwise):
    """x + value."""

    label: ClassVar[str] = "add_scalar"
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
class Scale(_Elementwise):
    """factor * x."""

    label: ClassVar[str] = "scale"
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
class Dropout(_Elementwise):
    """In training, zero elements with probability `rate` and divide the others by 1 - rate.

    The NumPy meaning is the identity, in training too: comparisons are made with dropout off.
    """

    label: ClassVar[str] = "dropout"
    cost: ClassVar[int] = 0
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
class _Pairwise(_Elementwise):
    arity: ClassVar[int] = 2

    def infer(self, *inputs: Shape) -> Shape:
        left, right = (tuple(size.value for size in shape) for shape in inputs)
        if left != right:
            raise ShapeError(f"cannot {self.label} maps of {sizes(left)} and {sizes(right)}")
        return inputs[0]


@dataclass(frozen=True, eq=False)
class Add(_Pairwise):
    """The sum of two maps of the same shape."""

    label: ClassVar[str] = "add"

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
class Multiply(_Pairwise):
    """The element-wise product of two maps of the same shape."""

    label: ClassVar[str] = "multiply"

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        left, right = inputs
        return left * right, inputs

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        left, right = saved
        return (gradient * right, gradient * left), {}


def sizes(shape: Sizes) -> str:
    """Write a shape as people do: 8x8x64."""
    return "x".join(str(size) for size in shape)
