"""Train attention92_cifar with TensorFlow.

    python train.py --data-dir DIR
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

The recipe is in recipe.py; DIR holds images as data.py reads them. A run that was ended goes on
when it is started again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from tensorflow import Tensor

import checkpoint
import recipe
import weights
from augment import DeviceStatistics, put_statistics
from data import DataOptions, DataSets, Statistics
from devices import Batch, DeviceData, DeviceOptions, Devices, Profile
from initialization import draw_kernels
from measures import class_targets, log_mean_softmax, measure
from metrics import accuracies
from model import Attention92
from optimizer import SGD
from recipe import Draws, Recipe
from run import Run, RunOptions, explained
from settings import parse_settings
from streaming import ahead


@dataclass(frozen=True)
class Settings(DeviceOptions, RunOptions, DataOptions, Recipe):
    """The recipe, and how to run it."""


def make_model(settings: Settings) -> keras.Model:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    kernels = draw_kernels(settings.seed, weights.kernels(model), **recipe.INITIALIZATION)
    weights.load(model, weights.state(model) | kernels)
    return model


def make_optimizer(model: keras.Model, settings: Settings) -> SGD:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    penalties = weights.penalties(model, recipe.DECAYED, settings.weight_decay)
    optimizer = SGD(settings.momentum, settings.nesterov, penalties)
    optimizer.build(model.trainable_variables)
    return optimizer


def train_step(
    model: keras.Model,
    optimizer: SGD,
    images: Tensor,
    labels: Tensor,
    learning_rate: float | Tensor,
    settings: Settings,
) -> Tensor:
    """Take one step on float images [N, H, W, C]; return this device's share of the loss."""

    def value_and_gradients(images: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        with tf.GradientTape() as tape:
            logits = tf.cast(model(images, training=True), targets.dtype)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.nn.compute_average_loss(losses)
        return loss, tape.gradient(loss, model.trainable_variables)

    batch = images, class_targets(labels, recipe.CLASSES)
    loss, gradients = value_and_gradients(*batch)
    optimizer.learning_rate.assign(learning_rate)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


def make_predict(
    model: keras.Model, statistics: DeviceStatistics, devices: Devices, settings: Settings
) -> Callable[[DeviceData], np.ndarray]:
    """Return a function that gives the logarithms of probabilities [N, classes] of a dataset."""

    def predict(images: Tensor) -> Tensor:
        crops = [recipe.test_images(images, crop, statistics) for crop in recipe.CROPS]
        logits = [tf.cast(model(crop, training=False), keras.config.floatx()) for crop in crops]
        return log_mean_softmax(tf.stack(logits))

    return devices.over_images(predict, settings)


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
    training = DeviceData(data.training, devices)
    test = DeviceData(data.test, devices)
    watched = DeviceData(data.validation, devices) if data.validation else test
    predict = make_predict(model, statistics, devices, settings)

    def make_batch(step: int) -> Batch:
        return training.batch(recipe.draw(step, len(training), settings, training.sizes))

    def take_step(images: Tensor, labels: Tensor, draws: Draws, rate: Tensor) -> Tensor:
        images = recipe.training_images(images, draws, statistics, settings)
        targets = recipe.training_labels(labels, draws)
        return train_step(model, optimizer, images, targets, rate, settings)

    profile = Profile(settings.profile, run.folder.path)
    with run, profile, ahead(make_batch, run.remaining) as made:
        for steps in run.blocks(devices.steps_per_dispatch):
            batches = [next(made) for _ in steps]
            rates = [run.learning_rate(step) for step in steps]
            run.add(devices.run(take_step, training, batches, rates))
            profile.add(len(steps))
            if run.evaluation_due():
                with optimizer.averaged():
                    predictions = predict(watched)
                run.evaluated(measure(predictions, watched.dataset.labels, recipe.MEASURES))
            if run.checkpoint_due():
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        best = run.best
        if best is not None:
            best = checkpoint.select(best, weights.state(model, optimizer))
            weights.load(model, best, optimizer, run.progress.best_step)
        if run.tested is None:
            with optimizer.averaged():
                predictions = predict(test)
        results = measure(predictions, data.test.labels, recipe.MEASURES)
        run.finished(results, test.predictions(predictions))


def main(settings: Settings, devices: Devices) -> None:
    """Train, or only evaluate, and say where the results lie."""
    model = make_model(settings)
    devices.prepare(model, settings)
    tensors = checkpoint.load(settings.weights)[0] if settings.weights else {}
    if settings.evaluate:
        tensors = weights.averaged(tensors)
    if tensors:
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    if settings.evaluate:
        known = Statistics.from_tensors(tensors)
        data = recipe.load(settings, settings, statistics=known, training=False)
        statistics = put_statistics(data.statistics, keras.config.floatx())
        predict = make_predict(model, statistics, devices, settings)
        predictions = predict(DeviceData(data.test, devices))
        results = measure(predictions, data.test.labels, recipe.MEASURES)
        if devices.writes:
            print(f"test accuracy: {accuracies(results)}")
        return
    data = recipe.load(settings, settings)
    optimizer = make_optimizer(model, settings)
    run = Run(
        settings,
        recipe.plan(settings),
        network=recipe.NETWORK,
        digest=recipe.DIGEST,
        data=data,
        framework=f"tensorflow {tf.__version__}",
        device=str(devices),
        precision=devices.precision,
        writes=devices.writes,
        agree=devices.agree,
    )
    if run.restored:
        tensors, manifest = run.restored
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
    train(model, optimizer, data, run, devices, settings)


if __name__ == "__main__":
    with explained():
        settings = parse_settings(Settings, __doc__)
        devices = Devices(settings)
        with devices.scope():
            main(settings, devices)
