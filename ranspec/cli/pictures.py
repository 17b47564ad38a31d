"""What the commands that draw pictures have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ranspec.cli.output import message

if TYPE_CHECKING:
    from ranspec.ir.graph import Graph
    from ranspec.ir.operation import Array
    from ranspec.pictures.inputs import Images
    from ranspec.pictures.weights import Trained
    from ranspec.spec import LoadedSpec


def picture_weights(loaded: LoadedSpec, graph: Graph, path: Path | None) -> Trained:
    """Read the weights of a checkpoint; without one, take the initial ones and say so."""
    from ranspec.pictures.weights import initial_weights, load_weights

    if path is not None:
        found = load_weights(loaded, graph, path)
        if found.other_spec:
            message(f"{path} was trained by a spec that differs from this one, if only in training")
        return found
    trained = initial_weights(loaded, graph)
    message(f"no checkpoint of {graph.name} given: {trained.origin}, which have learnt nothing")
    return trained


def picture_input(
    loaded: LoadedSpec, trained: Trained, images: Images, data_dir: Path | None
) -> tuple[Array, str]:
    """Return images as the network takes them, and by what they were normalised.

    Where that is not what a run does, the user is told.
    """
    from ranspec.pictures.inputs import find_statistics, network_input
    from ranspec.runtime.data import DataOptions

    options = DataOptions(data_dir=data_dir)
    statistics, right = find_statistics(loaded.spec, trained.statistics, options, images)
    if not right:
        message(
            f"the weights hold no statistics of {loaded.spec.train.data}: the images are "
            "normalised by their own; a run's checkpoint has those of training, or --data-dir "
            "names its images"
        )
    by = "as in the recipe's evaluation" if right else "by their own statistics, not training's"
    return network_input(images, statistics, trained.dtype), by
