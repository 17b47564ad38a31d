"""What batch norm costs and how exact it is in float32 on a CPU: the kernel used, and two passes.

`python benchmarks/batch_norm.py torch` and `... tensorflow` print the relative error of the
variance, and the time of a training step of attention56_cifar with either, taken in turn.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import ranspec

SPEC = "attention56_cifar"
MAPS = ((8, 64, 32, 32), (8, 64, 112, 112))
BATCH = 8
ROUNDS = 15


def images(shape: tuple[int, ...]) -> Any:
    """Draw maps (N, C, H, W) whose mean is as large as their deviation, as after a ReLU."""
    return np.random.default_rng(0).normal(1.0, 1.0, shape).astype(np.float32)


def error(found: Any, x: Any) -> float:
    """Return the largest relative error of a batch's unbiased variances."""
    exact = x.astype(np.float64).var((0, 2, 3), ddof=1)
    return float(np.abs(found / exact - 1).max())


def compare(steps: dict[str, Callable[[], None]]) -> None:
    """Time steps in turn, so that whatever slows the machine slows all."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    for name, values in times.items():
        print(f"{name}: {1000 * statistics.median(values):.0f} ms a step, median of {ROUNDS}")
    first, second = times.values()
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    print(f"two passes cost {100 * (statistics.median(ratios) - 1):+.1f} %")


def built(backend: str) -> tuple[ModuleType, ModuleType]:
    """Build the network; return its modules `train` and `layers` or, in PyTorch, `model`."""
    folder = ranspec.build(ranspec.load_spec(SPEC), backend, Path(tempfile.mkdtemp()) / "x").folder
    sys.path.insert(0, str(folder))
    import model
    import train

    return train, model


def torch_main() -> None:
    import torch
    from torch import Tensor, nn

    class TwoPass(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((0, 2, 3))
            centred = x - mean[:, None, None]
            variance = centred.square().mean((0, 2, 3))
            with torch.no_grad():
                count = x.numel() / x.shape[1]
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            factor = torch.rsqrt(variance + self.eps) * self.weight
            return centred * factor[:, None, None] + self.bias[:, None, None]

    kinds = {"PyTorch's kernel": nn.BatchNorm2d, "two passes": TwoPass}
    for shape in MAPS:
        x = images(shape)
        for name, kind in kinds.items():
            layer = kind(shape[1], momentum=1.0)
            layer(torch.from_numpy(x).contiguous(memory_format=torch.channels_last))
            print(f"{name}, {shape}: variance off by {error(layer.running_var.numpy(), x):.1e}")
    train, model = built("torch")
    settings = train.Settings()
    steps = {}
    for name, kind in kinds.items():
        model.nn.BatchNorm2d = kind
        network = train.make_model(settings).to(memory_format=torch.channels_last)
        batch = torch.from_numpy(images((BATCH, 3, 32, 32)))
        batch = batch.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(BATCH)
        optimizer = train.make_optimizer(network, settings)
        steps[name] = lambda arguments=(network, optimizer, batch, labels): train.train_step(
            *arguments, 0.01, settings
        ).item()
    compare(steps)


def tensorflow_main() -> None:
    import tensorflow as tf

    train, _ = built("tensorflow")
    import layers

    fused = layers.BatchNorm._fused
    kinds = {"TensorFlow's kernel": fused, "two passes": layers.BatchNorm._explicit}
    for shape in MAPS:
        x = images(shape)
        for name, kind in kinds.items():
            layers.BatchNorm._fused = kind
            layer = layers.BatchNorm(momentum=1.0)
            layer(tf.constant(x.transpose(0, 2, 3, 1)), training=True)
            print(f"{name}, {shape}: variance off by {error(layer.moving_variance.numpy(), x):.1e}")
    settings = train.Settings()
    steps = {}
    for name, kind in kinds.items():
        layers.BatchNorm._fused = kind
        network = train.make_model(settings)
        optimizer = train.make_optimizer(network, settings)
        batch = tf.constant(images((BATCH, 3, 32, 32)).transpose(0, 2, 3, 1))
        labels = tf.range(BATCH)
        step = tf.function(train.train_step)
        arguments = (network, optimizer, batch, labels, tf.constant(0.01), settings)
        step(*arguments)
        steps[name] = lambda step=step, arguments=arguments: step(*arguments).numpy()
    compare(steps)


if __name__ == "__main__":
    {"torch": torch_main, "tensorflow": tensorflow_main}[sys.argv[1]]()
