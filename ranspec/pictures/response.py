"""How strongly the stages of a network respond (Wang et al., CVPR 2017, Figure 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ranspec.ir.graph import Graph
from ranspec.pictures.activations import activations

if TYPE_CHECKING:
    from ranspec.ir.operation import Array
    from ranspec.pictures.activations import Weights

PIXELS = 1 << 18
"""Of the images that are evaluated at once."""


def stages(graph: Graph) -> tuple[str, ...]:
    """Return the names of a network's stages: what lies between its stem and its head."""
    return tuple(node.name for node in graph.root.nodes[1:-1])


def mean_absolute_response(
    graph: Graph,
    weights: Weights,
    images: Array,
    progress: Callable[[int], object] = lambda done: None,
) -> Mapping[str, float]:
    """Return the mean absolute value of each stage's output, by stage, in order.

    `images` (N, C, H, W) are the network's input, normalised, of the weights' dtype; N is 1 or
    more. The mean is over images, channels and positions, and taken in float64. `progress` is told
    of images that are done.
    """
    import numpy as np

    totals = dict.fromkeys(stages(graph), 0.0)
    sizes = dict.fromkeys(totals, 0)
    ends = {layer.path.partition(".")[0]: layer.path for layer in graph.layers}
    count = max(1, PIXELS // (images.shape[2] * images.shape[3]))
    for start in range(0, len(images), count):
        for found in activations(graph, weights, images[start : start + count]):
            stage = found.layer.path.partition(".")[0]
            if stage in totals and found.layer.path == ends[stage]:
                totals[stage] += float(np.abs(found.output).sum(dtype=np.float64))
                sizes[stage] += found.output.size
        progress(len(images[start : start + count]))
    return {stage: total / sizes[stage] for stage, total in totals.items()}
