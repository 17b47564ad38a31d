"""Measure a training step of generated JAX against a bare step and one under plain `nnx.jit`.

    python benchmarks/jax_training.py attention92_cifar --batch-size 64 --rounds 20

All take the same network, in turn, on the same machine:

- `bare`: the generated `train_step`, compiled over flat arrays, on a batch that is there already;
- `whole`: the same with its batch, as `train.py` does: drawn, gathered and augmented;
- `nnx`: the generated `train_step` under `nnx.jit`, on a batch that is there.

Prints the seconds of the first step of each, which compiles; then the median time of each, and the
median and quartiles of its ratio to `bare` in its round; beside the time by the clock that of the
processor, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from turns import measure, report

from ranspec.codegen.build import build
from ranspec.spec import load_spec


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build(load_spec(options.spec), "jax", Path(folder) / "code")
        sys.path.insert(0, str(Path(folder) / "code"))
        steps = contenders(options.batch_size)
        for name, step in steps.items():
            start = time.process_time()
            step()
            print(f"{name:6} {time.process_time() - start:8.1f} s of the processor at first")
        report(measure(steps, options.rounds))


def contenders(batch_size: int) -> dict[str, Callable[[], object]]:
    """Return what takes one step, and waits for it, by name."""
    import recipe
    import train
    from data import measure as statistics_of
    from data import synthetic
    from devices import CompiledSteps, DeviceData, Devices

    settings = train.Settings(batch_size=batch_size, iterations=10**9, compile_cache=False)
    size = {"height": recipe.HEIGHT, "width": recipe.WIDTH, "channels": recipe.CHANNELS}
    devices = Devices.choose(settings)
    dataset = synthetic(40 * batch_size, classes=recipe.CLASSES, **size)
    known = statistics_of([dataset.images], "channel_mean_std", colors=False)
    data = DeviceData(dataset, known, devices)
    batches = data.ahead(recipe.draw, settings, range(10**9))
    first = next(batches)
    images, labels = train.training_batch(*first, data.arrays, settings)

    def objects() -> tuple[Any, Any]:
        model = train.make_model(settings)
        devices.prepare(model)
        return model, train.make_optimizer(model, settings)

    def ready(*_: Any) -> tuple[Any, Any]:
        return images, labels

    bare = CompiledSteps(train.train_step, ready, *objects(), settings, devices)
    whole = CompiledSteps(train.train_step, train.training_batch, *objects(), settings, devices)
    plain, own = nnx.jit(train.train_step, static_argnames="settings"), objects()
    return {
        "bare": lambda: jax.block_until_ready(bare([first], [0.01], data.arrays)),
        "whole": lambda: jax.block_until_ready(whole([next(batches)], [0.01], data.arrays)),
        "nnx": lambda: jax.block_until_ready(plain(*own, images, labels, 0.01, settings=settings)),
    }


if __name__ == "__main__":
    main()
