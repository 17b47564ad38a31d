"""What a 1 x 1 convolution and its gradients cost JAX on a CPU, written in three ways.

    python benchmarks/pointwise.py

They take turns on maps of 64 images: XLA's own convolution, a product of maps of four axes with the
kernel, and of one matrix, as `PointwiseConv` has it. Prints the least time of the processor of
forward and backward together.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
from jax import Array, lax

BATCH, ROUNDS = 64, 8
SHAPES = ((32, 64, 16), (16, 32, 128), (8, 256, 64), (32, 16, 4))
"""Height and width, channels, channels of the result."""


def convolution(x: Array, kernel: Array) -> Array:
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel[None, None], (1, 1), "VALID", dimension_numbers=axes)


def maps(x: Array, kernel: Array) -> Array:
    return x @ kernel


def matrix(x: Array, kernel: Array) -> Array:
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def forward_and_backward(way: Any) -> Any:
    def both(x: Array, kernel: Array, gradient: Array) -> Any:
        y, pull = jax.vjp(way, x, kernel)
        return y, pull(gradient)

    return jax.jit(both)


def main() -> None:
    random = np.random.default_rng(0)
    ways = {way.__name__: forward_and_backward(way) for way in (convolution, maps, matrix)}
    for size, channels, features in SHAPES:
        shapes = (BATCH, size, size, channels), (channels, features), (BATCH, size, size, features)
        arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
        arrays = [jax.device_put(array) for array in arrays]
        least = dict.fromkeys(ways, np.inf)
        for number in range(ROUNDS + 1):
            for name, way in ways.items():
                start = time.process_time()
                jax.block_until_ready(way(*arrays))
                if number:
                    least[name] = min(least[name], time.process_time() - start)
        times = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in least.items())
        print(f"{size} x {size}, {channels} to {features} channels: {times}")


if __name__ == "__main__":
    main()
