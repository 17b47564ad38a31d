"""The reference: a graph evaluated, differentiated and trained on NumPy arrays.

State is a mapping of canonical names to arrays: parameters and statistics as `Graph.tensors` names
them, optimiser state and averages of weights as checkpoints do. No function changes the arrays it
is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ranspec.analysis.reference import (
    adam_step,
    clipped,
    cross_entropy,
    moving_average,
    rmsprop_step,
    sgd_step,
)
from ranspec.ir.graph import Graph
from ranspec.ir.operation import Operation
from ranspec.ir.trace import BlockNode, Trace
from ranspec.spec.training import Optimizer, RmsProp, Sgd, Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ranspec.ir.operation import Array

    State = Mapping[str, Array]
    Labels = NDArray[np.integer] | Array
    """Classes (N,), or targets (N, classes)."""


@dataclass(frozen=True, eq=False)
class Instruction:
    """An operation on values that are numbered through the whole network; 0 is the images."""

    path: str
    """Of the layer that is used: the same for each of its uses."""
    operation: Operation
    inputs: tuple[int, ...]
    output: int

    def arrays(self, state: State) -> dict[str, Array]:
        """Return the operation's own arrays by their leaf names."""
        return {leaf: state[f"{self.path}.{leaf}"] for leaf in self.operation.parameters()}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A forward pass: the network's output, every layer's, and what `backward` needs."""

    output: Array
    layers: Mapping[str, Array]
    """The output of every layer by path, in the order of execution; of its last use if several."""
    saved: Mapping[int, Any]
    """By the number of the output."""


@dataclass(frozen=True, eq=False)
class Step:
    """A training step: what it saw on its way, and the state it left."""

    logits: Array
    """Of the last micro-batch."""
    loss: float
    gradients: State
    """As the optimiser is given them: of the mean loss, clipped, without an L2 penalty."""
    state: State


def initial_state(graph: Graph, recipe: Training, seed: int | None = None) -> State:
    """Return the parameters and statistics that training starts from, by default from its seed.

    Kernels are drawn as the recipe says, all else has the value that its operation says.
    """
    import numpy as np

    from ranspec.runtime.initialization import draw_kernels

    settings = recipe.initialization
    tensors = graph.tensors
    drawn = {name: item.shape for name, item in tensors.items() if item.spec.initial == "drawn"}
    kernels = draw_kernels(
        recipe.seed if seed is None else seed,
        drawn,
        settings.kind,
        settings.fan,
        settings.deviation,
    )
    return {
        name: kernels[name] if name in drawn else np.full(tensor.shape, tensor.spec.initial)
        for name, tensor in tensors.items()
    }


def linearize(graph: Graph) -> tuple[Instruction, ...]:
    """Return the operations of a network in the order of execution; the last gives its output."""
    numbers = iter(range(1, len(graph.layers) + 1))
    return tuple(_instructions(graph.root, "", {0: 0}, numbers))


def forward(graph: Graph, state: State, images: Array, *, training: bool) -> Evaluation:
    """Evaluate a network on images (N, C, H, W)."""
    values = {0: images}
    layers: dict[str, Array] = {}
    saved: dict[int, Any] = {}
    for item in linearize(graph):
        inputs = (values[index] for index in item.inputs)
        output, saved[item.output] = item.operation.forward(
            item.arrays(state), *inputs, training=training
        )
        values[item.output] = layers[item.path] = output
    return Evaluation(output, layers, saved)


def backward(graph: Graph, state: State, evaluation: Evaluation, gradient: Array) -> State:
    """Return the gradient of every trained array, given that of the network's output."""
    program = linearize(graph)
    pending = {program[-1].output: gradient}
    gradients: dict[str, Array] = {}
    for item in reversed(program):
        if item.output not in pending:
            continue
        by_inputs, by_arrays = item.operation.backward(
            item.arrays(state), evaluation.saved[item.output], pending.pop(item.output)
        )
        for index, share in zip(item.inputs, by_inputs, strict=True):
            pending[index] = pending[index] + share if index in pending else share
        for leaf, array in by_arrays.items():
            name = f"{item.path}.{leaf}"
            gradients[name] = gradients[name] + array if name in gradients else array
    return gradients


