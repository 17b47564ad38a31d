"""Train attention92_cifar with JAX.

    python train.py --data-dir DIR         DIR/train/<class>/*, DIR/test/<class>/*
    python train.py --data-dir DIR --resume CHECKPOINT
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

Weights, sample order and augmentation are pure functions of the seed and the step, the same in
every framework. Results: OUTPUT/checkpoint.safetensors and OUTPUT/metrics.jsonl.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import checkpoint
import weights
from augment import augment, normalize
from checkpoint import CheckpointError, Manifest
from data import DataError, Dataset, load_dataset, statistics
from initialization import draw_kernels
from metrics import MetricsLog, accuracies, prefixed, progress_bar
from model import Attention92
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
    compile_cache: Annotated[Path | None, "folder to keep compiled code in"] = None


def make_optimizer(model: nnx.Module, settings: Settings) -> nnx.Optimizer:
    """Return the optimiser, with weight decay on convolution and linear weights alone.

    Its `update` takes each step's learning rate.
    """
    transformation = optax.chain(
        optax.add_decayed_weights(settings.weight_decay, mask=kernels),
        optax.trace(settings.momentum, settings.nesterov),
        scale_by_given_learning_rate(),
    )
    return nnx.Optimizer(model, transformation, wrt=nnx.Param)


def kernels(parameters: optax.Params) -> Any:
    """Tell for each parameter whether it is a convolution's or linear layer's weight."""
    return jax.tree.map_with_path(
        lambda path, _: any(getattr(part, "key", None) == "kernel" for part in path), parameters
    )


def scale_by_given_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Return the descent by the `learning_rate` that the update is called with."""

    def update(updates: Any, state: Any, parameters: Any = None, *, learning_rate: Any) -> Any:
        return jax.tree.map(lambda update: -learning_rate * update, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def loss_function(model: nnx.Module, images: Array, labels: Array, settings: Settings) -> Array:
    """Return the batch's mean cross-entropy; the model's running statistics move."""
    logits = wide(model(images))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def train_step(
    model: nnx.Module,
    optimizer: nnx.Optimizer,
    images: Array,
    labels: Array,
    learning_rate: float | Array,
    settings: Settings,
) -> Array:
    """Take one step on float images [N, H, W, C]; return the loss, which stays on the device.

    It can be called as it is, under `nnx.jit`, or as `CompiledStep` does.
    """
    loss, gradients = nnx.value_and_grad(loss_function)(model, images, labels, settings)
    optimizer.update(model, gradients, learning_rate=learning_rate)
    return loss


class DeviceData(NamedTuple):
    """A dataset on the device, and what its images are normalised by."""

    images: Array
    labels: Array
    mean: Array
    scale: Array


class Draws(NamedTuple):
    """What is drawn for a step, by the host."""

    indices: np.ndarray
    offsets: np.ndarray
    flips: np.ndarray


def to_device(dataset: Dataset, mean: np.ndarray, scale: np.ndarray) -> DeviceData:
    """Put a dataset on the device."""
    labels = dataset.labels.astype(np.int32)
    constants = mean.astype(np.float32), scale.astype(np.float32)
    return DeviceData(*jax.device_put((dataset.images, labels, *constants)))


def draw(step: int, size: int, settings: Settings) -> Draws:
    """Return the draws of a step, a pure function of the seed and the step."""
    indices = batch_indices(settings.seed, step, settings.batch_size, size)
    offsets, flips = crop_and_flip(
        settings.seed, step, settings.batch_size, settings.pad, settings.flip
    )
    return Draws(indices.astype(np.int32), offsets, flips)


def training_batch(data: DeviceData, draws: Draws, settings: Settings) -> tuple[Array, Array]:
    """Return float images [N, H, W, C] and labels."""
    images = data.images[draws.indices]
    images = augment(images, draws.offsets, draws.flips, settings.pad, data.mean, data.scale)
    return images, data.labels[draws.indices]


class CompiledStep:
    """`train_step` on a device's data, compiled, over the flat arrays of model and optimiser.

    Passing NNX objects would cost milliseconds of Python in each step. While this is in use the
    objects' own arrays are gone, until `write_back`.
    """

    def __init__(self, model: nnx.Module, optimizer: nnx.Optimizer, settings: Settings) -> None:
        self.objects = model, optimizer
        self.settings = settings
        self.graph, state = nnx.split(self.objects)
        self.arrays, self.structure = jax.tree.flatten(state)
        self.compiled = jax.jit(self.step, donate_argnums=0)

    def __call__(self, data: DeviceData, draws: Draws, learning_rate: float) -> Array:
        """Take a step; return the loss, without waiting for it."""
        self.arrays, loss = self.compiled(self.arrays, data, draws, learning_rate)
        return loss

    def write_back(self) -> None:
        """Give the arrays to the model and the optimiser, until the next step."""
        nnx.update(self.objects, jax.tree.unflatten(self.structure, self.arrays))

    def step(
        self, arrays: list[Array], data: DeviceData, draws: Draws, learning_rate: Array
    ) -> tuple[list[Array], Array]:
        """Take a step as a pure function."""
        objects = nnx.merge(self.graph, jax.tree.unflatten(self.structure, arrays))
        images, labels = training_batch(data, draws, self.settings)
        loss = train_step(*objects, images, labels, learning_rate, self.settings)
        return jax.tree.leaves(nnx.state(objects)), loss


def evaluate(model: nnx.Module, data: DeviceData, settings: Settings) -> dict[str, float]:
    """Return the mean of each measure over a dataset."""
    graph, state = nnx.split(model)
    count = len(data.labels)
    size = min(settings.batch_size, count)
    sums = [evaluate_batch(graph, state, data, start, size) for start in range(0, count, size)]
    means = np.sum(jax.device_get(sums), axis=0) / count
    return dict(zip(MEASURES, means.tolist(), strict=True))


@partial(jax.jit, static_argnames=("graph", "size"))
def evaluate_batch(
    graph: nnx.GraphDef, state: nnx.State, data: DeviceData, start: Array, size: int
) -> tuple[Array, ...]:
    """Return the sum of each measure over up to `size` images from `start` on."""
    model = nnx.merge(graph, state)
    model.eval()
    indices = jnp.minimum(start, len(data.labels) - size) + jnp.arange(size)
    labels = data.labels[indices]
    logits = wide(model(normalize(data.images[indices], data.mean, data.scale)))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = logits.argmax(axis=-1) == labels
    measures = losses, correct, in_top5(logits, labels)
    return tuple(jnp.sum(measure, where=indices >= start) for measure in measures)


def in_top5(logits: Array, labels: Array) -> Array:
    """Tell which labels are among the five highest logits; a tie counts against the label."""
    lower = logits < jnp.take_along_axis(logits, labels[:, None], axis=1)
    return lower.sum(axis=1) >= CLASSES - 5


def wide(logits: Array) -> Array:
    """Return logits in float32 at least."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def make_model(settings: Settings) -> nnx.Module:
    """Return the network with the seed's initial weights."""
    model = weights.abstract(Attention92)
    kernels = draw_kernels(
        settings.seed,
        weights.kernels(model),
        distribution="he_normal",
        fan="in",
        deviation=0.01,
    )
    weights.load_kernels(model, kernels)
    if settings.precision == "bfloat16":
        model.set_attributes(nnx.Conv, nnx.Linear, dtype=jnp.bfloat16)
    return model


def restore(model: nnx.Module, optimizer: nnx.Optimizer, settings: Settings) -> int:
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
    path: Path, model: nnx.Module, optimizer: nnx.Optimizer, step: int, settings: Settings
) -> None:
    """Write all that a run needs to continue after `step` steps."""
    manifest = Manifest(NETWORK, step, settings.seed, settings.batch_size)
    checkpoint.save(path, weights.state(model, optimizer), manifest)


