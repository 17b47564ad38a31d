"""Move weights and optimiser state between a model and canonical arrays.

Canonical names and layouts are PyTorch's: the attributes on the way to a layer, then `weight`,
`bias`, `running_mean` or `running_var`; convolution weights (out, in / groups, height, width),
linear weights (out, in).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Canonical names of variables, where Keras calls them otherwise."""

CANONICAL_AXES = {4: (3, 2, 0, 1), 2: (1, 0)}
"""Keras' axis for each canonical one, of convolution and linear weights."""


def state(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None = None
) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    targets = _variables(model) | _slots(model, optimizer)
    return {
        name: np.array(variable.numpy().transpose(_axes(name, variable.ndim)), order="C")
        for name, variable in targets.items()
    }


def load(
    model: keras.Model,
    arrays: Mapping[str, Array],
    optimizer: keras.optimizers.Optimizer | None = None,
    step: int = 0,
) -> None:
    """Set all weights and statistics, and the optimiser's state after `step` steps if given.

    Raises ValueError, naming the tensor, if one is missing, unknown or of another shape.
    """
    targets = _variables(model) | _slots(model, optimizer)
    for name in targets.keys() | arrays.keys():
        if name not in arrays:
            raise ValueError(f"tensor {name} is missing")
        if name not in targets:
            raise ValueError(f"tensor {name} has no place in the model")
        shape = _shape(name, targets[name])
        if arrays[name].shape != shape:
            raise ValueError(
                f"tensor {name} has shape {list(arrays[name].shape)}, the model needs {list(shape)}"
            )
    for name, variable in targets.items():
        axes = np.argsort(_axes(name, variable.ndim))
        variable.assign(np.asarray(arrays[name], variable.dtype).transpose(axes))
    if optimizer is not None:
        optimizer.iterations.assign(step)


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the canonical shape of every weight and statistic by canonical name."""
    return {name: _shape(name, variable) for name, variable in _variables(model).items()}


def children(layer: keras.Layer) -> dict[str, keras.Layer]:
    """Return the layers that a layer is made of, by canonical name; those of a row by position."""
    row = vars(layer).get("row")
    if isinstance(row, list):
        return {str(position): child for position, child in enumerate(row)}
    return {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, keras.Layer) and not name.startswith("_")
    }


def _shape(name: str, variable: keras.Variable) -> tuple[int, ...]:
    return tuple(variable.shape[axis] for axis in _axes(name, variable.ndim))


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    return dict(_walk(model, ""))


def _slots(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None
) -> dict[str, keras.Variable]:
    if optimizer is None:
        return {}
    names = {id(variable): name for name, variable in _walk(model, "")}
    return {
        f"optimizer.{slot}.{names[id(variable)]}": value
        for slot, values in optimizer.slots.items()
        for variable, value in zip(model.trainable_variables, values, strict=True)
    }


def _walk(layer: keras.Layer, prefix: str) -> Iterator[tuple[str, keras.Variable]]:
    """Yield every variable below a layer with its canonical name."""
    parts = children(layer)
    for name, child in parts.items():
        yield from _walk(child, f"{prefix}{name}.")
    if not parts:
        for variable in layer.weights:
            yield prefix + NAMES.get(variable.name, variable.name), variable


def _axes(name: str, rank: int) -> tuple[int, ...]:
    """Return, for each canonical axis of a tensor, Keras' axis."""
    if name.endswith(".weight"):
        return CANONICAL_AXES.get(rank, tuple(range(rank)))
    return tuple(range(rank))
