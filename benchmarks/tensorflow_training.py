"""Measure a training step of generated TensorFlow against a bare step and what Keras' `fit` runs.

    python benchmarks/tensorflow_training.py attention92_cifar --batch-size 64 --rounds 20

All take the same network, in turn, on the same machine and threads:

- `bare`: the generated `train_step` as one `tf.function`, on a batch that is there already;
- `whole`: what `train.py` dispatches, with its batch: drawn, gathered and augmented;
- `fit`: the step that `fit` takes of a compiled Keras model, fed by `tf.data` with random crops and
  flips; with XLA only where that is asked for, since it is slower on a CPU.

Prints the median time of each, and the median and quartiles of its ratio to `bare` in its round;
beside the time by the clock that of the processor, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from turns import measure, report

from ranspec.codegen.build import build
from ranspec.spec import load_spec


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1, help="steps of a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--xla", action="store_true", help="compile `fit` with XLA")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        build(load_spec(options.spec), "tensorflow", Path(folder) / "code")
        sys.path.insert(0, str(Path(folder) / "code"))
        steps = contenders(options.batch_size, options.xla)
        for step in steps.values():
            step()
        report(measure(steps, options.rounds, options.steps))


def contenders(batch_size: int, xla: bool = False) -> dict[str, Callable[[], Any]]:
    """Return what takes one step, by name; all wait for the loss."""
    import data
    import recipe
    import train
    from augment import put_statistics
    from devices import DeviceData, Devices
    from streaming import ahead

    settings = train.Settings(batch_size=batch_size, iterations=10**9)
    devices = Devices(settings)
    size = {"height": recipe.HEIGHT, "width": recipe.WIDTH, "channels": recipe.CHANNELS}
    dataset = data.synthetic(40 * batch_size, classes=recipe.CLASSES, **size)
    known = data.measure([dataset.images], "channel_mean_std", colors=False)
    statistics = put_statistics(known)
    images = DeviceData(dataset, devices)

    def network() -> tuple[Any, Any]:
        model = train.make_model(settings)
        return model, train.make_optimizer(model, settings)

    def batch(step: int) -> Any:
        return images.batch(recipe.draw(step, len(dataset), settings))

    made = ahead(batch, range(10**9))
    bare, whole = network(), network()

    @tf.function(autograph=False)
    def bare_step(images: Any, labels: Any, rate: Any) -> Any:
        return train.train_step(*bare, images, labels, rate, settings)

    def whole_step(images: Any, labels: Any, draws: Any, rate: Any) -> Any:
        images = recipe.training_images(images, draws, statistics, settings)
        return train.train_step(
            *whole, images, recipe.training_labels(labels, draws), rate, settings
        )

    ready = (
        tf.constant(
            ((dataset.images[:batch_size] / 255 - known.mean) * known.scale).astype("float32")
        ),
        tf.constant(dataset.labels[:batch_size]),
        tf.constant(0.01),
    )
    model, _ = network()
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=xla,
    )
    model.make_train_function()
    fit, batches = model.train_function, iter(fed(dataset, batch_size))
    return {
        "bare": lambda: float(bare_step(*ready)),
        "whole": lambda: float(devices.run(whole_step, images, [next(made)], [0.01])[0]),
        "fit": lambda: float(fit(batches)["loss"]),
    }


def fed(dataset: Any, batch_size: int) -> Any:
    """Return an endless dataset of augmented batches, as one would write it."""
    height, width, channels = dataset.images.shape[1:]

    def augmented(image: Any, label: Any) -> tuple[Any, Any]:
        image = tf.image.pad_to_bounding_box(image, 4, 4, height + 8, width + 8)
        image = tf.image.random_crop(image, (height, width, channels))
        return tf.cast(tf.image.random_flip_left_right(image), tf.float32) / 255 - 0.5, label

    made = tf.data.Dataset.from_tensor_slices((dataset.images, dataset.labels))
    made = made.shuffle(len(dataset)).repeat().map(augmented, tf.data.AUTOTUNE)
    return made.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


if __name__ == "__main__":
    main()
