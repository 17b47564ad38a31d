"""Train attention92_cifar with PyTorch.

    python train.py --data-dir DIR
    python train.py --data-dir DIR --weights CHECKPOINT --evaluate
    torchrun --nproc-per-node 4 train.py --data-dir DIR

The recipe is in recipe.py; DIR holds images as data.py reads them. A run that was ended goes on
when it is started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import checkpoint
import recipe
import weights
from data import DataOptions, Statistics
from devices import DeviceData, DeviceOptions, Place, autocast, choose_place, profiled, put_data
from initialization import draw_kernels
from metrics import accuracies
from model import Attention92
from processes import agree, average, gather, leave, wait
from recipe import Recipe
from run import Run, RunOptions, explained
from settings import parse_settings


@dataclass(frozen=True)
class Settings(DeviceOptions, RunOptions, DataOptions, Recipe):
    """The recipe, and how to run it."""


def make_model(settings: Settings) -> nn.Module:
    """Return the network with the seed's initial weights."""
    model = Attention92()
    weights.clear_biases(model)
    kernels = draw_kernels(settings.seed, weights.kernels(model), **recipe.INITIALIZATION)
    weights.load(model, weights.state(model) | kernels)
    return model


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimiser, with weight decay on convolution and linear weights alone."""
    decayed = [name for name in weights.kernels(model) if name.startswith(recipe.DECAYED)]
    named = dict(model.named_parameters())
    groups = [
        {"params": [named[name] for name in decayed], "weight_decay": settings.weight_decay},
        {"params": [p for name, p in named.items() if name not in decayed], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        fused=True,
    )
    weights.begin(model, optimizer)
    return optimizer


def mean_loss(model: nn.Module, images: Tensor, labels: Tensor, settings: Settings) -> Tensor:
    """Return the loss of images [N, C, H, W] with labels [N] or targets [N, classes]."""
    with autocast(images.device, settings):
        logits = model(images).to(images.dtype)
    return F.cross_entropy(logits, labels)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    learning_rate: float,
    settings: Settings,
) -> Tensor:
    """Take one step on a batch; return its loss, which stays on the device."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss = mean_loss(model, images, labels, settings)
    loss.backward()
    loss = loss.detach()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    average([loss, *gradients])
    optimizer.step()
    return loss


@torch.inference_mode()
def predict(model: nn.Module, data: DeviceData, settings: Settings) -> Tensor:
    """Return the logarithms of probabilities [N, classes], which are means over the crops."""
    model.eval()
    crops, predictions = data.put(recipe.CROPS), []
    for images in data.batches(settings.evaluation_batch_size or settings.batch_size):
        with autocast(data.device, settings):
            logits = [model(recipe.test_images(images, crop, data.statistics)) for crop in crops]
        logarithms = torch.stack(logits).to(data.dtype).log_softmax(dim=2)
        predictions.append(logarithms.logsumexp(dim=0) - log(len(crops)))
    model.train()
    return gather(torch.cat(predictions))[: len(data)]


def measure(predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the mean of each measure; a tie in the top 5 counts against it."""
    own = predictions.gather(1, labels[:, None])
    correct = predictions.argmax(dim=1) == labels
    in_top5 = (predictions < own).sum(dim=1) >= recipe.CLASSES - 5
    means = [values.double().mean().item() for values in (-own, correct, in_top5)]
    return dict(zip(recipe.MEASURES, means, strict=False))


def train(model: nn.Module, settings: Settings, place: Place) -> None:
    """Train to the end of the run, with evaluations and checkpoints."""
    if settings.weights:
        weights.restore(model, checkpoint.load(settings.weights)[0])
    optimizer = make_optimizer(model, settings)
    data = recipe.load(settings, settings)
    place.say(f"{recipe.NETWORK} on {place}")
    run = Run(
        settings,
        recipe.plan(settings),
        network=recipe.NETWORK,
        digest=recipe.DIGEST,
        data=data,
        framework=f"torch {torch.__version__}",
        device=str(place),
        precision=place.precision,
        writes=place.processes.rank == 0,
        agree=agree if place.processes.count > 1 else None,
        state_bytes=weights.size(model, optimizer),
    )
    if run.restored:
        tensors, manifest = run.restored
        weights.restore(model, tensors, optimizer, manifest.step)
    training, watched, test = put_data(data, place)
    model.train()
    with run:
        batches = training.ahead(recipe.draw, settings, run.remaining)
        steps = profiled(run, settings.profile)
        for step, (images, labels, draws) in zip(steps, batches, strict=False):
            images = recipe.training_images(images, draws, training.statistics, settings)
            labels = recipe.training_labels(labels, draws)
            rate = run.learning_rate(step)
            run.add(train_step(model, optimizer, images, labels, rate, settings))
            if run.evaluation_due():
                with weights.averaged(model, optimizer):
                    predictions = predict(model, watched, settings)
                run.evaluated(measure(predictions, watched.labels))
            if run.checkpoint_due():
                run.save(weights.state(model, optimizer) | data.statistics.tensors())
        wait()
        best = run.best
        if best is not None:
            weights.restore(model, best, optimizer)
        if run.tested is None:
            with weights.averaged(model, optimizer):
                predictions = predict(model, test, settings)
        run.finished(measure(predictions, test.labels), test.predictions(predictions))


def test(model: nn.Module, settings: Settings, place: Place) -> None:
    """Say what the test set shows of the weights of --weights."""
    tensors, _ = checkpoint.load(settings.weights)
    weights.restore(model, weights.tested(tensors))
    statistics = Statistics.from_tensors(tensors)
    data = recipe.load(settings, settings, statistics=statistics, training=False)
    _, _, test = put_data(data, place)
    results = measure(predict(model, test, settings), test.labels)
    place.say(f"test accuracy: {accuracies(results)}")


def main(settings: Settings) -> None:
    """Train, or only test."""
    place = choose_place(settings)
    model = place.put(make_model(settings))
    (test if settings.evaluate else train)(model, settings, place)
    leave()


if __name__ == "__main__":
    with explained():
        main(parse_settings(Settings, __doc__))
