"""Train attention92_cifar with TensorFlow.

    python train.py --data-dir DIR         DIR/train/<class>/*, DIR/test/<class>/*
    python train.py --data-dir DIR --resume CHECKPOINT
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

Weights, sample order and augmentation are pure functions of the seed and the step, the same in
every framework. Results: OUTPUT/checkpoint.safetensors and OUTPUT/metrics.jsonl.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import checkpoint
import weights
from augment import augment, normalize
from checkpoint import CheckpointError, Manifest
from data import DataError, Dataset, load_dataset, statistics
from initialization import draw_kernels
from metrics import MetricsLog, accuracies, prefixed, progress_bar
from model import Attention92
from optimizer import SGD
from recipe import learning_rate
from sampling import batch_indices, crop_and_flip
from settings import (
    RISING,
    BatchSize,
    Count,
    Fraction,
    Padding,
    Penalty,
    Positive,
    Rate,
    Share,
    Steps,
    fail,
    parse_settings,
)

NETWORK = "attention92_cifar"
DATA = "cifar10"
HEIGHT, WIDTH, CHANNELS = 32, 32, 3
CLASSES = 10
NORMALIZATION = "pixel_mean"
CHECKPOINT = "checkpoint.safetensors"
MEASURES = ("loss", "accuracy", "top5_accuracy")


@dataclass(frozen=True)
class Settings:
    """The recipe, and how to run it."""

    data_dir: Annotated[Path | None, "images to train on, see above"] = None
    output: Annotated[Path, "folder for results"] = Path("runs/attention92_cifar")
    weights: Annotated[Path | None, "checkpoint to take initial weights from"] = None
    resume: Annotated[Path | None, "checkpoint to continue"] = None
    evaluate: Annotated[bool, "only evaluate --weights or --resume"] = False
    seed: Annotated[Count, "seed of weights, sample order, augmentation"] = 0
    iterations: Annotated[Steps, "steps to train"] = 160_000
    batch_size: Annotated[BatchSize, "images per step"] = 64
    learning_rate: Annotated[Rate, "initial learning rate"] = 0.1
    learning_rate_factor: Annotated[Share, "factor of each change"] = 0.1
    learning_rate_steps: Annotated[tuple[Steps, ...], RISING, "when the rate changes"] = (
        64_000,
        96_000,
    )
    momentum: Annotated[Fraction, "momentum of SGD"] = 0.9
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    weight_decay: Annotated[Penalty, "L2 penalty, not on biases or norms"] = 0.0001
    pad: Annotated[Padding, "zero pixels around an image to crop from"] = 4
    flip: Annotated[bool, "flip images at random, left to right"] = True
    evaluate_every: Annotated[Positive, "steps between evaluations and checkpoints"] = 8000
    log_every: Annotated[Positive, "steps between lines of metrics"] = 100
    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[Literal["float32", "bfloat16"], "of convolutions"] = "float32"
    xla: Annotated[Literal["auto", "on", "off"], "compile with XLA; auto: on a GPU"] = "auto"


def make_optimizer(model: keras.Model, settings: Settings) -> SGD:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    optimizer = SGD(
        settings.learning_rate, settings.momentum, settings.nesterov, settings.weight_decay
    )
    optimizer.build(model.trainable_variables)
    return optimizer


def train_step(
    model: keras.Model,
    optimizer: SGD,
    images: tf.Tensor,
    labels: tf.Tensor,
    learning_rate: float | tf.Tensor,
    settings: Settings,
) -> tf.Tensor:
    """Take one step on float images [N, H, W, C]; return the loss, which stays on the device.

    Runs as it is, or compiled as a part of `tf.function`.
    """
    with tf.GradientTape() as tape:
        losses = cross_entropy(model(images, training=True), labels)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.learning_rate.assign(learning_rate)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return each image's loss."""
    log_probabilities = tf.nn.log_softmax(tf.cast(logits, keras.config.floatx()))
    targets = tf.one_hot(labels, CLASSES, dtype=log_probabilities.dtype)
    return -tf.reduce_sum(targets * log_probabilities, axis=-1)


