"""Train attention92_cifar with PyTorch.

    python train.py --data-dir DIR
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate

The recipe is in recipe.py; DIR holds images as data.py reads them. A run that was ended goes on
when it is started again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import checkpoint
import weights
from augment import DeviceStatistics, normalize, put_statistics
from checkpoint import CheckpointError
from data import DataError, DataOptions, DataSets, Statistics
from devices import DeviceData, DeviceOptions, autocast, choose_device, put_draws
from initialization import draw_kernels
from metrics import accuracies
from model import Attention92
from recipe import (
    CLASSES,
    DIGEST,
    INITIALIZATION,
    MEASURES,
    NETWORK,
    Recipe,
    draw,
    load,
    plan,
    training_images,
)
from run import FolderError, Run, RunError, RunOptions
from settings import fail, parse_settings


@dataclass(frozen=True)
class Settings(DeviceOptions, RunOptions, DataOptions, Recipe):
    """The recipe, and how to run it."""


def make_model(settings: Settings) -> nn.Module:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    kernels = draw_kernels(settings.seed, weights.kernels(model), **INITIALIZATION)
    weights.load(model, weights.state(model) | kernels)
    return model


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    kernels = weights.kernels(model)
    named = dict(model.named_parameters())
    groups = [
        {"params": [named[name] for name in kernels], "weight_decay": settings.weight_decay},
        {"params": [p for name, p in named.items() if name not in kernels], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
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


@torch.inference_mode()
def evaluate(
    model: nn.Module, data: DeviceData, statistics: DeviceStatistics, settings: Settings
) -> dict[str, float]:
    """Return the mean of each measure over a dataset; a tie in the top 5 counts against it."""
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64, device=data.device)
    for images, labels in data.batches(settings.batch_size):
        with autocast(data.device, settings):
            logits = model(normalize(images, statistics)).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        correct = logits.argmax(dim=1) == labels
        lower = logits < logits.gather(1, labels[:, None])
        in_top5 = lower.sum(dim=1) >= CLASSES - 5
        totals += torch.stack([loss, correct.sum(), in_top5.sum()])
    model.train()
    return dict(zip(MEASURES, (totals / len(data.labels)).tolist(), strict=False))


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: DataSets,
    run: Run,
    settings: Settings,
    device: torch.device,
) -> None:
    """Train to the end of the run, with evaluations and checkpoints."""
    statistics = put_statistics(data.statistics, device)
    training = DeviceData(data.training, device)
    watched = DeviceData(data.validation or data.test, device)
    model.train()
    with run:
        for step in run.steps():
            draws = put_draws(draw(step, len(training), settings), device)
            images, labels = training.rows(draws.indices)
            images = training_images(images, draws, statistics, settings)
            rate = run.learning_rate(step)
            run.add(train_step(model, optimizer, images, labels, rate, settings))
            if run.evaluation_due():
                run.evaluated(evaluate(model, watched, statistics, settings))
            if run.checkpoint_due():
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        best = run.best
        if best is not None:
            weights.load(model, checkpoint.select(best, weights.state(model)))
        tested = run.tested
        if tested is None:
            tested = evaluate(model, DeviceData(data.test, device), statistics, settings)
        run.finished(tested)


def main(settings: Settings) -> None:
    """Train, or only evaluate, and say where the results lie."""
    if settings.evaluate and not settings.weights:
        fail("--evaluate needs --weights")
    device = choose_device(settings)
    model = make_model(settings).to(device, memory_format=torch.channels_last)
    if settings.compile:
        model.compile()
    tensors = checkpoint.load(settings.weights)[0] if settings.weights else {}
    if tensors:
        weights.load(model, checkpoint.select(tensors, weights.state(model)))
    if settings.evaluate:
        known = Statistics.from_tensors(tensors)
        data = load(settings, settings, statistics=known, training=False)
        statistics = put_statistics(data.statistics, device)
        results = evaluate(model, DeviceData(data.test, device), statistics, settings)
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
        framework=f"torch {torch.__version__}",
        device=str(device),
    )
    if run.restored:
        tensors, manifest = run.restored
        tensors = checkpoint.select(tensors, weights.state(model, optimizer))
        weights.load(model, tensors, optimizer, manifest.step)
    train(model, optimizer, data, run, settings, device)


if __name__ == "__main__":
    try:
        main(parse_settings(Settings, __doc__))
    except (CheckpointError, DataError, FolderError, RunError, OSError) as error:
        fail(error)
