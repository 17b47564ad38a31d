"""The weights that pictures are made with: of a run, of a file, or the initial ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec.errors import RanspecError
from ranspec.ir.graph import Graph
from ranspec.spec import LoadedSpec

if TYPE_CHECKING:
    from ranspec.pictures.activations import Weights
    from ranspec.runtime.checkpoint import Array
    from ranspec.runtime.data import Statistics

LISTED = 3
"""Tensors that a message names."""


class WeightsError(RanspecError):
    """Weights are another network's, or no numbers; the message names the first that differ."""


@dataclass(frozen=True, eq=False)
class Trained:
    """The weights of a network, float32 or float64, and where they are from.

    `statistics` normalise images as those that the weights were trained on; None if they are not
    known. `other_spec` tells that the weights fit, but were trained by a spec that says otherwise:
    of the training, or of what has no weights, such as the way of learning.
    """

    arrays: Weights
    statistics: Statistics | None
    origin: str
    other_spec: bool = False

    @property
    def dtype(self) -> Any:
        """The type of all arrays, and so of the images."""
        return next(iter(self.arrays.values())).dtype


def initial_weights(loaded: LoadedSpec, graph: Graph) -> Trained:
    """Draw the weights that a run of the spec starts from, in float32."""
    from ranspec.analysis.interpreter import initial_state

    recipe = loaded.spec.train
    state = initial_state(graph, recipe)
    arrays = {name: array.astype("float32") for name, array in state.items()}
    return Trained(arrays, None, f"initial weights, seed {recipe.seed}")


def load_weights(loaded: LoadedSpec, graph: Graph, path: Path) -> Trained:
    """Read a checkpoint, or the one of a run's folder that its test was made with.

    Moving averages of weights take the place of the weights, as in tests. Raises `CheckpointError`
    where there is none or it is damaged, `WeightsError` where it is another network's or has
    numbers that are not finite.
    """
    import numpy as np

    from ranspec.runtime.checkpoint import load
    from ranspec.runtime.data import Statistics

    file = _checkpoint(loaded, path) if path.is_dir() else path
    tensors, manifest = load(file)
    wrong = list(_differences(graph, tensors))
    if wrong or manifest.network != graph.name:
        more = f"; and {len(wrong) - LISTED:,} more" if len(wrong) > LISTED else ""
        listed = ": " + "; ".join(wrong[:LISTED]) + more if wrong else ""
        named = f"{manifest.network}, not of {graph.name}"
        whose = named if manifest.network != graph.name else f"another {graph.name}"
        raise WeightsError(f"{file}: weights of {whose}{listed}")
    tested = {name: tensors.get(f"average.{name}", tensors[name]) for name in graph.tensors}
    dtype = np.result_type(np.float32, *{array.dtype for array in tested.values()})
    arrays = {name: array.astype(dtype) for name, array in tested.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{file}: tensor {name} has infinite numbers or NaN")
    steps = f"after {manifest.step:,} steps" if manifest.step else f"seed {manifest.seed}"
    other = manifest.digest not in (None, loaded.digest)
    return Trained(arrays, Statistics.from_tensors(tensors), f"{file}, {steps}", other)


def _checkpoint(loaded: LoadedSpec, run: Path) -> Path:
    """Return the checkpoint of a run's folder: the best where the recipe goes back to it."""
    from ranspec.runtime.folder import BEST, NEWEST

    stopping = loaded.spec.train.early_stopping
    names = (BEST, NEWEST) if stopping and stopping.restore_best else (NEWEST,)
    found = next((run / name for name in names if (run / name).is_file()), None)
    if found is None:
        raise WeightsError(f"{run}: no folder of a run that has a checkpoint (no {NEWEST})")
    return found


def _differences(graph: Graph, tensors: Mapping[str, Array]) -> Iterator[str]:
    """Yield what keeps tensors from being the weights of a network."""
    from ranspec.runtime.checkpoint import BESIDE_WEIGHTS

    for name, tensor in graph.tensors.items():
        if name not in tensors:
            yield f"tensor {name} is missing"
        elif tensors[name].shape != tensor.shape:
            found, needed = list(tensors[name].shape), list(tensor.shape)
            yield f"tensor {name} has shape {found}, the network needs {needed}"
    for name in tensors:
        if name not in graph.tensors and not name.startswith(BESIDE_WEIGHTS):
            yield f"tensor {name} has no place in the network"
