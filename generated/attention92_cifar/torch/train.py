"""Train attention92_cifar with PyTorch.

    python train.py --data-dir DIR         DIR/train/<class>/*, DIR/test/<class>/*
    python train.py --data-dir DIR --resume CHECKPOINT
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

Weights, sample order and augmentation are pure functions of the seed and the step, the same in
every framework. Results: OUTPUT/checkpoint.safetensors and OUTPUT/metrics.jsonl.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import checkpoint
import weights
from augment import augment, normalize
from checkpoint import CheckpointError, Manifest
from data import DataError, Dataset, load_dataset, statistics
from initialization import draw_kernels
from metrics import MetricsLog, accuracies, prefixed, progress_bar
from model import Attention92
from sampling import batch_indices, crop_and_flip
from schedule import step_schedule
from settings import Count, Fraction, Positive, Rate, fail, parse_settings

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
    iterations: Annotated[Positive, "steps to train"] = 160_000
    batch_size: Annotated[Positive, "images per step"] = 64
    learning_rate: Annotated[Rate, "initial learning rate"] = 0.1
    learning_rate_factor: Annotated[Rate, "factor of each change"] = 0.1
    learning_rate_steps: Annotated[tuple[Count, ...], "steps at which the rate changes"] = (
        64_000,
        96_000,
    )
    momentum: Annotated[Fraction, "momentum of SGD"] = 0.9
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    weight_decay: Annotated[Rate, "L2 penalty, not on biases or norms"] = 0.0001
    pad: Annotated[Count, "zero pixels around an image to crop from"] = 4
    flip: Annotated[bool, "flip images at random, left to right"] = True
    evaluate_every: Annotated[Positive, "steps between evaluations and checkpoints"] = 8000
    log_every: Annotated[Positive, "steps between lines of metrics"] = 100
    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[Literal["float32", "bfloat16"], "of convolutions"] = "float32"
    compile: Annotated[bool, "compile the network with torch.compile"] = False


def learning_rate(step: int, settings: Settings) -> float:
    """Return the learning rate of a 0-based step."""
    return step_schedule(
        step,
        settings.learning_rate,
        settings.learning_rate_factor,
        settings.learning_rate_steps,
    )


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    kernels = weights.kernels(model)
    decay = [item for name, item in model.named_parameters() if name in kernels]
    no_decay = [item for name, item in model.named_parameters() if name not in kernels]
    return torch.optim.SGD(
        [
            {"params": decay, "weight_decay": settings.weight_decay},
            {"params": no_decay, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
    )


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    learning_rate: float,
    settings: Settings,
) -> Tensor:
    """Take one step on float images [N, C, H, W]; return the loss, which stays on the device."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    with autocast(images.device, settings):
        loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


class DeviceData:
    """A dataset on the device, and its batches in the network's form."""

    def __init__(self, dataset: Dataset, mean: np.ndarray, scale: np.ndarray, device: torch.device):
        self.images = torch.from_numpy(dataset.images).to(device)
        self.labels = torch.from_numpy(dataset.labels).to(device)
        self.mean = torch.from_numpy(mean).to(device, torch.float32)
        self.scale = torch.from_numpy(scale).to(device, torch.float32)
        self.device = device

    def training_batch(self, step: int, settings: Settings) -> tuple[Tensor, Tensor]:
        """Return images and labels of a step, a pure function of the seed and the step."""
        indices = self._tensor(
            batch_indices(settings.seed, step, settings.batch_size, len(self.labels))
        )
        images = self.images[indices]
        offsets, flips = crop_and_flip(
            settings.seed, step, settings.batch_size, settings.pad, settings.flip
        )
        images = augment(
            images,
            self._tensor(offsets),
            self._tensor(flips),
            settings.pad,
            self.mean,
            self.scale,
        )
        return images, self.labels[indices]

    def batch(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Return up to `size` images, as they are, and labels from `start` on."""
        images = self.images[start : start + size]
        return normalize(images, self.mean, self.scale), self.labels[start : start + size]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.copy()).to(self.device, non_blocking=True)


@torch.inference_mode()
def evaluate(model: nn.Module, data: DeviceData, settings: Settings) -> dict[str, float]:
    """Return the mean of each measure over a dataset."""
    model.eval()
    totals = torch.zeros(len(MEASURES), dtype=torch.float64, device=data.device)
    for start in range(0, len(data.labels), settings.batch_size):
        images, labels = data.batch(start, settings.batch_size)
        with autocast(data.device, settings):
            logits = model(images).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        correct = logits.argmax(dim=1) == labels
        totals += torch.stack([loss, correct.sum(), in_top5(logits, labels).sum()])
    model.train()
    return dict(zip(MEASURES, (totals / len(data.labels)).tolist(), strict=True))


def in_top5(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell which labels are among the five highest logits; a tie counts against the label."""
    lower = logits < logits.gather(1, labels[:, None])
    return lower.sum(dim=1) >= CLASSES - 5


def autocast(device: torch.device, settings: Settings) -> torch.autocast:
    """Return the context that runs convolutions in the precision asked for."""
    enabled = settings.precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def make_model(settings: Settings) -> nn.Module:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    kernels = draw_kernels(
        settings.seed,
        weights.kernels(model),
        distribution="he_normal",
        fan="in",
        deviation=0.01,
    )
    weights.load(model, weights.state(model) | kernels)
    return model


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, settings: Settings) -> int:
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
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, settings: Settings
) -> None:
    """Write all that a run needs to continue after `step` steps."""
    manifest = Manifest(NETWORK, step, settings.seed, settings.batch_size)
    checkpoint.save(path, weights.state(model, optimizer), manifest)


def configure(settings: Settings) -> torch.device:
    """Make PyTorch use the precision asked for; return the device, `auto` a GPU if there is one."""
    if settings.precision == "float32":
        # A GPU's convolutions would round to 10 bits of mantissa.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    found = torch.cuda.is_available()
    if settings.device == "gpu" and not found:
        fail("--device gpu: PyTorch finds no GPU")
    return torch.device("cuda" if found and settings.device != "cpu" else "cpu")


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    training_data: DeviceData,
    test_data: DeviceData,
    first_step: int,
    settings: Settings,
) -> dict[str, float]:
    """Train from `first_step` on, with metrics and checkpoints; return the test results."""
    log = MetricsLog(settings.output / "metrics.jsonl", first_step)
    steps_per_epoch = len(training_data.labels) // settings.batch_size
    results: dict[str, float] = {}
    losses: list[Tensor] = []
    started = time.perf_counter()
    model.train()
    with progress_bar(settings.iterations, first_step) as bar:
        for step in range(first_step, settings.iterations):
            rate = learning_rate(step, settings)
            images, labels = training_data.training_batch(step, settings)
            losses.append(train_step(model, optimizer, images, labels, rate, settings))
            bar.update()
            done = step + 1
            last = done == settings.iterations
            if done % settings.log_every == 0 or last:
                loss = torch.stack(losses).mean().item()
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
    test_data = DeviceData(test_set, mean, scale, device)

    model = make_model(settings)
    model.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(model, settings)
    first_step = restore(model, optimizer, settings)
    if settings.compile:
        model.compile()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{NETWORK}: {parameters:,} parameters, on {device}")

    if settings.evaluate:
        results = evaluate(model, test_data, settings)
        print(f"test accuracy: {accuracies(results)}")
        return
    if first_step >= settings.iterations:
        fail(f"already trained for {first_step} steps: ask for more with --iterations")
    training_data = DeviceData(training_set, mean, scale, device)
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
