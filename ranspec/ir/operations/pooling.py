"""Pooling over windows and over whole maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import (
    KEEPS_INPUTS,
    KEEPS_NOTHING,
    Cheap,
    Kept,
    Positions,
    Reach,
    Shape,
    ShapeError,
    Sizes,
    whole_map,
)

if TYPE_CHECKING:
    from ranspec.ir.operation import Array
    from ranspec.ir.operations._arrays import Windows

PoolPadding = int | Literal["ceil", "same", "valid"]


@dataclass(frozen=True, eq=False)
class _Pool(Cheap, abstract=True):
    arity: ClassVar[int] = 1
    trunk: ClassVar[Positions] = "all"

    kernel: int
    stride: int
    padding: PoolPadding
    """`valid`: whole windows only. `ceil`: no padding before, as many windows as start inside the
    map and are needed to cover it (Caffe). `same`: ceil(size / stride) windows, the surplus split
    between both sides with the odd one after (TensorFlow). A number: so much on each side, whole
    windows only (PyTorch). Padding never counts as a value."""

    def infer(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        if isinstance(self.padding, int) and 2 * self.padding > self.kernel:
            raise ShapeError(
                f"a padding of {self.padding} is more than half of a {self.kernel}x{self.kernel} "
                "window",
                "pool",
            )
        return self._windows(height), self._windows(width), channels

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return self.kernel**2 * math.prod(output)

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        neighbours = self.kernel - 1
        return (Reach((neighbours, neighbours), (self.stride, self.stride)),)

    def margins(self, size: int) -> tuple[int, int]:
        """Return how far the first and last windows may hang over a map's edges."""
        if isinstance(self.padding, int):
            return self.padding, self.padding
        count = self._count(size)
        surplus = max((count - 1) * self.stride + self.kernel - size, 0)
        before = surplus // 2 if self.padding == "same" else 0
        return before, surplus - before

    def _layout(self, x: Array) -> Windows:
        from ranspec.ir.operations._arrays import Windows

        height, width = x.shape[2:]
        return Windows(
            (height, width),
            (self.kernel, self.kernel),
            self.stride,
            (self.margins(height), self.margins(width)),
        )

    def _count(self, size: int) -> int:
        if self.padding == "same":
            return -(-size // self.stride)
        if self.padding != "ceil":
            return (size + self._surplus - self.kernel) // self.stride + 1
        count = -(-(size - self.kernel) // self.stride) + 1
        return count - 1 if (count - 1) * self.stride >= size else count

    def _windows(self, size: Dimension) -> Dimension:
        count = self._count(size.value)
        if count < 1 or (self.stride > 1 and size.value == 1):
            raise ShapeError(
                f"a map of size {size.value} is too small to pool "
                f"({self.kernel}x{self.kernel}, stride {self.stride})"
            )
        match self.padding:
            case "same":
                return (size + (self.stride - 1)) // self.stride
            case "ceil":
                rounded = (size + (self.stride - 1 - self.kernel)) // self.stride + 1
                return rounded if rounded.value == count else rounded - 1
            case _:
                return (size + (self._surplus - self.kernel)) // self.stride + 1

    @property
    def _surplus(self) -> int:
        return 2 * self.padding if isinstance(self.padding, int) else 0


@dataclass(frozen=True, eq=False)
class MaxPool(_Pool):
    """The largest value of each window; its gradient goes to the first maximum in row order."""

    label: ClassVar[str] = "max_pool"
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        windows = self._layout(x)
        values = windows.gather(x, fill=-math.inf)
        return values.max(2), (windows, values.argmax(2))

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        windows, first = saved
        taps = np.arange(self.kernel**2)[:, None, None]
        return (windows.scatter(gradient[:, :, None] * (first[:, :, None] == taps)),), {}


@dataclass(frozen=True, eq=False)
class AveragePool(_Pool):
    """The mean over the values of each window; padding is left out of the mean."""

    label: ClassVar[str] = "average_pool"
    keeps: ClassVar[Kept] = KEEPS_NOTHING

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        (x,) = inputs
        windows = self._layout(x)
        counts = windows.gather(np.ones((1, 1, *x.shape[2:]), x.dtype)).sum(2)
        return windows.gather(x).sum(2) / counts, (windows, counts)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        windows, counts = saved
        share = gradient / counts
        batch, channels, height, width = share.shape
        by_tap = (batch, channels, self.kernel**2, height, width)
        return (windows.scatter(np.broadcast_to(share[:, :, None], by_tap)),), {}


@dataclass(frozen=True, eq=False)
class GlobalAveragePool(Cheap):
    """The mean of each channel's map: (height, width, channels) to (channels,)."""

    label: ClassVar[str] = "global_average_pool"
    arity: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING
    trunk: ClassVar[Positions] = "all"

    def infer(self, *inputs: Shape) -> Shape:
        return (inputs[0][2],)

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return math.prod(inputs[0])

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (whole_map(inputs[0]),)

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        return x.mean((2, 3)), x.shape

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        import numpy as np

        height, width = saved[2:]
        return (np.full(saved, gradient[:, :, None, None] / (height * width)),), {}