def updated_statistics(graph: Graph, state: State, evaluation: Evaluation) -> State:
    """Return the batch-norm statistics as a training forward pass leaves them."""
    updated: dict[str, Array] = {}
    for item in linearize(graph):
        arrays = item.arrays({**state, **updated} if updated else state)
        statistics = item.operation.updated_statistics(arrays, evaluation.saved[item.output])
        updated |= {f"{item.path}.{leaf}": array for leaf, array in statistics.items()}
    return updated


def training_step(
    graph: Graph,
    recipe: Training,
    state: State,
    images: Array,
    labels: Labels,
    *,
    learning_rate: float,
    step: int,
) -> Step:
    """Take the 0-based step `step` of a recipe; absent optimiser state counts as zero.

    Micro-batch j of k is every k-th image from number j on. Each moves the batch-norm statistics,
    in turn. An absent average of weights is that of the weights before the step.
    """
    parts = recipe.micro_batches
    updated = dict(state)
    losses: list[float] = []
    gradients: dict[str, Array] = {}
    for part in range(parts):
        evaluation = forward(graph, updated, images[part::parts], training=True)
        loss, gradient = cross_entropy(
            evaluation.output, labels[part::parts], recipe.label_smoothing
        )
        losses.append(loss)
        for name, share in backward(graph, updated, evaluation, gradient / parts).items():
            gradients[name] = gradients[name] + share if name in gradients else share
        updated |= updated_statistics(graph, updated, evaluation)
    if recipe.gradient_clipping is not None:
        gradients = clipped(gradients, recipe.gradient_clipping)
    weights = _decayed(graph, recipe.optimizer.decayed_weights)
    for name, gradient in gradients.items():
        decay = recipe.optimizer.weight_decay if name in weights else 0.0
        updated |= _optimize(recipe.optimizer, state, name, gradient, learning_rate, decay, step)
        if recipe.weight_average:
            average = state.get(f"average.{name}", state[name])
            kept = recipe.weight_average
            updated[f"average.{name}"] = moving_average(average, updated[name], kept)
    return Step(evaluation.output, sum(losses) / parts, gradients, updated)


def _instructions(
    trace: Trace, prefix: str, values: dict[int, int], numbers: Iterator[int]
) -> Iterator[Instruction]:
    """Yield a block's operations; `values` maps its own numbers to the network's, and grows."""
    for node in trace.nodes:
        inputs = tuple(values[index] for index in node.inputs)
        if not isinstance(node, BlockNode):
            values[node.output] = number = next(numbers)
            yield Instruction(f"{prefix}{node.layer}", node.operation, inputs, number)
            continue
        for name, instance in node.owners():
            inner = dict(enumerate(inputs))
            yield from _instructions(instance.trace, f"{prefix}{name}.", inner, numbers)
            inputs = (inner[instance.trace.output],)
        values[node.output] = inputs[0]


def _decayed(graph: Graph, weights: Literal["all", "head"]) -> set[str]:
    prefix = "head." if weights == "head" else ""
    return {
        name
        for name, tensor in graph.tensors.items()
        if tensor.spec.decays and name.startswith(prefix)
    }


def _optimize(
    optimizer: Optimizer,
    state: State,
    name: str,
    gradient: Array,
    learning_rate: float,
    weight_decay: float,
    step: int,
) -> State:
    import numpy as np

    def slot(kind: str) -> Array:
        return state.get(f"optimizer.{kind}.{name}", np.zeros_like(state[name]))

    if isinstance(optimizer, Sgd):
        parameter, velocity = sgd_step(
            state[name],
            gradient,
            slot("momentum"),
            learning_rate=learning_rate,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            weight_decay=weight_decay,
        )
        return {name: parameter, f"optimizer.momentum.{name}": velocity}
    if isinstance(optimizer, RmsProp):
        parameter, second = rmsprop_step(
            state[name],
            gradient,
            slot("second_moment"),
            learning_rate=learning_rate,
            decay=optimizer.decay,
            epsilon=optimizer.epsilon,
            weight_decay=weight_decay,
        )
        return {name: parameter, f"optimizer.second_moment.{name}": second}
    parameter, first, second = adam_step(
        state[name],
        gradient,
        slot("first_moment"),
        slot("second_moment"),
        step=step + 1,
        learning_rate=learning_rate,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        epsilon=optimizer.epsilon,
        weight_decay=weight_decay,
    )
    return {
        name: parameter,
        f"optimizer.first_moment.{name}": first,
        f"optimizer.second_moment.{name}": second,
    }
