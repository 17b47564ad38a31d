"""Run generated JAX code on given weights and batches, for the parity harness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from ranspec.verify.probe import Observation, Start, channels_first, main

Array = NDArray[Any]
CONFIG: Any = jax.config
Observed = tuple[jax.Array, jax.Array, nnx.State[Any, Any]]


class Logits(nnx.Variable[jax.Array]):
    """What a network has computed last."""


class RecordingOptimizer:
    """Passes updates on to an optimiser, and keeps the gradients it is given."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.gradients: Any = None

    def update(self, model: nnx.Module, gradients: Any, **arguments: Any) -> None:
        self.gradients = gradients
        self.optimizer.update(model, gradients, **arguments)


class JaxSession:
    """A generated network with its optimiser."""

    def __init__(self, start: Start) -> None:
        CONFIG.update("jax_enable_x64", start.dtype == "float64")
        CONFIG.update("jax_disable_most_optimizations", start.compilation == "quick")
        CONFIG.update("jax_default_matmul_precision", "highest")
        self.code, self.settings = start.code, start.settings
        self.model = self.code.train.make_model(self.settings)
        self.initial: dict[str, Array] = self.code.weights.state(self.model)
        own = {name: start.tensors[name] for name in self.initial}
        self.code.weights.load(self.model, own)
        self.optimizer = self.code.train.make_optimizer(self.model, self.settings)
        if len(own) < len(start.tensors):
            self.code.weights.load(self.model, start.tensors, self.optimizer, start.step)
        compiled = start.compilation != "none"
        self.train_step = nnx.jit(self._train_step) if compiled else self._train_step
        self.evaluate = nnx.jit(_evaluate) if compiled else _evaluate

    def logits(self, images: Array) -> Array:
        self.model.eval()
        logits = self.evaluate(self.model, _maps(images))
        self.model.train()
        return np.asarray(logits)

    def observe(self, images: Array, labels: Array, learning_rate: float) -> Observation:
        loss, logits, gradients = self._run(images, labels, learning_rate)
        holder = nnx.clone(self.model)
        nnx.update(holder, gradients)
        statistics = {name for name in self.code.weights.shapes(holder) if ".running_" in name}
        named = self.code.weights.state(holder)
        trained = {name: array for name, array in named.items() if name not in statistics}
        return Observation(np.asarray(logits), float(loss), trained)

    def step(self, images: Array, labels: Array, learning_rate: float) -> float:
        return float(self._run(images, labels, learning_rate)[0])

    def state(self) -> dict[str, Array]:
        state: dict[str, Array] = self.code.weights.state(self.model, self.optimizer)
        return state

    def forward(self, images: Array, *, training: bool) -> None:
        (self.model.train if training else self.model.eval)()
        self.model(_maps(images))

    def canonical(self, value: Array) -> Array:
        return channels_first(value)

    def _run(self, images: Array, labels: Array, learning_rate: float) -> Observed:
        maps, targets = _maps(images), jnp.asarray(labels)
        observed: Observed = self.train_step(
            self.model, self.optimizer, maps, targets, learning_rate
        )
        return observed

    def _train_step(
        self, model: nnx.Module, optimizer: Any, images: jax.Array, labels: jax.Array, rate: Any
    ) -> Observed:
        """Take a step and return what it saw."""
        recording = RecordingOptimizer(optimizer)
        train_step = self.code.train.train_step
        with recorded_logits(type(model)):
            loss = train_step(model, recording, images, labels, rate, self.settings)
        logits = vars(model)["recorded_logits"]
        delattr(model, "recorded_logits")
        return loss, logits[...], recording.gradients


@contextmanager
def recorded_logits(network: Any) -> Iterator[None]:
    """Keep the logits of a network's passes in a variable, which outlives transforms."""
    original = network.__call__

    def call(model: Any, images: jax.Array) -> jax.Array:
        logits: jax.Array = original(model, images)
        model.recorded_logits = Logits(logits)
        return logits

    network.__call__ = call
    try:
        yield
    finally:
        network.__call__ = original


def _evaluate(model: Any, images: jax.Array) -> jax.Array:
    logits: jax.Array = model(images)
    return logits


def _maps(images: Array) -> jax.Array:
    return jnp.asarray(images.transpose(0, 2, 3, 1))


if __name__ == "__main__":
    CONFIG.update("jax_platforms", "cpu")
    main(JaxSession)
