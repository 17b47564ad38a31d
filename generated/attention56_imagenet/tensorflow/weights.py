"""Move weights and optimiser state between a model and canonical arrays.

Canonical names and layouts are PyTorch's: the attributes on the way to a layer, then `weight`,
`bias`, `running_mean` or `running_var`; convolution weights (out, in / groups, height, width),
linear weights (out, in).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

AVERAGE = "average."
"""Prefix of the names of averages of weights."""

KERNEL = "kernel"
"""Keras' name for the weights of convolutions and linear layers."""

NAMES = {
    KERNEL: "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Canonical names of variables, where Keras calls them otherwise."""

CANONICAL_AXES = {4: (3, 2, 0, 1), 2: (1, 0)}
"""Keras' axis for each canonical one, of kernels."""


class Place(NamedTuple):
    """A variable of Keras, and its axis for each canonical one."""

    variable: keras.Variable
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        return tuple(self.variable.shape[axis] for axis in self.axes)


def state(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None = None
) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    return {
        name: np.array(variable.numpy().transpose(axes), order="C")
        for name, (variable, axes) in _places(model, optimizer).items()
    }


def load(
    model: keras.Model,
    arrays: Mapping[str, Array],
    optimizer: keras.optimizers.Optimizer | None = None,
    step: int = 0,
) -> None:
    """Set all weights and statistics, and the optimiser's state after `step` steps if given.

    Averages that are missing start at the weights.

    Raises ValueError, naming the tensor, if one is missing, unknown or of another shape.
    """
    places = _places(model, optimizer)
    starts = {name: name.removeprefix(AVERAGE) for name in places}
    arrays = {name: arrays[start] for name, start in starts.items() if start in arrays} | dict(
        arrays
    )
    for name in places.keys() | arrays.keys():
        if name not in arrays:
            raise ValueError(f"tensor {name} is missing")
        if name not in places:
            raise ValueError(f"tensor {name} has no place in the model")
        shape = places[name].shape
        if arrays[name].shape != shape:
            raise ValueError(
                f"tensor {name} has shape {list(arrays[name].shape)}, the model needs {list(shape)}"
            )
    for name, (variable, axes) in places.items():
        array = np.asarray(arrays[name], variable.dtype)
        variable.assign(array.transpose(np.argsort(axes)))
    if optimizer is not None:
        optimizer.iterations.assign(step)


def averaged(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return a checkpoint's tensors with averages, if there are any, in the place of weights."""
    averages = {name: array for name, array in tensors.items() if name.startswith(AVERAGE)}
    return dict(tensors) | {name.removeprefix(AVERAGE): a for name, a in averages.items()}


def shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the canonical shape of every weight and statistic by canonical name."""
    return {name: place.shape for name, place in _places(model).items()}


def kernels(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights that are drawn, and decay, by canonical name.

    They are those of convolutions and linear layers.
    """
    places = _places(model).items()
    return {name: place.shape for name, place in places if place.variable.name == KERNEL}


def penalties(model: keras.Model, prefix: str, penalty: float) -> list[float]:
    """Return for each trained variable the L2 penalty, 0 but for kernels of that prefix."""
    drawn = kernels(model)
    decayed = {
        id(variable)
        for name, variable in _walk(model, "")
        if name in drawn and name.startswith(prefix)
    }
    return [penalty if id(v) in decayed else 0.0 for v in model.trainable_variables]


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


def _places(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | None = None
) -> dict[str, Place]:
    own = dict(_walk(model, ""))
    places = {name: Place(variable, _axes(variable)) for name, variable in own.items()}
    if optimizer is not None:
        names = {id(variable): name for name, variable in own.items()}
        slots = {f"optimizer.{slot}.": values for slot, values in optimizer.slots.items()}
        if optimizer.averages:
            slots[AVERAGE] = optimizer.averages
        for prefix, values in slots.items():
            for variable, value in zip(model.trainable_variables, values, strict=True):
                places[prefix + names[id(variable)]] = Place(value, _axes(variable))
    return places


def _walk(layer: keras.Layer, prefix: str) -> Iterator[tuple[str, keras.Variable]]:
    """Yield every variable below a layer with its canonical name."""
    parts = children(layer)
    for name, child in parts.items():
        yield from _walk(child, f"{prefix}{name}.")
    if not parts:
        for variable in layer.weights:
            yield prefix + NAMES.get(variable.name, variable.name), variable


def _axes(variable: keras.Variable) -> tuple[int, ...]:
    """Return, for each canonical axis of a variable, Keras' axis."""
    rank = len(variable.shape)
    return CANONICAL_AXES[rank] if variable.name == KERNEL else tuple(range(rank))
