"""Initial weights by canonical name, the same in every framework.

Names and layouts are PyTorch's: convolution weights (out, in / groups, height, width), linear
weights (out, in). Each tensor has a random stream of its own, so that neither the order of the
tensors nor the other tensors of a network matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


def decayed(name: str, shape: Shape) -> bool:
    """Tell whether weight decay applies: to convolution and linear weights alone."""
    return name.endswith(".weight") and len(shape) >= 2


def initial_weights(
    seed: int,
    shapes: Mapping[str, Shape],
    distribution: str = "he_normal",
    fan: str = "in",
    deviation: float = 0.01,
) -> dict[str, NDArray[np.float64]]:
    """Draw convolution and linear weights; scales and variances are 1, the rest is 0.

    `he_normal` has deviation sqrt(2 / fan), not truncated (He et al., 2015); `normal` has the
    given deviation.
    """
    return {
        name: _initial(seed, name, tuple(shape), distribution, fan, deviation)
        for name, shape in shapes.items()
    }


def _initial(
    seed: int, name: str, shape: Shape, distribution: str, fan: str, deviation: float
) -> NDArray[np.float64]:
    if decayed(name, shape):
        if distribution == "he_normal":
            deviation = math.sqrt(2.0 / _fan(shape, fan))
        elif distribution != "normal":
            raise ValueError(f"unknown distribution {distribution!r}")
        key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
        return deviation * np.random.Generator(np.random.Philox(key=key)).standard_normal(shape)
    if name.endswith((".weight", ".scale", ".running_var")):
        return np.ones(shape)
    return np.zeros(shape)


def _fan(shape: Shape, fan: str) -> int:
    return shape[{"in": 1, "out": 0}[fan]] * math.prod(shape[2:])
