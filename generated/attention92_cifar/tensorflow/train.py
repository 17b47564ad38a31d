"""Train attention92_cifar with TensorFlow.

    python train.py --data-dir DIR
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

The recipe is in recipe.py; DIR holds images as data.py reads them. A run that was ended goes on
when it is started again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

import checkpoint
import weights
from augment import DeviceStatistics, put_statistics
from checkpoint import CheckpointError
from data import DataError, DataOptions, DataSets, Statistics
from devices import DeviceData, DeviceOptions, Devices, put_draws
from initialization import draw_kernels
from measures import log_mean_softmax, measure
from metrics import accuracies
from model import Attention92
from optimizer import SGD
from recipe import (
    CLASSES,
    CROPS,
    DIGEST,
    INITIALIZATION,
    MEASURES,
    NETWORK,
    Draws,
    Recipe,
    draw,
    load,
    plan,
    test_images,
    training_images,
    training_labels,
)
from run import FolderError, Run, RunError, RunOptions
from settings import fail, parse_settings


@dataclass(frozen=True)
class Settings(DeviceOptions, RunOptions, DataOptions, Recipe):
    """The recipe, and how to run it."""


def make_model(settings: Settings) -> keras.Model:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    kernels = draw_kernels(settings.seed, weights.kernels(model), **INITIALIZATION)
    weights.load(model, weights.state(model) | kernels)
    return model


def make_optimizer(model: keras.Model, settings: Settings) -> SGD:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    optimizer = SGD(settings.momentum, settings.nesterov, settings.weight_decay)
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
    """Take one step on float images [N, H, W, C]; return the loss, which stays on the device."""
    mixed = labels.dtype.is_floating
    targets = labels if mixed else tf.one_hot(labels, CLASSES, dtype=keras.config.floatx())
    with tf.GradientTape() as tape:
        logits = tf.cast(model(images, training=True), targets.dtype)
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.learning_rate.assign(learning_rate)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


def evaluation_step(
    model: keras.Model,
    statistics: DeviceStatistics,
    images: tf.Tensor,
    labels: tf.Tensor,
    counted: tf.Tensor,
) -> tf.Tensor:
    """Return the sum of each measure over those images that are counted."""
    crops = [test_images(images, crop, statistics) for crop in CROPS]
    logits = [tf.cast(model(crop, training=False), keras.config.floatx()) for crop in crops]
    return measure(log_mean_softmax(tf.stack(logits)), labels, counted)


def evaluate(
    model: keras.Model,
    data: DeviceData,
    statistics: DeviceStatistics,
    devices: Devices,
    settings: Settings,
) -> dict[str, float]:
    """Return the mean of each measure over a dataset."""
    batches = data.batches(settings.batch_size)
    totals = sum(devices.run(evaluation_step, model, statistics, *batch) for batch in batches)
    return dict(zip(MEASURES, (totals / len(data)).numpy().tolist(), strict=False))


def train(
    model: keras.Model,
    optimizer: SGD,
    data: DataSets,
    run: Run,
    devices: Devices,
    settings: Settings,
) -> None:
    """Train to the end of the run, with evaluations and checkpoints."""
    statistics = put_statistics(data.statistics, keras.config.floatx())
    training = DeviceData(data.training)
    watched = DeviceData(data.validation or data.test)

    def take_step(draws: Draws, learning_rate: tf.Tensor) -> tf.Tensor:
        images, labels = training.rows(draws.indices)
        images = training_images(images, draws, statistics, settings)
        targets = training_labels(labels, draws)
        return train_step(model, optimizer, images, targets, learning_rate, settings)

    with run:
        for step in run.steps():
            draws = put_draws(draw(step, len(training), settings))
            rate = tf.constant(run.learning_rate(step), keras.config.floatx())
            run.add(devices.run(take_step, draws, rate))
            if run.evaluation_due():
                run.evaluated(evaluate(model, watched, statistics, devices, settings))
            if run.checkpoint_due():
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        best = run.best
        if best is not None:
            weights.load(model, checkpoint.select(best, weights.state(model)))
        tested = run.tested
        if tested is None:
            tested = evaluate(model, DeviceData(data.test), statistics, devices, settings)
        run.finished(tested)


def main(settings: Settings) -> None:
    """Train, or only evaluate, and say where the results lie."""
    if settings.evaluate and not settings.weights:
        fail("--evaluate needs --weights")
    devices = Devices(settings)
    model = make_model(settings)
    tensors = checkpoint.load(settings.weights)[0] if settings.weights else {}
    if tensors:
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    if settings.evaluate:
        known = Statistics.from_tensors(tensors)
        data = load(settings, settings, statistics=known, training=False)
        statistics = put_statistics(data.statistics, keras.config.floatx())
        results = evaluate(model, DeviceData(data.test), statistics, devices, settings)
        print(f"test accuracy: {accuracies(results)}")
        return
    data = load(settings, settings)
    optimizer = make_optimizer(model, settings)
    run = Run(
        settings,
        plan(settings),
        network=NETWORK,
        digest=DIGEST,
        data=data,
        framework=f"tensorflow {tf.__version__}",
        device=devices.name,
    )
    if run.restored:
        tensors, manifest = run.restored
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
    train(model, optimizer, data, run, devices, settings)


if __name__ == "__main__":
    try:
        main(parse_settings(Settings, __doc__))
    except (CheckpointError, DataError, FolderError, RunError, OSError) as error:
        fail(error)
