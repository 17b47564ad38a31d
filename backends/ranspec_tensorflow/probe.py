"""Run generated TensorFlow code on given weights and batches, for the parity harness."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_NUM_INTEROP_THREADS"] = os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ranspec.verify.probe import Observation, Start, channels_first, main

Array = NDArray[Any]


class RecordingModel:
    """A model that keeps its last output."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.output: Any = None

    def __call__(self, images: Any, training: bool) -> Any:
        self.output = self.model(images, training=training)
        return self.output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class RecordingOptimizer:
    """An optimiser that keeps the gradients it is given."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.gradients: Sequence[Any] = ()

    def apply(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        self.gradients = gradients
        self.optimizer.apply(gradients, variables)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.optimizer, name)


class TensorFlowSession:
    """A generated network with its optimiser."""

    def __init__(self, start: Start) -> None:
        keras.utils.clear_session()
        keras.config.set_floatx(start.dtype)
        keras.config.set_dtype_policy(start.dtype)
        self.code, self.settings, self.dtype = start.code, start.settings, start.dtype
        self.model: Any = self.code.train.make_model(self.settings)
        self.initial: dict[str, Array] = self.code.weights.state(self.model)
        self.optimizer: Any = self.code.train.make_optimizer(self.model, self.settings)
        if any(name.startswith("optimizer.") for name in start.tensors):
            self.code.weights.load(self.model, start.tensors, self.optimizer, start.step)
        else:
            self.code.weights.load(self.model, start.tensors)
        compiled = start.compilation != "none"
        self.train_step = tf.function(self._train_step) if compiled else self._train_step

    def logits(self, images: Array) -> Array:
        return np.array(self.model(_maps(images), training=False))

    def observe(self, images: Array, labels: Array, learning_rate: float) -> Observation:
        loss, logits, gradients = self._run(images, labels, learning_rate)
        state = self.code.weights.state(self.model)
        for variable, gradient in zip(self.model.trainable_variables, gradients, strict=True):
            variable.assign(gradient)
        named = self.code.weights.state(self.model)
        self.code.weights.load(self.model, state)
        trained = {name: array for name, array in named.items() if ".running_" not in name}
        return Observation(np.array(logits), float(loss), trained)

    def step(self, images: Array, labels: Array, learning_rate: float) -> float:
        return float(self._run(images, labels, learning_rate)[0])

    def state(self) -> dict[str, Array]:
        state: dict[str, Array] = self.code.weights.state(self.model, self.optimizer)
        return state

    def forward(self, images: Array, *, training: bool) -> None:
        self.model(_maps(images), training=training)

    def canonical(self, value: Array) -> Array:
        return channels_first(value)

    def _run(self, images: Array, labels: Array, learning_rate: float) -> Any:
        rate = tf.constant(learning_rate, self.dtype)
        return self.train_step(_maps(images), tf.constant(labels), rate)

    def _train_step(self, images: Any, labels: Any, rate: Any) -> Any:
        """Take a step; return the loss, the logits and the gradients."""
        model, optimizer = RecordingModel(self.model), RecordingOptimizer(self.optimizer)
        train_step = self.code.train.train_step
        loss = train_step(model, optimizer, images, labels, rate, self.settings)
        return loss, model.output, list(optimizer.gradients)


def _maps(images: Array) -> Any:
    return tf.constant(images.transpose(0, 2, 3, 1))


if __name__ == "__main__":
    main(TensorFlowSession)
