"""Parts of optimisers that Optax does not have."""

from __future__ import annotations

from typing import Any

import jax
import optax  # type: ignore[import-untyped]


def kernels(parameters: optax.Params) -> Any:
    """Tell for each parameter whether it is a convolution's or linear layer's weight."""
    return jax.tree.map_with_path(
        lambda path, _: any(getattr(part, "key", None) == "kernel" for part in path), parameters
    )


def scale_by_given_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Return the descent by the `learning_rate` that the update is called with."""

    def update(updates: Any, state: Any, parameters: Any = None, *, learning_rate: Any) -> Any:
        return jax.tree.map(lambda update: -learning_rate * update, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
