"""The protocol of a primitive operation: what the compiler must know of each.

One subclass says everything static about an operation: attributes, shapes, parameters and cost;
its meaning on NumPy arrays, forward and backward, is in the `forward` and `backward` methods of
the same class. Backends add how it is written in their framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ranspec.ir.dimension import Dimension

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

Shape = tuple[Dimension, ...]
"""(height, width, channels) of a feature map, or (features,) of a vector; the batch is implied."""

Sizes = tuple[int, ...]


class ShapeError(ValueError):
    """An operation cannot take the shapes it is given; `key` names the setting at fault, if any."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """An array that an operation owns, in canonical layout (PyTorch's)."""

    shape: Shape
    trainable: bool = True


@dataclass(frozen=True, eq=False)
class Operation:
    """A primitive operation with all its attributes explicit.

    Attributes that are `Dimension` may be constructor arguments of a generated class; all others
    are part of the class's structure.
    """

    arity: ClassVar[int] = 1
    label: ClassVar[str]
    """The operation's name in tables, such as `convolution`."""

    def infer(self, *inputs: Shape) -> Shape:
        """Return the output shape; raise `ShapeError` where the inputs do not fit."""
        return inputs[0]

    def parameters(self) -> Mapping[str, ParameterSpec]:
        """Return the arrays the operation owns, by their canonical leaf names."""
        return {}

    def macs(self, output: Sizes) -> int:
        """Return multiply-accumulates per image; zero unless convolution or linear."""
        return 0

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        """Return floating-point operations per image: 2 per multiply-accumulate, and the rest."""
        raise NotImplementedError

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        """Compute the output, (N, C, H, W) or (N, F), and whatever `backward` needs.

        `arrays` holds the operation's own arrays, trainable or not, by their leaf names. Any
        floating type goes through unchanged.
        """
        raise NotImplementedError

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        """Return the gradients of the inputs and of the trainable arrays.

        They may share memory with `gradient` and with one another: never change them in place.
        """
        raise NotImplementedError

    def updated_statistics(self, arrays: Mapping[str, Array], saved: Any) -> Mapping[str, Array]:
        """Return the arrays that are not trained as a training `forward` leaves them."""
        return {}


Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""

Interpolation = Literal["bilinear", "nearest"]