def configure(settings: Settings) -> str:
    """Make JAX use the device and the precision asked for; return the kind of device."""
    if settings.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if settings.precision == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")
    if settings.compile_cache:
        jax.config.update("jax_compilation_cache_dir", str(settings.compile_cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    try:
        return jax.devices("gpu" if settings.device == "gpu" else None)[0].platform
    except RuntimeError:
        fail("--device gpu: JAX finds no GPU")


def train(
    model: nnx.Module,
    optimizer: nnx.Optimizer,
    training_data: DeviceData,
    test_data: DeviceData,
    first_step: int,
    settings: Settings,
) -> dict[str, float]:
    """Train from `first_step` on, with metrics and checkpoints; return the test results."""
    log = MetricsLog(settings.output / "metrics.jsonl", first_step)
    size = len(training_data.labels)
    steps_per_epoch = size // settings.batch_size
    take_step = CompiledStep(model, optimizer, settings)
    results: dict[str, float] = {}
    losses: list[Array] = []
    started = time.perf_counter()
    with progress_bar(settings.iterations, first_step) as bar:
        for step in range(first_step, settings.iterations):
            rate = learning_rate(step, 0, settings)
            losses.append(take_step(training_data, draw(step, size, settings), rate))
            bar.update()
            done = step + 1
            last = done == settings.iterations
            if done % settings.log_every == 0 or last:
                loss = float(np.mean(jax.device_get(losses)))
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
                take_step.write_back()
                results = evaluate(model, test_data, settings)
                log.write(step=done, **prefixed("test", results))
                bar.write(f"step {done}: test accuracy {accuracies(results)}")
                save_checkpoint(settings.output / CHECKPOINT, model, optimizer, done, settings)
                started += time.perf_counter() - paused
    return results


def main(settings: Settings) -> None:
    """Train, or only evaluate, and say where the results lie."""
    if settings.evaluate and not (settings.weights or settings.resume):
        fail("--evaluate needs --weights or --resume")
    device = configure(settings)
    training_set, test_set = load_dataset(
        DATA, settings.data_dir, height=HEIGHT, width=WIDTH, channels=CHANNELS, classes=CLASSES
    )
    training_set.check_batch_size(settings.batch_size)
    mean, scale = statistics(training_set.images, NORMALIZATION)
    test_data = to_device(test_set, mean, scale)

    model = make_model(settings)
    optimizer = make_optimizer(model, settings)
    first_step = restore(model, optimizer, settings)
    parameters = sum(array.size for array in jax.tree.leaves(nnx.state(model, nnx.Param)))
    print(f"{NETWORK}: {parameters:,} parameters, on {device}")

    if settings.evaluate:
        results = evaluate(model, test_data, settings)
        print(f"test accuracy: {accuracies(results)}")
        return
    if first_step >= settings.iterations:
        fail(f"already trained for {first_step} steps: ask for more with --iterations")
    training_data = to_device(training_set, mean, scale)
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
