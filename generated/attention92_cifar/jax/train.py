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
from augment import put_statistics
from checkpoint import CheckpointError
from data import DataError, DataOptions, DataSets, Statistics
from devices import CompiledSteps, DeviceData, DeviceOptions, Devices
from initialization import draw_kernels
from losses import cross_entropy, log_mean_softmax, measure
from metrics import accuracies
from model import Attention92
from recipe import Draws, Recipe
from run import FolderError, Run, RunError, RunOptions
from settings import fail, parse_settings


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


def training_batch(draws: Draws, data: DeviceData, settings: Settings) -> tuple[Array, Array]:
    """Return what is drawn for a step: images [N, H, W, C], labels [N] or [N, classes]."""
    images, labels = data.rows(draws.indices)
    images = recipe.training_images(images, draws, data.statistics, settings)
    return images, recipe.training_labels(labels, draws)


def evaluate(model: nnx.Module, data: DeviceData, settings: Settings) -> dict[str, float]:
    """Return the mean of each measure over a dataset."""
    graph, state = nnx.split(model)
    state = jax.tree.map(data.devices.put, state)
    batches = data.batches(settings.evaluation_batch_size or settings.batch_size)
    sums = jax.device_get([evaluate_batch(graph, state, data, *batch) for batch in batches])
    means = np.sum(sums, axis=0, dtype=np.float64) / len(data.labels)
    return dict(zip(recipe.MEASURES, means.tolist(), strict=False))


@partial(jax.jit, static_argnames="graph")
def evaluate_batch(
    graph: nnx.GraphDef, state: nnx.State, data: DeviceData, indices: Array, counted: Array
) -> tuple[Array, ...]:
    """Return the sum of each measure over those images of a batch that are counted."""
    model = nnx.merge(graph, state)
    model.eval()
    images, labels = data.rows(indices)
    logits = [model(recipe.test_images(images, crop, data.statistics)) for crop in recipe.CROPS]
    return measure(log_mean_softmax(jnp.stack(logits)), labels, counted)


def train(
    model: nnx.Module,
    optimizer: nnx.Optimizer,
    data: DataSets,
    run: Run,
    settings: Settings,
    devices: Devices,
) -> None:
    """Train to the end of the run, with evaluations and checkpoints."""
    statistics = put_statistics(data.statistics, devices.image_type)
    put = partial(DeviceData.of, statistics=statistics, devices=devices)
    training, watched = put(data.training), put(data.validation or data.test)
    take_steps = CompiledSteps(train_step, training_batch, model, optimizer, settings, devices)
    with devices.together(), run:
        for steps in run.blocks(devices.steps_per_dispatch):
            draws = [recipe.draw(step, len(data.training), settings) for step in steps]
            rates = [run.learning_rate(step) for step in steps]
            run.add(take_steps(draws, rates, training))
            if run.evaluation_due():
                take_steps.write_back()
                model_now = weights.averaged(model, optimizer)
                run.evaluated(evaluate(model_now, watched, settings))
            if run.checkpoint_due():
                take_steps.write_back()
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        take_steps.write_back()
        best = run.best
        if best is not None:
            best = checkpoint.select(best, weights.state(model, optimizer))
            weights.load(model, best, optimizer)
        tested = run.tested
        if tested is None:
            tested = evaluate(weights.averaged(model, optimizer), put(data.test), settings)
        run.finished(tested)


def main(settings: Settings) -> None:
    """Train, or only evaluate, and say where the results lie."""
    if settings.evaluate and not settings.weights:
        fail("--evaluate needs --weights")
    devices = Devices.choose(settings)
    model = make_model(settings)
    devices.prepare(model)
    tensors = checkpoint.load(settings.weights)[0] if settings.weights else {}
    if settings.evaluate:
        tensors = weights.averages(tensors)
    if tensors:
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    if settings.evaluate:
        known = Statistics.from_tensors(tensors)
        data = recipe.load(settings, settings, statistics=known, training=False)
        statistics = put_statistics(data.statistics, devices.image_type)
        results = evaluate(model, DeviceData.of(data.test, statistics, devices), settings)
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
        framework=f"jax {jax.__version__}",
        device=str(devices),
        fetch=CompiledSteps.fetch,
        writes=devices.writes,
        agree=devices.agree,
    )
    if run.restored:
        tensors, manifest = run.restored
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
    train(model, optimizer, data, run, settings, devices)


if __name__ == "__main__":
    try:
        main(parse_settings(Settings, __doc__))
    except (CheckpointError, DataError, FolderError, RunError, OSError) as error:
        fail(error)
