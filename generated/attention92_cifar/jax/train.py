"""Train attention92_cifar with JAX.

    python train.py --data-dir DIR
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

The recipe is in recipe.py; DIR holds images as data.py reads them. A run that was ended goes on
when it is started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import checkpoint
import recipe
import updates
import weights
from data import DataOptions, Statistics
from devices import (
    CompiledSteps,
    DeviceArrays,
    DeviceData,
    DeviceOptions,
    Devices,
    profiled,
    put_data,
)
from initialization import draw_kernels
from losses import cross_entropy, log_mean_softmax, measure
from metrics import accuracies
from model import Attention92
from recipe import Draws, Recipe
from run import Run, RunOptions, explained
from settings import parse_settings


@dataclass(frozen=True)
class Settings(DeviceOptions, RunOptions, DataOptions, Recipe):
    """The recipe, and how to run it."""


def make_model(settings: Settings) -> nnx.Module:
    """Return the network with the seed's initial weights."""
    model = weights.abstract(Attention92)
    kernels = draw_kernels(settings.seed, weights.kernels(model), **recipe.INITIALIZATION)
    weights.load_kernels(model, kernels)
    return model


def make_optimizer(model: nnx.Module, settings: Settings) -> nnx.Optimizer:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    transformation = optax.chain(
        optax.add_decayed_weights(settings.weight_decay, weights.decayed(recipe.DECAYED)),
        optax.trace(settings.momentum, settings.nesterov),
        updates.scale_by_given_learning_rate(),
    )
    return nnx.Optimizer(model, transformation, wrt=nnx.Param)


def loss_function(model: nnx.Module, images: Array, labels: Array, settings: Settings) -> Array:
    """Return the batch's mean cross-entropy; the model's running statistics move."""
    return cross_entropy(model(images), labels)


def train_step(
    model: nnx.Module,
    optimizer: nnx.Optimizer,
    images: Array,
    labels: Array,
    learning_rate: float | Array,
    settings: Settings,
) -> Array:
    """Take one step on float images [N, H, W, C]; return the loss, which stays on the device."""
    differentiate = nnx.value_and_grad(loss_function)
    loss, gradients = differentiate(model, images, labels, settings)
    optimizer.update(model, gradients, learning_rate=learning_rate)
    return loss


def training_batch(
    draws: Draws, images: Array | None, data: DeviceArrays, settings: Settings
) -> tuple[Array, Array]:
    """Return what is drawn for a step: images [N, H, W, C], labels [N] or [N, classes]."""
    images, labels = data.rows(draws.indices, images)
    images = recipe.training_images(images, draws, data.statistics, settings)
    return images, recipe.training_labels(labels, draws)


def predict(model: nnx.Module, data: DeviceData, settings: Settings) -> np.ndarray:
    """Return the logarithms of probabilities [N, classes], which are means over the crops."""
    graph, state = nnx.split(model)
    state = jax.tree.map(data.devices.put, state)
    batches = data.batches(settings.evaluation_batch_size or settings.batch_size)
    predictions = [predict_batch(graph, state, data.arrays, *batch) for batch in batches]
    return np.concatenate(data.devices.fetch(predictions))[: len(data)]


@partial(jax.jit, static_argnames="graph")
def predict_batch(
    graph: nnx.GraphDef, state: nnx.State, data: DeviceArrays, indices: Array, images: Array | None
) -> Array:
    """Return the logarithms of probabilities [n, classes] of a batch."""
    model = nnx.merge(graph, state)
    model.eval()
    images, _ = data.rows(indices, images)
    logits = [model(recipe.test_images(images, crop, data.statistics)) for crop in recipe.CROPS]
    return log_mean_softmax(jnp.stack(logits))


def train(model: nnx.Module, settings: Settings, devices: Devices) -> None:
    """Train to the end of the run, with evaluations and checkpoints."""
    if settings.weights:
        tensors, _ = checkpoint.load(settings.weights)
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    optimizer = make_optimizer(model, settings)
    data = recipe.load(settings, settings)
    devices.say(f"{recipe.NETWORK} on {devices}\n{data.summary()}")
    run = Run(
        settings,
        recipe.plan(settings),
        network=recipe.NETWORK,
        digest=recipe.DIGEST,
        data=data,
        framework=f"jax {jax.__version__}",
        device=str(devices),
        precision=devices.precision,
        fetch=CompiledSteps.fetch,
        writes=devices.writes,
        agree=devices.agree,
    )
    if run.restored:
        tensors, manifest = run.restored
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
    training, watched, test = put_data(data, devices)
    take_steps = CompiledSteps(train_step, training_batch, model, optimizer, settings, devices)
    with devices.together(), run, training.ahead(recipe.draw, settings, run.remaining) as made:
        for steps in profiled(run, devices.steps_per_dispatch, settings.profile):
            rates = [run.learning_rate(step) for step in steps]
            run.add(take_steps([next(made) for _ in steps], rates, training.arrays))
            if run.evaluation_due():
                take_steps.write_back()
                predictions = predict(weights.averaged(model, optimizer), watched, settings)
                run.evaluated(measure(predictions, watched.dataset.labels, recipe.MEASURES))
            if run.checkpoint_due():
                take_steps.write_back()
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        take_steps.write_back()
        best = run.best
        if best is not None:
            best = checkpoint.select(best, weights.state(model, optimizer))
            weights.load(model, best, optimizer)
        if run.tested is None:
            predictions = predict(weights.averaged(model, optimizer), test, settings)
        results = measure(predictions, data.test.labels, recipe.MEASURES)
        run.finished(results, test.predictions(predictions))


def evaluate(model: nnx.Module, settings: Settings, devices: Devices) -> None:
    """Say what the test set shows of the weights of --weights."""
    tensors, _ = checkpoint.load(settings.weights)
    weights.load(model, checkpoint.select(weights.averages(tensors), weights.state(model)))
    known = Statistics.from_tensors(tensors)
    data = recipe.load(settings, settings, statistics=known, training=False)
    predictions = predict(model, DeviceData(data.test, data.statistics, devices), settings)
    results = measure(predictions, data.test.labels, recipe.MEASURES)
    devices.say(f"test accuracy: {accuracies(results)}")


def main(settings: Settings) -> None:
    """Train, or only evaluate."""
    devices = Devices.choose(settings)
    model = make_model(settings)
    devices.prepare(model)
    (evaluate if settings.evaluate else train)(model, settings, devices)


if __name__ == "__main__":
    with explained():
        main(parse_settings(Settings, __doc__))
