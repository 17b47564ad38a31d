"""What a verification computes: the state it starts from, its batches, and the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.analysis.interpreter import forward, initial_state, linearize, training_step
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph, Tensor
from ranspec.ir.operations import Add, MaxPool, Relu, Sigmoid
from ranspec.runtime.initialization import draw_kernels
from ranspec.spec import LoadedSpec, Spec
from ranspec.spec.training import (
    ConstantSchedule,
    ExponentialSchedule,
    PlateauSchedule,
    RmsProp,
    Schedule,
    Sgd,
    StepSchedule,
)
from ranspec.verify import probe

Array = NDArray[Any]

BATCHES = 4
"""How many different batches a run uses, in turn."""

DRAWS = 8
"""How many states a float32 run has to choose from."""

LEAST_SQUARE = 1e-4
"""The least mean square of gradients that an optimiser's state is drawn for, of the largest."""

BRANCH_SCALE = 0.1
"""By how much the last layer of every residual branch is scaled down in a run's state.

At full scale rounding grows from unit to unit, in a deep network beyond what tolerances allow; a
branch of a tenth still shows each of its faults, one digit smaller.
"""


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
    seed: int
    steps: int
    first_step: int
    rate_factor: float = 1.0
    """What the recipe's learning rates are multiplied by."""
    branch_scale: float = BRANCH_SCALE
    compilation: probe.Compilation | None = None
    """How steps are compiled; None: as takes least time."""

    @property
    def schedule(self) -> Schedule:
        return self.loaded.spec.train.learning_rate

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that generated code needs for this run; all others are the recipe's."""
        settings: dict[str, Any] = {"batch_size": self.batches.labels.shape[1]}
        if self.rate_factor == 1.0:
            return settings
        settings["learning_rate"] = self.rate_factor * self.schedule.initial
        if isinstance(self.schedule, StepSchedule) and self.schedule.warmup:
            settings["warmup_rate"] = self.rate_factor * self.schedule.warmup.rate
        return settings

    @property
    def positions(self) -> tuple[int, ...]:
        """Where in its schedule each step stands: its number, or a plateau's reductions so far.

        A plateau is taken to be found in the middle of the run.
        """
        steps = range(self.first_step, self.first_step + self.steps)
        if isinstance(self.schedule, PlateauSchedule):
            return tuple(int(step >= self.first_step + _half(self.steps)) for step in steps)
        return tuple(steps)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each step."""
        return tuple(rate_at(self.schedule, place, self.rate_factor) for place in self.positions)


def experiment(
    loaded: LoadedSpec,
    *,
    dtype: str = "float64",
    steps: int = 8,
    batch_size: int = 4,
    seed: int = 0,
    batches: Batches | None = None,
) -> Experiment:
    """Draw weights, statistics, images and labels; dropout is left out of the network.

    The steps are those of the recipe around the first change of its learning rate.
    """
    loaded = without_dropout(loaded)
    graph = compile_spec(loaded)
    changes = rate_changes(loaded.spec.train.learning_rate)
    run = Experiment(
        loaded=loaded,
        graph=graph,
        state={},
        batches=batches or random_batches(graph, loaded.spec, batch_size, seed),
        dtype=dtype,
        seed=seed,
        steps=steps,
        first_step=max(0, changes[0] - _half(steps)) if changes else 0,
    )
    return with_branches(run, BRANCH_SCALE)


def with_branches(run: Experiment, scale: float) -> Experiment:
    """Draw a run's state anew, with the last layer of each residual branch scaled.

    In float32 rounding decides what an activation next to a kink does, and with it the gradients:
    of several states the one that keeps clearest of kinks is taken.
    """
    images = run.batches.images[0]

    def draw(seed: int) -> dict[str, Array]:
        return with_calm_masks(run.graph, random_state(run.graph, seed, scale), images)

    state = draw(run.seed)
    if run.dtype == "float32":
        seeds = range(DRAWS * run.seed, DRAWS * (run.seed + 1))
        state = max(map(draw, seeds), key=partial(kink_margin, run.graph, images=images))
    state |= random_optimizer(run, state)
    typed = {name: array.astype(run.dtype) for name, array in state.items()}
    return dataclasses.replace(run, state=typed, branch_scale=scale)


def rate_changes(schedule: Schedule) -> tuple[int, ...]:
    """Return the first steps that have another learning rate than the step before.

    There are none where the rate is constant or does not follow from the step; an exponential
    decay has more than those two that are returned.
    """
    match schedule:
        case StepSchedule():
            warmup = (schedule.warmup.iterations,) if schedule.warmup else ()
            steps: tuple[int, ...] = tuple(sorted({*warmup, *schedule.at}))
        case ExponentialSchedule():
            steps = schedule.every, 2 * schedule.every
        case _:
            steps = ()
    return tuple(s for s in steps if rate_at(schedule, s - 1) != rate_at(schedule, s))


def rate_at(schedule: Schedule, position: int, factor: float = 1.0) -> float:
    """Return the learning rate of a 0-based step, or after so many reductions of a plateau."""
    first = factor * schedule.initial
    match schedule:
        case ConstantSchedule():
            return first
        case ExponentialSchedule():
            return first * float(schedule.factor ** (position // schedule.every))
        case PlateauSchedule():
            lowered = first * float(schedule.factor**position)
            return max(schedule.least, lowered) if position else first
        case StepSchedule():
            if schedule.warmup and position < schedule.warmup.iterations:
                return factor * schedule.warmup.rate
            return first * float(schedule.factor ** sum(position >= step for step in schedule.at))


def landmarks(spec: Spec) -> tuple[int, ...]:
    """Return positions of a recipe's schedule that together tell it from any other.

    They are the first and the last step, and those before and after each change of the rate; or as
    many reductions as it takes to reach the lowest rate.
    """
    schedule = spec.train.learning_rate
    if isinstance(schedule, PlateauSchedule):
        return tuple(range(8))
    changes = rate_changes(schedule)
    steps = {0, spec.train.iterations - 1, *changes, *(step - 1 for step in changes)}
    return tuple(sorted(steps))


def optimizer_slots(spec: Spec) -> tuple[str, ...]:
    """Return the names of the arrays that an optimiser keeps for each weight."""
    optimizer = spec.train.optimizer
    if isinstance(optimizer, Sgd):
        return ("momentum",) if optimizer.momentum else ()
    return (
        ("second_moment",) if isinstance(optimizer, RmsProp) else ("first_moment", "second_moment")
    )


def random_optimizer(run: Experiment, state: Mapping[str, Array]) -> dict[str, Array]:
    """Draw an optimiser's state as gradients of the usual size for each weight would leave it.

    What has no gradient but for rounding, such as a bias before batch norm, is given some: Adam
    divides by the root of the second moment, and would make a step of the rounding.
    """
    recipe = run.loaded.spec.train
    images, labels = run.batches.images[0], run.batches.labels[0]
    step = training_step(run.graph, recipe, state, images, labels, learning_rate=0.0, step=0)
    squares = {name: float(np.square(array).mean()) for name, array in step.gradients.items()}
    least = LEAST_SQUARE * max(squares.values())
    generator = np.random.Generator(np.random.Philox(key=run.seed + (2 << 32)))
    drawn = {}
    for slot in optimizer_slots(run.loaded.spec):
        for name, square in squares.items():
            size, shape = max(square, least), state[name].shape
            drawn[f"optimizer.{slot}.{name}"] = (
                size * generator.uniform(0.5, 1.5, shape)
                if slot == "second_moment"
                else 0.1 * np.sqrt(size) * generator.standard_normal(shape)
            )
    return drawn


def without_dropout(loaded: LoadedSpec) -> LoadedSpec:
    """Set every dropout rate to 0: frameworks draw masks of their own."""

    def off(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        return {key: 0.0 if key == "dropout" else off(value) for key, value in part.items()}

    spec = Spec.model_validate(off(loaded.spec.model_dump()))
    return dataclasses.replace(loaded, spec=spec)


def random_state(graph: Graph, seed: int, branch_scale: float = 1.0) -> dict[str, Array]:
    """Draw every array in float64, none of them constant, variances and scales positive.

    The last layer of each residual branch is scaled.
    """
    drawn = {
        name: tensor.shape
        for name, tensor in graph.tensors.items()
        if tensor.spec.initial == "drawn"
    }
    kernels = draw_kernels(seed, drawn)
    generator = np.random.Generator(np.random.Philox(key=seed))
    ends = branch_ends(graph)
    return {
        name: (kernels[name] if name in drawn else _varied(generator, tensor))
        * (branch_scale if name.rpartition(".")[0] in ends and tensor.trainable else 1.0)
        for name, tensor in graph.tensors.items()
    }


def branch_ends(graph: Graph) -> frozenset[str]:
    """Return the paths of the layers with weights that end a residual branch.

    Of what is added up, the branch is what has gone through most layers with weights; where that
    is a sum itself, as in a mask's decoder, no layer ends it.
    """
    program = linearize(graph)
    makers = {item.output: item for item in program}
    depths = {0: 0}
    for item in program:
        own = 1 if item.operation.parameters() else 0
        depths[item.output] = own + max(depths[value] for value in item.inputs)
    ends = set()
    for item in program:
        if isinstance(item.operation, Add):
            maker = makers.get(max(item.inputs, key=depths.__getitem__))
            while maker and not (maker.operation.parameters() or isinstance(maker.operation, Add)):
                maker = makers.get(max(maker.inputs, key=depths.__getitem__))
            if maker and maker.operation.parameters():
                ends.add(maker.path)
    return frozenset(ends)


def with_calm_masks(graph: Graph, state: Mapping[str, Array], images: Array) -> dict[str, Array]:
    """Scale the layers that end in a sigmoid so that these outputs' deviation is at most 1.

    Where nothing normalises a mask its sigmoids would be far out, where they are flat: rounding of
    a large number, and hardly a gradient.
    """
    program = linearize(graph)
    makers = {item.output: item for item in program}
    ends = {makers[item.inputs[0]].path for item in program if isinstance(item.operation, Sigmoid)}
    calm = dict(state)
    values = {0: images}
    for item in program:
        inputs = [values[index] for index in item.inputs]
        arrays = item.arrays(calm)
        output, _ = item.operation.forward(arrays, *inputs, training=True)
        deviation = float(output.std())
        if item.path in ends and arrays and deviation > 1:
            calm |= {f"{item.path}.{leaf}": array / deviation for leaf, array in arrays.items()}
            output = output / deviation
        values[item.output] = output
    return calm


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
    values = {0: images}
    margin = float("inf")
    for item in linearize(graph):
        x = values[item.inputs[0]]
        if isinstance(item.operation, Relu):
            margin = min(margin, float(np.abs(x).min() / np.abs(x).max()))
        elif isinstance(item.operation, MaxPool):
            margin = min(margin, float(_smallest_lead(item.operation, x) / np.abs(x).max()))
        inputs = [values[index] for index in item.inputs]
        values[item.output], _ = item.operation.forward(item.arrays(state), *inputs, training=True)
    return margin


def measure_reference(run: Experiment, *, layers: bool = False) -> dict[str, Array]:
    """Compute in NumPy what a probe measures, under the same names; the final state is bare."""
    images, labels = run.batches.images.astype(run.dtype), run.batches.labels
    spec = run.loaded.spec
    state: Mapping[str, Array] = run.state
    evaluation = forward(run.graph, state, images[0], training=False)
    measured: dict[str, Array] = {probe.EVALUATION_LOGITS: evaluation.output}
    if layers:
        training = forward(run.graph, state, images[0], training=True)
        measured |= {probe.EVALUATION + path: array for path, array in evaluation.layers.items()}
        measured |= {probe.TRAINING + path: array for path, array in training.layers.items()}
    rates = [rate_at(run.schedule, position) for position in landmarks(spec)]
    measured[probe.RATES] = np.array(rates, np.float64)
    initial = initial_state(run.graph, spec.train)
    measured |= {probe.INITIAL + name: array for name, array in initial.items()}
    losses = []
    for position, rate in enumerate(run.rates):
        result = training_step(
            run.graph,
            spec.train,
            state,
            images[position % len(images)],
            labels[position % len(labels)],
            learning_rate=rate,
            step=run.first_step + position,
        )
        state = result.state
        losses.append(result.loss)
        if position == 0:
            measured[probe.LOGITS] = result.logits
            measured |= {probe.GRADIENT + name: array for name, array in result.gradients.items()}
            measured |= {
                probe.FIRST + name: state[name]
                for name, tensor in run.graph.tensors.items()
                if not tensor.trainable
            }
    measured[probe.LOSSES] = np.array(losses, np.float64)
    return measured | dict(state)


def _half(steps: int) -> int:
    return (steps + 1) // 2


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
