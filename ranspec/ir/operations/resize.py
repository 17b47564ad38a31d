"""Interpolation to another size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.operation import (
    KEEPS_NOTHING,
    Cheap,
    Interpolation,
    Kept,
    Positions,
    Reach,
    Shape,
    Sizes,
)

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


@dataclass(frozen=True, eq=False)
class Resize(Cheap):
    """Resize the first map to the height and width of the second, whose values are not used.

    Output position i reads input position i (n - 1) / (m - 1) with `align_corners`, else
    max((i + 1/2) n / m - 1/2, 0), for n input and m output positions; nearest interpolation
    takes floor(i n / m).
    """

    label: ClassVar[str] = "resize"
    arity: ClassVar[int] = 2
    keeps: ClassVar[Kept] = KEEPS_NOTHING
    trunk: ClassVar[Positions] = (0,)

    interpolation: Interpolation
    align_corners: bool

    def infer(self, *inputs: Shape) -> Shape:
        height, width, _ = inputs[1]
        return height, width, inputs[0][2]

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return (0 if self.interpolation == "nearest" else 7) * math.prod(output)

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        neighbours = 0 if self.interpolation == "nearest" else 1
        return Reach((neighbours, neighbours), step=None), Reach(neighbours=None)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        x, target = inputs
        rows, columns = (self._matrix(x, target, axis) for axis in (2, 3))
        return rows @ x @ columns.T, (rows, columns, target.shape)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        rows, columns, target = saved
        return (rows.T @ gradient @ columns, np.zeros(target, gradient.dtype)), {}

    def _matrix(self, x: Array, target: Array, axis: int) -> Array:
        from ranspec.ir.operations._arrays import interpolation_matrix

        matrix = interpolation_matrix(
            x.shape[axis], target.shape[axis], self.interpolation, self.align_corners
        )
        return matrix.astype(x.dtype)
