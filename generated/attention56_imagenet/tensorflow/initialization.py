"""Initial kernels by canonical name, the same in every framework.

Names and layouts are PyTorch's: kernels of convolutions (out, in / groups, height, width), of
linear layers (out, in). Each has a random stream of its own, so that neither their order nor the
others of a network matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


def draw_kernels(
    seed: int,
    shapes: Mapping[str, Shape],
    distribution: str = "he_normal",
    fan: str = "in",
    deviation: float = 0.01,
) -> dict[str, NDArray[np.float64]]:
    """Draw the kernels of convolutions and linear layers.

    `he_normal` has deviation sqrt(2 / fan), not truncated (He et al., 2015); `normal` has the
    given deviation. The values are numbers of float32, held in float64: a network in whichever
    precision starts from the same.
    """
    if distribution not in ("he_normal", "normal"):
        raise ValueError(f"unknown distribution {distribution!r}")
    he = distribution == "he_normal"
    return {
        name: _normal(seed, name, shape, math.sqrt(2 / _fan(shape, fan)) if he else deviation)
        for name, shape in shapes.items()
    }


def _normal(seed: int, name: str, shape: Shape, deviation: float) -> NDArray[np.float64]:
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape)
    return (deviation * drawn).astype(np.float32).astype(np.float64)


def _fan(shape: Shape, fan: str) -> int:
    return shape[{"in": 1, "out": 0}[fan]] * math.prod(shape[2:])
