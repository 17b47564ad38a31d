"""From a loss to new weights: what neither Flax nor Optax has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from jax import Array

barrier: Any = jax.lax.optimization_barrier
Differentiate = Callable[..., tuple[Array, Any]]


class AverageState(NamedTuple):
    """The moving average of all parameters."""

    average: Any


def in_parts(differentiate: Differentiate, count: int) -> Differentiate:
    """Return a function for the mean loss and gradients of the parts of a batch, one by one.

    Part j is the rows j, j + count, ...: each device has rows of every part.
    """

    def whole(model: Any, images: Array, labels: Array, *rest: Any) -> tuple[Array, Any]:
        total: Any = None
        for part in range(count):
            rows = [x.reshape(-1, count, *x.shape[1:])[:, part] for x in (images, labels)]
            if total is not None:
                # A part is not begun before the one before it has ended: only one is in memory.
                rows, total = barrier((rows, total))
            found = differentiate(model, *rows, *rest)
            total = found if total is None else jax.tree.map(jnp.add, total, found)
        mean: tuple[Array, Any] = jax.tree.map(lambda x: x / count, total)
        return mean

    return whole


def clip(gradients: Any, most: float) -> Any:
    """Scale gradients so that their common L2 norm is `most`, if it is larger."""
    squares = [jnp.sum(jnp.square(gradient)) for gradient in jax.tree.leaves(gradients)]
    scale = most / jnp.maximum(jnp.sqrt(sum(squares)), most)
    return jax.tree.map(lambda gradient: gradient * scale, gradients)


def scale_by_given_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Return the descent by the `learning_rate` that the update is called with."""

    def update(updates: Any, state: Any, parameters: Any = None, *, learning_rate: Any) -> Any:
        return jax.tree.map(lambda update: -learning_rate * update, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def average(decay: float) -> optax.GradientTransformation:
    """Keep an average of the updated parameters, in which each step's have a share 1 - decay."""

    def initial(parameters: Any) -> AverageState:
        return AverageState(jax.tree.map(jnp.array, parameters))

    def update(updates: Any, state: AverageState, parameters: Any) -> Any:
        new = optax.apply_updates(parameters, updates)
        moved = jax.tree.map(lambda a, w: decay * a + (1 - decay) * w, state.average, new)
        return updates, AverageState(moved)

    return optax.GradientTransformation(initial, update)
