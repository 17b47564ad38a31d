"""What a verification computes: the state it starts from, its batches, and the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.analysis.interpreter import forward, linearize, training_step
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph, Tensor
from ranspec.ir.operations import MaxPool, Relu
from ranspec.runtime.initialization import draw_kernels
from ranspec.spec import LoadedSpec, Spec
from ranspec.spec.training import ExponentialSchedule, StepSchedule
from ranspec.verify import probe

Array = NDArray[Any]

BATCHES = 4
"""How many different batches a run uses, in turn."""

DRAWS = 8
"""How many states a float32 run has to choose from."""

HIGHEST_RATE = 0.01
"""The highest learning rate of a run: large steps on few images blow rounding errors up."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Images (K, N, C, H, W) and labels (K, N), used in turn."""

    images: Array
    labels: Array


@dataclass(frozen=True, eq=False)
class Experiment:
    """A network with all that decides what a run of it computes."""

    loaded: LoadedSpec
    graph: Graph
    state: Mapping[str, Array]
    """Parameters and statistics, and optimiser state unless the run starts from none."""
    batches: Batches
    dtype: str
    learning_rate: float
    """The rate before it drops."""
    steps: int
    first_step: int = 0

    @property
    def drop(self) -> int:
        """The step at which the learning rate changes, in the middle of the run."""
        return self.first_step + (self.steps + 1) // 2

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that generated code needs for this run; all others are the recipe's."""
        run = {
            "batch_size": self.batches.labels.shape[1],
            "learning_rate": self.learning_rate,
        }
        if isinstance(self.loaded.spec.train.learning_rate, ExponentialSchedule):
            return run | {"learning_rate_every": self.drop}
        return run | {"learning_rate_steps": (self.drop,)}

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        schedule = self.loaded.spec.train.learning_rate
        assert isinstance(schedule, StepSchedule | ExponentialSchedule)
        factor = schedule.factor
        return self.learning_rate * (factor if step >= self.drop else 1.0)


def experiment(
    loaded: LoadedSpec,
    *,
    dtype: str = "float64",
    steps: int = 20,
    batch_size: int = 4,
    seed: int = 0,
    batches: Batches | None = None,
) -> Experiment:
    """Draw weights, statistics, images and labels; dropout is left out of the network.

    In float32 rounding decides what an activation next to a kink does, and with it the gradients:
    of several states the one that keeps clearest of kinks is taken.
    """
    loaded = with_changing_rate(without_dropout(loaded))
    graph = compile_spec(loaded)
    batches = batches or random_batches(graph, loaded.spec, batch_size, seed)
    state = random_state(graph, seed)
    if dtype == "float32":
        states = (random_state(graph, DRAWS * seed + draw) for draw in range(DRAWS))
        state = max(states, key=partial(kink_margin, graph, images=batches.images[0]))
    return Experiment(
        loaded=loaded,
        graph=graph,
        state={name: array.astype(dtype) for name, array in state.items()},
        batches=batches,
        dtype=dtype,
        learning_rate=min(loaded.spec.train.learning_rate.initial, HIGHEST_RATE),
        steps=steps,
    )


