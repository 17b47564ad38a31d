"""The weights that a backend writes into what it builds."""

from __future__ import annotations

from pathlib import Path

from ranspec.codegen.backend import Weights
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.spec import LoadedSpec


def initial(loaded: LoadedSpec, graph: Graph) -> Weights:
    """Draw the weights that a run of the spec starts from."""
    from ranspec.analysis.interpreter import initial_state

    recipe = loaded.spec.train
    return Weights(initial_state(graph, recipe), f"initial weights, seed {recipe.seed}")


def trained(loaded: LoadedSpec, path: Path) -> Weights:
    """Read the weights and statistics of a checkpoint, which any backend may have written.

    Raises `CheckpointError` where the file is no checkpoint, is damaged, or is another network's.
    """
    import numpy as np

    from ranspec.runtime.checkpoint import CheckpointError, digest, load, select

    tensors, manifest = load(path)
    name = loaded.spec.name
    if manifest.network != name:
        raise CheckpointError(f"{path}: a checkpoint of {manifest.network}, not of {name}")
    expected = {
        name: np.broadcast_to(np.float32(0), tensor.shape)
        for name, tensor in compile_spec(loaded).tensors.items()
    }
    try:
        arrays = select(tensors, expected)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    origin = f"weights after {manifest.step:,} steps, SHA-256 {digest(arrays)}"
    return Weights(arrays, origin, trained=True)
