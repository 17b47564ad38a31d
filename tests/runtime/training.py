"""A small training in NumPy, to test runs with: `python training.py --help`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np

from ranspec.runtime.checkpoint import CheckpointError
from ranspec.runtime.folder import FolderError
from ranspec.runtime.run import Plan, Run, RunError, RunOptions
from ranspec.runtime.settings import Count, Fraction, Positive, Rate, fail, parse_settings

SIZE = 80


@dataclass(frozen=True)
class Recipe:
    iterations: Annotated[Positive, "steps to train"] = 40
    batch_size: Annotated[Positive, "images per step"] = 8
    seed: Annotated[Count, "seed"] = 0
    initial: Annotated[Rate, "learning rate"] = 0.1
    cosine: Annotated[bool, "let the rate fall to 0"] = False


@dataclass(frozen=True)
class ToyOptions:
    decisive: ClassVar[tuple[str, ...]] = ("precision",)

    precision: Annotated[str, "of numbers"] = "float64"
    images: Annotated[str, "digest of the data"] = "images"
    nap: Annotated[Rate, "seconds a step takes"] = 0.0
    spoil: Annotated[int | None, "step whose loss is NaN"] = None
    momentum: Annotated[Fraction, "no setting of the recipe"] = 0.9


@dataclass(frozen=True)
class Settings(ToyOptions, RunOptions, Recipe):
    """All settings."""


def learning_rate(step: int, reductions: int, recipe: Recipe) -> float:
    fall = 0.5 + 0.5 * np.cos(np.pi * step / recipe.iterations) if recipe.cosine else 1.0
    return float(recipe.initial * fall * 2.0**reductions)


class Model:
    """Weights that follow a noisy target, with momentum."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.weights, self.velocity = np.zeros(1000), np.zeros(1000)

    def load(self, tensors: Mapping[str, Any]) -> None:
        self.weights, self.velocity = tensors["weights"], tensors["optimizer.momentum.weights"]

    def state(self) -> dict[str, Any]:
        return {"weights": self.weights, "optimizer.momentum.weights": self.velocity}

    def step(self, step: int, rate: float) -> Any:
        noise = np.random.Generator(np.random.Philox(key=[self.settings.seed, step]))
        gradient = self.weights - 1 + noise.normal(size=1000)
        self.velocity = self.settings.momentum * self.velocity + gradient
        self.weights = self.weights - rate * self.velocity
        if step == self.settings.spoil:
            self.weights = self.weights * np.nan
        return np.mean(gradient**2) if step != self.settings.spoil else np.float64("nan")

    def evaluate(self) -> dict[str, float]:
        loss = float(np.mean((self.weights - 1) ** 2))
        return {"loss": loss, "accuracy": 1 / (1 + loss)}


def start(
    settings: Settings,
    *,
    plan: Mapping[str, Any] = {},
    framework: str = "numpy",
    **options: Any,
) -> Run:
    return Run(
        settings,
        Plan(settings, learning_rate, **plan),
        network="toy",
        digest="5" * 64,
        data=SimpleNamespace(
            digest=settings.images,
            training=range(SIZE),
            record=lambda: {"training": SIZE},
            summary=lambda: f"data: {SIZE} images",
        ),
        framework=framework,
        device="cpu",
        **options,
    )


def train(
    settings: Settings,
    *,
    after: Callable[[int], None] = lambda step: None,
    most: int = 1,
    **options: Any,
) -> Model:
    """Train to the end of a run; `after` is called with each step that has been taken."""
    run = start(settings, **options)
    model = Model(settings)
    if run.restored:
        model.load(run.restored[0])
    with run:
        for block in run.blocks(most):
            losses: Sequence[Any] = []
            for step in block:
                time.sleep(settings.nap)
                losses = [*losses, model.step(step, run.learning_rate(step))]
                after(step)
            run.add(np.array(losses))
            if run.evaluation_due():
                run.evaluated(model.evaluate())
            if run.checkpoint_due():
                run.save(model.state())
        if run.best:
            model.load(run.best)
        run.finished(run.tested or model.evaluate())
    return model


if __name__ == "__main__":
    try:
        train(parse_settings(Settings, __doc__))
    except (CheckpointError, FolderError, RunError) as error:
        fail(error)