def without_dropout(loaded: LoadedSpec) -> LoadedSpec:
    """Set every dropout rate to 0: frameworks draw masks of their own."""

    def off(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        return {key: 0.0 if key == "dropout" else off(value) for key, value in part.items()}

    spec = Spec.model_validate(off(loaded.spec.model_dump()))
    return dataclasses.replace(loaded, spec=spec)


def with_changing_rate(loaded: LoadedSpec) -> LoadedSpec:
    """Make the learning rate change, and with the step alone, whatever the recipe's schedule."""
    recipe = loaded.spec.train
    schedule = recipe.learning_rate
    if isinstance(schedule, ExponentialSchedule):
        return loaded
    factor = schedule.factor if isinstance(schedule, StepSchedule) else StepSchedule().factor
    steps = StepSchedule(initial=schedule.initial, factor=factor)
    train = recipe.model_copy(
        update={"learning_rate": steps, "validation": 0, "early_stopping": None}
    )
    return dataclasses.replace(loaded, spec=loaded.spec.model_copy(update={"train": train}))


def random_state(graph: Graph, seed: int) -> dict[str, Array]:
    """Draw every array in float64, none of them constant, variances and scales positive."""
    drawn = {
        name: tensor.shape
        for name, tensor in graph.tensors.items()
        if tensor.spec.initial == "drawn"
    }
    kernels = draw_kernels(seed, drawn)
    generator = np.random.Generator(np.random.Philox(key=seed))
    return {
        name: kernels[name] if name in drawn else _varied(generator, tensor)
        for name, tensor in graph.tensors.items()
    }


def random_batches(graph: Graph, spec: Spec, batch_size: int, seed: int) -> Batches:
    """Draw images of unit variance and labels."""
    generator = np.random.Generator(np.random.Philox(key=seed + (1 << 32)))
    height, width, channels = graph.input
    images = generator.standard_normal((BATCHES, batch_size, channels, height, width))
    return Batches(images, generator.integers(0, spec.classes, (BATCHES, batch_size)))


def kink_margin(graph: Graph, state: Mapping[str, Array], images: Array) -> float:
    """Return how near a training step comes to a kink of ReLU or to a tie of max pooling.

    It is the smallest distance over all activations, relative to the largest of their layer.
    """
    layers = forward(graph, state, images, training=True).layers
    values = [images, *layers.values()]
    margin = float("inf")
    for item in linearize(graph):
        x = values[item.inputs[0]]
        if isinstance(item.operation, Relu):
            distance = np.abs(x).min()
        elif isinstance(item.operation, MaxPool):
            distance = _smallest_lead(item.operation, x)
        else:
            continue
        margin = min(margin, float(distance / np.abs(x).max()))
    return margin


def measure_reference(run: Experiment, *, layers: bool = False) -> dict[str, Array]:
    """Compute in NumPy what a probe measures, under the same names; the final state is bare."""
    images, labels = run.batches.images.astype(run.dtype), run.batches.labels
    state: Mapping[str, Array] = run.state
    evaluation = forward(run.graph, state, images[0], training=False)
    measured: dict[str, Array] = {probe.EVALUATION_LOGITS: evaluation.output}
    if layers:
        training = forward(run.graph, state, images[0], training=True)
        measured |= {probe.EVALUATION + path: array for path, array in evaluation.layers.items()}
        measured |= {probe.TRAINING + path: array for path, array in training.layers.items()}
    losses = []
    for position in range(run.steps):
        step = run.first_step + position
        result = training_step(
            run.graph,
            run.loaded.spec.train,
            state,
            images[position % len(images)],
            labels[position % len(labels)],
            learning_rate=run.rate(step),
            step=step,
        )
        state = result.state
        losses.append(result.loss)
        if position == 0:
            measured[probe.LOGITS] = result.logits
            measured |= {probe.GRADIENT + name: array for name, array in result.gradients.items()}
            measured |= {probe.FIRST + name: array for name, array in state.items()}
    measured[probe.LOSSES] = np.array(losses, np.float64)
    return measured | dict(state)


def _smallest_lead(pool: MaxPool, x: Array) -> float:
    """Return by how much, at least, the largest value of a window exceeds the next."""
    height, width = x.shape[2:]
    margins = pool.margins(height), pool.margins(width)
    padded = np.pad(x, ((0, 0), (0, 0), *margins), constant_values=-1e30)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (pool.kernel, pool.kernel), (2, 3))
    ranked = np.sort(windows[:, :, :: pool.stride, :: pool.stride].reshape(-1, pool.kernel**2))
    return float((ranked[:, -1] - ranked[:, -2]).min())


def _varied(generator: np.random.Generator, tensor: Tensor) -> Array:
    """Draw values around the initial one, of its sign unless it is zero."""
    initial = float(tensor.spec.initial)
    if initial:
        return initial * generator.uniform(0.5, 1.5, tensor.shape)
    return 0.3 * generator.standard_normal(tensor.shape)
