"""Move weights and optimiser state between a model and canonical arrays.

Canonical names and layouts are PyTorch's: convolution weights (out, in / groups, height, width),
linear weights (out, in). Flax has kernels (height, width, in / groups, out) and (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

Array = NDArray[Any]
Network = TypeVar("Network", bound=nnx.Module)
Variables = dict[str, "nnx.Variable[Any]"]
Path = tuple[Any, ...]
Orders = Mapping[int, tuple[int, ...]]

SLOTS: Mapping[str, str] = {"trace": "momentum", "mu": "first_moment", "nu": "second_moment"}
"""The fields of Optax's states that hold an array for each weight."""

COUNTERS = frozenset({"count", "step"})

INWARD: Orders = {2: (1, 0), 4: (2, 3, 1, 0)}
OUTWARD: Orders = {2: (1, 0), 4: (3, 2, 0, 1)}
"""The order of axes of canonical kernels in Flax, and the reverse, by rank."""


def abstract(network: Callable[..., Network]) -> Network:
    """Construct a network quickly: without arrays, which `load` brings."""
    model: Network = nnx.eval_shape(lambda: network(rngs=nnx.Rngs(params=0, dropout=0)))
    nnx.reseed(model, dropout=0)
    return model


def state(model: nnx.Module, optimizer: nnx.Optimizer[Any] | None = None) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    variables = _variables(model) | _slots(optimizer)
    arrays = jax.device_get({name: value.get_value() for name, value in variables.items()})
    return {
        name: np.array(_arranged(name, array, OUTWARD), order="C") for name, array in arrays.items()
    }


def load(
    model: nnx.Module,
    arrays: Mapping[str, Array],
    optimizer: nnx.Optimizer[Any] | None = None,
    step: int = 0,
) -> None:
    """Set all weights and statistics, and the optimiser's state after `step` steps if given.

    Arrays keep their types as far as JAX's settings
    allow. Raises ValueError, naming the tensor, if one is missing, unknown or of another shape.
    """
    variables = _variables(model) | _slots(optimizer)
    for name in variables.keys() | arrays.keys():
        if name not in arrays:
            raise ValueError(f"tensor {name} is missing")
        if name not in variables:
            raise ValueError(f"tensor {name} has no place in the model")
        needed = _shape(name, variables[name])
        if arrays[name].shape != needed:
            raise ValueError(
                f"tensor {name} has shape {list(arrays[name].shape)}, "
                f"the model needs {list(needed)}"
            )
    for name, variable in variables.items():
        variable.set_value(jnp.array(_arranged(name, arrays[name], INWARD)))
    for counter in _counters(optimizer):
        counter.set_value(jnp.array(step, counter.dtype))


def shapes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight and statistic by canonical name."""
    return {name: _shape(name, variable) for name, variable in _variables(model).items()}


def _variables(model: nnx.Module) -> Variables:
    return {
        _name(path): value
        for path, value in nnx.iter_graph(model)
        if isinstance(value, nnx.Param | nnx.BatchStat)
    }


def _slots(optimizer: nnx.Optimizer[Any] | None) -> Variables:
    # A path is such as ("opt_state", 1, "trace", "stem", "conv", "kernel").
    return {
        f"optimizer.{SLOTS[path[2]]}.{_name(path[3:])}": value
        for path, value in _optimizer_variables(optimizer)
        if len(path) > 3 and path[2] in SLOTS
    }


def _counters(optimizer: nnx.Optimizer[Any] | None) -> list[nnx.Variable[Any]]:
    variables = _optimizer_variables(optimizer)
    return [value for path, value in variables if len(path) <= 3 and path[-1] in COUNTERS]


def _optimizer_variables(
    optimizer: nnx.Optimizer[Any] | None,
) -> Iterator[tuple[Path, nnx.Variable[Any]]]:
    if optimizer is not None:
        for path, value in nnx.iter_graph(optimizer):
            if isinstance(value, nnx.Variable):
                yield path, value


def _name(path: Path) -> str:
    """Write a path in PyTorch's way: no `layers` in a sequence, `weight` for `kernel`."""
    *parents, leaf = (
        str(part)
        for part, after in zip(path, (*path[1:], ""), strict=True)
        if not (part == "layers" and isinstance(after, int))
    )
    return ".".join([*parents, "weight" if leaf == "kernel" else leaf])


def _shape(name: str, variable: nnx.Variable[Any]) -> tuple[int, ...]:
    shape = variable.get_value().shape
    order = _order(name, len(shape), OUTWARD)
    return tuple(shape[axis] for axis in order)


def _arranged(name: str, array: Array, orders: Orders) -> Array:
    return array.transpose(_order(name, array.ndim, orders))


def _order(name: str, rank: int, orders: Orders) -> tuple[int, ...]:
    is_kernel = name.endswith(".weight") and rank > 1
    return orders[rank] if is_kernel else tuple(range(rank))
