"""Generated code takes a training step, in a process that serves one folder after another.

`python -m tests.specs.stepping FRAMEWORK FD` answers each (folder, image size, whether to run) with
the loss and whether the first weights moved.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tests.quick import build_networks_once, one_key
from tests.serving import serve

RATE = 0.01
SEED = 0
"""Of weights; in JAX they follow from the seed of the settings."""

Outcome = tuple[float, bool]
Step = Callable[[Any, Any, Any, bool], Outcome]


def _torch() -> Step:
    import torch

    def take_step(train: Any, images: Any, labels: Any, run: bool) -> Outcome:
        settings = train.Settings()
        torch.manual_seed(SEED)
        model = _network(train)()
        optimizer = train.make_optimizer(model, settings)
        before = next(iter(model.parameters())).detach().clone()
        images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        loss = train.train_step(model, optimizer, images, torch.from_numpy(labels), RATE, settings)
        return float(loss), bool((next(iter(model.parameters())) != before).any())

    return take_step


def _tensorflow() -> Step:
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
    os.environ["TF_NUM_INTEROP_THREADS"] = os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    import keras
    import tensorflow as tf

    build_networks_once()

    def take_step(train: Any, images: Any, labels: Any, run: bool) -> Outcome:
        settings = train.Settings()
        keras.utils.set_random_seed(SEED)
        model = _network(train)()
        optimizer = train.make_optimizer(model, settings)
        before = model.trainable_variables[0].numpy()
        images, labels = tf.constant(images), tf.constant(labels)
        loss = train.train_step(model, optimizer, images, labels, tf.constant(RATE), settings)
        return float(loss), bool((model.trainable_variables[0].numpy() != before).any())

    return take_step


def _jax() -> Step:
    import jax
    from flax import nnx

    jax.config.update("jax_disable_most_optimizations", True)

    def traced(train: Any, *batch: Any) -> Outcome:
        def step() -> Any:
            settings = train.Settings()
            model = _network(train)(rngs=nnx.Rngs(params=0, dropout=0))
            optimizer = train.make_optimizer(model, settings)
            return train.train_step(model, optimizer, *batch, settings)

        with patch.object(nnx.RngStream, "__call__", one_key):
            loss = nnx.eval_shape(step)
        return (0.0 if loss.shape == () and loss.dtype == np.float32 else math.nan), True

    def take_step(train: Any, images: Any, labels: Any, run: bool) -> Outcome:
        rest = images, labels, RATE
        if not run:
            return traced(train, *rest)
        settings = train.Settings()
        model = train.make_model(settings)
        optimizer = train.make_optimizer(model, settings)
        before = np.array(jax.tree.leaves(nnx.state(model, nnx.Param))[0])
        step = nnx.jit(train.train_step, static_argnames="settings")
        loss = step(model, optimizer, *rest, settings=settings)
        after = np.array(jax.tree.leaves(nnx.state(model, nnx.Param))[0])
        return float(loss), bool((after != before).any())

    return take_step


def _network(train: Any) -> Any:
    return next(v for v in vars(train).values() if getattr(v, "__module__", "") == "model")


def _batch(recipe: Any, size: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, size, size, recipe.CHANNELS)).astype(np.float32)
    return images, generator.integers(0, recipe.CLASSES, 2)


def _taken(take_step: Step, folder: Path, size: int, run: bool) -> Outcome:
    mine = {file.stem for file in folder.iterdir()}
    sys.path.insert(0, str(folder))
    try:
        train = importlib.import_module("train")
        importlib.import_module("weights")
        recipe = importlib.import_module("recipe")
        return take_step(train, *_batch(recipe, size), run)
    finally:
        sys.path.remove(str(folder))
        for name in mine & set(sys.modules):
            del sys.modules[name]


def main(framework: str, connection: str) -> None:
    """Serve until the connection is closed."""
    take_step = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}[framework]()
    serve(connection, lambda request: _taken(take_step, *request))


if __name__ == "__main__":
    main(*sys.argv[1:])
