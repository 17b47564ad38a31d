"""Generated code takes a training step, in a process that serves one folder after another.

`python -m tests.specs.stepping FRAMEWORK FD` answers each (folder, image size, whether to run) that
comes through the connection with the loss and whether the first weights moved, or a traceback.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
RATE = 0.01
SEED = 0
"""Of weights; in JAX they follow from the seed of the settings."""

Outcome = tuple[float, bool]
Step = Callable[[Any, Any, Any, bool], Outcome]


class StepError(Exception):
    """A step that failed, or took too long."""


class Server:
    """A process of a framework, started when it is first needed and again when it has ended.

    None is left running: it ends with this process too, however that ends.
    """

    def __init__(self, framework: str) -> None:
        self._framework = framework
        self._process: subprocess.Popen[bytes] | None = None

    def step(self, folder: Path, size: int, run: bool, limit: float) -> Outcome:
        """Have the code in a folder take a step; raise `StepError` after `limit` seconds."""
        if self._process is None:
            self._start()
        try:
            self._connection.send((str(folder), size, run))
            if not self._connection.poll(limit):
                raise StepError(f"took longer than {limit:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError):
            self.end()
            raise StepError(f"the process of {self._framework} ended") from None
        except BaseException:
            self.end()
            raise
        if isinstance(answer, str):
            raise StepError(answer)
        return answer

    def end(self) -> None:
        """Kill the process, if it runs, with all that it started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()
        self._connection.close()
        self._process = None

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        program = ["-m", "ranspec.verify.guard", "tests.specs.stepping"]
        self._process = subprocess.Popen(
            [sys.executable, *program, self._framework, str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()


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
    import keras
    import tensorflow as tf

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

    def take_step(train: Any, images: Any, labels: Any, run: bool) -> Outcome:
        settings = train.Settings()
        model = train.make_model(settings)
        optimizer = train.make_optimizer(model, settings)
        before = np.array(jax.tree.leaves(nnx.state(model, nnx.Param))[0])
        rest = images, labels, RATE
        if not run:
            step = lambda *parts: train.train_step(*parts, *rest, settings)  # noqa: E731
            loss = nnx.eval_shape(step, model, optimizer)
            return (0.0 if loss.shape == () and loss.dtype == np.float32 else math.nan), True
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


def _serve(connection: Connection, take_step: Step) -> None:
    while True:
        try:
            folder, size, run = connection.recv()
        except EOFError:
            return
        mine = {file.stem for file in Path(folder).iterdir()}
        sys.path.insert(0, folder)
        try:
            train = importlib.import_module("train")
            recipe = importlib.import_module("recipe")
            connection.send(take_step(train, *_batch(recipe, size), run))
        except Exception:
            connection.send(traceback.format_exc())
        finally:
            sys.path.remove(folder)
            for name in mine & set(sys.modules):
                del sys.modules[name]


def main(framework: str, connection: str) -> None:
    """Serve until the connection is closed."""
    steps = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
    _serve(Connection(int(connection)), steps[framework]())


if __name__ == "__main__":
    main(*sys.argv[1:])