class DeviceData:
    """A dataset on the device, and its batches in the network's form."""

    def __init__(self, dataset: Dataset, mean: np.ndarray, scale: np.ndarray):
        self.images = tf.constant(dataset.images)
        self.labels = tf.constant(dataset.labels)
        self.mean = tf.constant(mean, keras.config.floatx())
        self.scale = tf.constant(scale, keras.config.floatx())

    def __len__(self) -> int:
        return len(self.labels)

    def augmented(
        self,
        indices: tf.Tensor,
        offsets: tf.Tensor,
        flips: tf.Tensor,
        pad: int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return images and labels by index, the images changed as drawn."""
        images = tf.gather(self.images, indices)
        images = augment(images, offsets, flips, pad, self.mean, self.scale)
        return images, tf.gather(self.labels, indices)

    def batch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return images, as they are, and labels by index."""
        images = tf.gather(self.images, indices)
        return normalize(images, self.mean, self.scale), tf.gather(self.labels, indices)


def training_step(
    model: keras.Model,
    optimizer: SGD,
    data: DeviceData,
    settings: Settings,
    learning_rate: tf.Tensor,
    indices: tf.Tensor,
    offsets: tf.Tensor,
    flips: tf.Tensor,
) -> tf.Tensor:
    """Make a batch of what was drawn for a step, and take the step; return the loss."""
    images, labels = data.augmented(indices, offsets, flips, settings.pad)
    return train_step(model, optimizer, images, labels, learning_rate, settings)


def draw(step: int, size: int, settings: Settings) -> tuple[tf.Tensor, ...]:
    """Return what a step draws for a dataset of `size`, a pure function of the seed and the step.

    It is all that follows the learning rate in `training_step`.
    """
    indices = batch_indices(settings.seed, step, settings.batch_size, size)
    offsets, flips = crop_and_flip(
        settings.seed, step, settings.batch_size, settings.pad, settings.flip
    )
    return tuple(map(tf.constant, [indices, offsets, flips]))


def evaluation_step(
    model: keras.Model, data: DeviceData, settings: Settings, start: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Return the sum of each measure over a batch from `start` on."""
    indices = start + tf.range(settings.batch_size)
    present = indices < len(data)
    images, labels = data.batch(tf.minimum(indices, len(data) - 1))
    logits = model(images, training=False)
    losses = cross_entropy(logits, labels)
    correct = tf.argmax(logits, axis=-1) == labels
    return (
        tf.reduce_sum(tf.where(present, losses, 0)),
        tf.math.count_nonzero(correct & present),
        tf.math.count_nonzero(in_top5(logits, labels) & present),
    )


def in_top5(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Tell which labels are among the five highest logits; a tie counts against the label."""
    lower = logits < tf.gather(logits, labels, axis=1, batch_dims=1)[:, None]
    return tf.math.count_nonzero(lower, axis=1) >= CLASSES - 5


def evaluate(
    model: keras.Model, data: DeviceData, settings: Settings, step: Callable = evaluation_step
) -> dict[str, float]:
    """Return the mean of each measure over a dataset."""
    starts = range(0, len(data), settings.batch_size)
    sums = [step(model, data, settings, tf.constant(start)) for start in starts]
    totals = [float(tf.reduce_sum(values)) for values in zip(*sums, strict=True)]
    return {name: total / len(data) for name, total in zip(MEASURES, totals, strict=True)}


def compiled(function: Callable, settings: Settings) -> Callable:
    """Compile a function of tensors, with XLA if asked for."""
    on_gpu = bool(tf.config.get_visible_devices("GPU"))
    xla = on_gpu if settings.xla == "auto" else settings.xla == "on"
    return tf.function(function, jit_compile=xla)


def make_model(settings: Settings) -> keras.Model:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    kernels = draw_kernels(
        settings.seed,
        weights.kernels(model),
        distribution="he_normal",
        fan="in",
        deviation=0.01,
    )
    weights.load(model, weights.state(model) | kernels)
    return model


def restore(model: keras.Model, optimizer: SGD, settings: Settings) -> int:
    """Set weights and optimiser state from a checkpoint, if asked; return the steps taken."""
    if settings.resume:
        tensors, manifest = checkpoint.load(settings.resume)
        manifest.check_run(seed=settings.seed, batch_size=settings.batch_size)
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
        return manifest.step
    if settings.weights:
        tensors, _ = checkpoint.load(settings.weights)
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    return 0


def save_checkpoint(
    path: Path, model: keras.Model, optimizer: SGD, step: int, settings: Settings
) -> None:
    """Write all that a run needs to continue after `step` steps."""
    manifest = Manifest(NETWORK, step, settings.seed, settings.batch_size)
    checkpoint.save(path, weights.state(model, optimizer), manifest)


def choose_device(name: str) -> str:
    """Make the device asked for the one that is used; `auto` is the GPU if there is one."""
    found = bool(tf.config.list_physical_devices("GPU"))
    if name == "gpu" and not found:
        fail("--device gpu: TensorFlow finds no GPU")
    if name == "cpu":
        tf.config.set_visible_devices([], "GPU")
    return "gpu" if found and name != "cpu" else "cpu"


def train(
    model: keras.Model,
    optimizer: SGD,
    training_data: DeviceData,
    test_data: DeviceData,
    first_step: int,
    settings: Settings,
) -> dict[str, float]:
    """Train from `first_step` on, with metrics and checkpoints; return the test results."""
    log = MetricsLog(settings.output / "metrics.jsonl", first_step)
    size = len(training_data)
    steps_per_epoch = size // settings.batch_size
    take_step = compiled(training_step, settings)
    take_evaluation_step = compiled(evaluation_step, settings)
    results: dict[str, float] = {}
    losses: list[tf.Tensor] = []
    started = time.perf_counter()
    with progress_bar(settings.iterations, first_step) as bar:
        for step in range(first_step, settings.iterations):
            rate = learning_rate(step, 0, settings)
            drawn = tf.constant(rate, keras.config.floatx()), *draw(step, size, settings)
            losses.append(take_step(model, optimizer, training_data, settings, *drawn))
            bar.update()
            done = step + 1
            last = done == settings.iterations
            if done % settings.log_every == 0 or last:
                loss = float(tf.reduce_mean(losses))
                speed = len(losses) * settings.batch_size / (time.perf_counter() - started)
                epoch = done / steps_per_epoch
                log.write(
                    step=done, epoch=epoch, learning_rate=rate, loss=loss, images_per_second=speed
                )
                bar.set_postfix(loss=f"{loss:.4f}")
                losses.clear()
                started = time.perf_counter()
            if done % settings.evaluate_every == 0 or last:
                paused = time.perf_counter()
                results = evaluate(model, test_data, settings, take_evaluation_step)
                log.write(step=done, **prefixed("test", results))
                bar.write(f"step {done}: test accuracy {accuracies(results)}")
                save_checkpoint(settings.output / CHECKPOINT, model, optimizer, done, settings)
                started += time.perf_counter() - paused
    return results


def main(settings: Settings) -> None:
    """Train, or only evaluate, and say where the results lie."""
    if settings.evaluate and not (settings.weights or settings.resume):
        fail("--evaluate needs --weights or --resume")
    if keras.backend.backend() != "tensorflow":
        fail("Keras was imported with another backend: set KERAS_BACKEND=tensorflow")
    device = choose_device(settings.device)
    training_set, test_set = load_dataset(
        DATA, settings.data_dir, height=HEIGHT, width=WIDTH, channels=CHANNELS, classes=CLASSES
    )
    training_set.check_batch_size(settings.batch_size)
    mean, scale = statistics(training_set.images, NORMALIZATION)
    test_data = DeviceData(test_set, mean, scale)

    if settings.precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    else:
        # A GPU's convolutions would round to 10 bits of mantissa.
        tf.config.experimental.enable_tensor_float_32_execution(False)
    model = make_model(settings)
    optimizer = make_optimizer(model, settings)
    first_step = restore(model, optimizer, settings)
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    print(f"{NETWORK}: {parameters:,} parameters, on {device}")

    if settings.evaluate:
        results = evaluate(model, test_data, settings, compiled(evaluation_step, settings))
        print(f"test accuracy: {accuracies(results)}")
        return
    if first_step >= settings.iterations:
        fail(f"already trained for {first_step} steps: ask for more with --iterations")
    training_data = DeviceData(training_set, mean, scale)
    results = train(model, optimizer, training_data, test_data, first_step, settings)
    print(f"test accuracy: {accuracies(results)}")
    print(f"code:          {Path(__file__).resolve().parent}")
    print(f"results:       {settings.output.resolve()} ({CHECKPOINT}, metrics.jsonl)")


if __name__ == "__main__":
    try:
        main(parse_settings(Settings, __doc__))
    except (DataError, CheckpointError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted")
