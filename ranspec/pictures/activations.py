"""What the layers of a network compute, by the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranspec.analysis.interpreter import Instruction, linearize
from ranspec.ir.graph import Graph, Layer

if TYPE_CHECKING:
    from ranspec.ir.operation import Array

    Weights = Mapping[str, Array]
    """Parameters and statistics by canonical name."""


@dataclass(frozen=True, eq=False)
class Activation:
    """A layer with what it was given and what it made of it, (N, C, H, W) or (N, features)."""

    layer: Layer
    inputs: tuple[Array, ...]
    output: Array


def activations(graph: Graph, weights: Weights, images: Array) -> Iterator[Activation]:
    """Yield what each layer computes of images (N, C, H, W), in evaluation mode and in order.

    No value is kept longer than layers need it, so that a deep network takes little memory. Numbers
    that are too large for their type become infinite or NaN.
    """
    import numpy as np

    program = linearize(graph)
    last_use = _last_uses(program)
    values = {0: images}
    for layer, item in zip(graph.layers, program, strict=True):
        inputs = tuple(values[index] for index in item.inputs)
        with np.errstate(over="ignore", invalid="ignore"):
            output, _ = item.operation.forward(item.arrays(weights), *inputs, training=False)
        for index in set(item.inputs):
            if last_use[index] == item.output:
                del values[index]
        if item.output in last_use:
            values[item.output] = output
        yield Activation(layer, inputs, output)


def _last_uses(program: tuple[Instruction, ...]) -> dict[int, int]:
    """Return, for each value that is used, the output of the instruction that uses it last."""
    return {index: item.output for item in program for index in item.inputs}
