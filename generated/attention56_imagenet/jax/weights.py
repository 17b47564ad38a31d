"""Move weights and optimiser state between a model and canonical arrays.

Canonical names and layouts are PyTorch's: convolution weights (out, in / groups, height, width),
linear weights (out, in). Flax has kernels (height, width, in / groups, out) and (in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

Array = NDArray[Any]
Network = TypeVar("Network", bound=nnx.Module)
Path = tuple[Any, ...]
Orders = Mapping[int, tuple[int, ...]]

SLOTS: Mapping[str, str] = {
    "trace": "optimizer.momentum",
    "mu": "optimizer.first_moment",
    "nu": "optimizer.second_moment",
    "average": "average",
}
"""What the fields of states that hold an array for each weight are called in checkpoints."""

COUNTERS = frozenset({"count", "step"})

INWARD: Orders = {2: (1, 0), 4: (2, 3, 1, 0)}
OUTWARD: Orders = {2: (1, 0), 4: (3, 2, 0, 1)}
"""The order of axes of canonical kernels in Flax, and the reverse, by rank."""


class Place(NamedTuple):
    """A variable of Flax; kernels have their axes in another order."""

    variable: nnx.Variable[Any]
    is_kernel: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The canonical shape."""
        shape = self.variable.get_value().shape
        return tuple(shape[axis] for axis in self._order(OUTWARD, len(shape)))

    def outward(self, array: Array) -> Array:
        """Return a Flax array in canonical layout."""
        return array.transpose(self._order(OUTWARD, array.ndim))

    def set(self, array: Array) -> None:
        """Set the variable to a canonical array."""
        self.variable.set_value(jnp.array(array.transpose(self._order(INWARD, array.ndim))))

    def _order(self, orders: Orders, rank: int) -> tuple[int, ...]:
        return orders[rank] if self.is_kernel else tuple(range(rank))


def abstract(network: Callable[..., Network]) -> Network:
    """Construct a network quickly: its kernels without arrays, which `load_kernels` brings."""
    found: dict[str, Any] = {}

    @jax.jit
    def others() -> Any:
        model = network(rngs=nnx.Rngs(params=0, dropout=0))
        graph, *states = nnx.split(model, lambda path, _: _is_kernel(path), ...)
        kernels, rest = states
        leaves, structure = jax.tree.flatten(kernels)
        struct: Any = jax.ShapeDtypeStruct
        shapes = [struct(leaf.shape, leaf.dtype) for leaf in leaves]
        found.update(graph=graph, structure=structure, shapes=shapes)
        return rest

    rest = others()
    kernels = jax.tree.unflatten(found["structure"], found["shapes"])
    model: Network = nnx.merge(found["graph"], kernels, rest)
    return model


def state(model: nnx.Module, optimizer: nnx.Optimizer[Any] | None = None) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    places = _places(model) | _slots(optimizer)
    arrays = jax.device_get({name: item.variable.get_value() for name, item in places.items()})
    return {name: np.array(places[name].outward(a), order="C") for name, a in arrays.items()}


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
    places = _places(model) | _slots(optimizer)
    for name in places.keys() | arrays.keys():
        if name not in arrays:
            raise ValueError(f"tensor {name} is missing")
        if name not in places:
            raise ValueError(f"tensor {name} has no place in the model")
        needed = places[name].shape
        if arrays[name].shape != needed:
            raise ValueError(
                f"tensor {name} has shape {list(arrays[name].shape)}, "
                f"the model needs {list(needed)}"
            )
    for name, place in places.items():
        place.set(arrays[name])
    for counter in _counters(optimizer):
        counter.set_value(jnp.array(step, counter.dtype))


def load_kernels(model: nnx.Module, arrays: Mapping[str, Array]) -> None:
    """Set the kernels alone."""
    for name, place in _places(model).items():
        if place.is_kernel:
            place.set(arrays[name])


def shapes(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Return the canonical shape of every weight and statistic by canonical name."""
    return {name: place.shape for name, place in _places(model).items()}


def kernels(model: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights that are drawn, and decay, by canonical name.

    They are those of convolutions and linear layers.
    """
    return {name: place.shape for name, place in _places(model).items() if place.is_kernel}


def decayed(start: str) -> Callable[[Any], Any]:
    """Return Optax's mask of the kernels whose canonical names start so."""

    def is_decayed(path: tuple[Any, ...], _: Any) -> bool:
        keys = tuple(part.key for part in path if hasattr(part, "key"))
        return _is_kernel(keys) and _name(keys).startswith(start)

    return lambda parameters: jax.tree.map_with_path(is_decayed, parameters)


def averaged(model: Network, optimizer: nnx.Optimizer[Any]) -> Network:
    """Return the model with the averages of its weights, where the optimiser keeps any."""
    graph, state = nnx.split(model)
    other: Network = nnx.merge(graph, state)
    places = _places(other)
    for name, place in _slots(optimizer).items():
        if name.startswith("average."):
            value = place.variable.get_value()
            places[name.removeprefix("average.")].variable.set_value(value)
    return other


def averages(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return a checkpoint's tensors with averages in the places of the weights."""
    prefix = "average."
    found = {name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)}
    return {**tensors, **found}


def _places(model: nnx.Module) -> dict[str, Place]:
    return {
        _name(path): Place(value, _is_kernel(path))
        for path, value in nnx.iter_graph(model)
        if isinstance(value, nnx.Param | nnx.BatchStat)
    }


def _slots(optimizer: nnx.Optimizer[Any] | None) -> dict[str, Place]:
    # A path is such as ("opt_state", 1, "trace", "stem", "conv", "kernel").
    return {
        f"{SLOTS[path[2]]}.{_name(path[3:])}": Place(value, _is_kernel(path))
        for path, value in _optimizer_variables(optimizer)
        if len(path) > 3 and path[2] in SLOTS
    }


def _is_kernel(path: Path) -> bool:
    """Tell the weights of convolutions and linear layers by Flax's name for them."""
    return bool(path) and path[-1] == "kernel"


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
    return ".".join([*parents, "weight" if _is_kernel(path) else leaf])
