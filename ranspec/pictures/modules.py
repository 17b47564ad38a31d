"""The attention modules of a network, and what they do to features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranspec.errors import RanspecError
from ranspec.ir.graph import Graph
from ranspec.ir.operation import chosen
from ranspec.pictures.activations import activations

if TYPE_CHECKING:
    from ranspec.ir.operation import Array
    from ranspec.pictures.activations import Weights


class ModuleError(RanspecError):
    """A network has not the attention modules that are asked for."""


@dataclass(frozen=True, eq=False)
class Fusion:
    """What an attention module does, arrays (N, C, H, W) of the same shape.

    `gated` is (1 + mask) * trunk, or mask * trunk in naive learning.
    """

    module: str
    trunk: Array
    mask: Array
    gated: Array


def attention_modules(graph: Graph) -> dict[str, str]:
    """Return the attention modules of a network by the path of the layer that applies their mask.

    A module has the path of the block that holds this layer.
    """
    paths = [layer.path for layer in graph.layers if layer.operation.mask]
    blocks = [path.rpartition(".")[0] for path in paths]
    count = Counter(blocks)
    return {
        path: block if count[block] == 1 else path
        for path, block in zip(paths, blocks, strict=True)
    }


def chosen_modules(graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Return the modules of a network with these paths, or below them; all without names.

    Raises `ModuleError` where a name is of no module, or the network has none.
    """
    modules = tuple(attention_modules(graph).values())
    if not modules:
        raise ModuleError(f"{graph.name} has no attention module, and so no mask")
    for name in names:
        if not any(_below(module, name) for module in modules):
            from ranspec.spec.errors import did_you_mean

            near = did_you_mean(name, modules) or f"; there are {', '.join(modules)}"
            raise ModuleError(f"{graph.name} has no attention module {name!r}{near}")
    return tuple(
        module for module in modules if not names or any(_below(module, name) for name in names)
    )


def fusions(graph: Graph, weights: Weights, images: Array) -> Iterator[Fusion]:
    """Yield what each attention module does to images (N, C, H, W) of the network's input."""
    import numpy as np

    modules = attention_modules(graph)
    for found in activations(graph, weights, images):
        operation = found.layer.operation
        if operation.mask:
            (mask,) = chosen(operation.mask, found.inputs)
            (trunk,) = chosen(operation.trunk, found.inputs)
            whole = np.broadcast_to(mask, trunk.shape)
            yield Fusion(modules[found.layer.path], trunk, whole, found.output)


def _below(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")
