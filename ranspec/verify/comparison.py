"""From two measurements of one run to checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.ir.graph import Graph
from ranspec.spec.model import Spec
from ranspec.verify import probe
from ranspec.verify.experiment import optimizer_slots
from ranspec.verify.report import Check, Parting

Array = NDArray[Any]
Measurement = Mapping[str, Array]
Error = tuple[float, str]
"""The largest relative error of some tensors, and the tensor that has it."""

SAMPLE = 16
"""How many numbers of an array are looked at before all are."""


@dataclass(frozen=True)
class Tolerances:
    """The largest relative errors allowed; a quantity that is None is not compared.

    Gradients and optimiser state are relative to the largest of all, everything else to the
    largest value of its own tensor.
    """

    logits: float
    loss: float
    gradients: float
    statistics: float
    final_parameters: float | None
    final_statistics: float | None
    final_optimizer: float | None
    losses: float
    initial_weights: float = 1e-7
    """Networks are constructed in float32."""
    learning_rates: float = 1e-12

    @property
    def by_quantity(self) -> Mapping[str, float]:
        """The tolerances of what is compared."""
        named = {
            "initial weights": self.initial_weights,
            "learning rates": self.learning_rates,
            "logits, training": self.logits,
            "logits, evaluation": self.logits,
            "loss": self.loss,
            "gradients": self.gradients,
            "statistics, one step": self.statistics,
            "losses, all steps": self.losses,
            "parameters, all steps": self.final_parameters,
            "averages, all steps": self.final_parameters,
            "statistics, all steps": self.final_statistics,
            "optimizer, all steps": self.final_optimizer,
        }
        return {name: tolerance for name, tolerance in named.items() if tolerance is not None}


TOLERANCES: Mapping[str, Tolerances] = {
    "float64": Tolerances(1e-11, 1e-12, 1e-10, 1e-10, 1e-10, 1e-10, 1e-10, 1e-10),
    "float32": Tolerances(2e-5, 2e-6, 1e-4, 2e-5, None, None, None, 5e-2),
}
"""In float32 two right runs part as soon as one activation changes its sign in one of them: only
the first step is held to rounding, and the losses after it loosely."""


def compare(
    left: Measurement,
    right: Measurement,
    pair: tuple[str, str],
    graph: Graph,
    spec: Spec,
    tolerances: Tolerances,
    *,
    noise: Mapping[str, float] | None = None,
    trained: bool = True,
) -> tuple[Check, ...]:
    """Compare two measurements of a run; errors are relative to the second.

    `noise` is what rounding may do to each quantity. Unless both were `trained`, all there is to
    compare are the logits in evaluation.
    """
    parameters = [name for name, tensor in graph.tensors.items() if tensor.trainable]
    statistics = [name for name, tensor in graph.tensors.items() if not tensor.trainable]
    optimizer = [
        f"optimizer.{slot}.{name}" for slot in optimizer_slots(spec) for name in parameters
    ]

    def each(prefix: str, names: list[str]) -> Callable[[], Error]:
        return lambda: _largest(relative_errors(left, right, prefix, names))

    def together(prefix: str, names: list[str]) -> Callable[[], Error]:
        return lambda: _largest(joint_errors(left, right, prefix, names))

    def alone(name: str, select: Callable[[Array], Array] = np.asarray) -> Callable[[], Error]:
        return lambda: (relative_error(select(left[name]), select(right[name])), "")

    errors: dict[str, Callable[[], Error]] = {
        "initial weights": each(probe.INITIAL, [*graph.tensors]),
        "learning rates": lambda: _rate_error(left[probe.RATES], right[probe.RATES]),
        "logits, training": alone(probe.LOGITS),
        "logits, evaluation": alone(probe.EVALUATION_LOGITS),
        "loss": alone(probe.LOSSES, lambda losses: losses[:1]),
        "gradients": together(probe.GRADIENT, parameters),
        "statistics, one step": each(probe.FIRST, statistics),
        "losses, all steps": alone(probe.LOSSES),
        "parameters, all steps": each("", parameters),
        "averages, all steps": each("average.", parameters),
        "statistics, all steps": each("", statistics),
        "optimizer, all steps": together("", optimizer),
    }
    if not trained:
        errors = {"logits, evaluation": errors["logits, evaluation"]}
    if not statistics:
        errors = {name: error for name, error in errors.items() if "statistics" not in name}
    if not optimizer:
        errors.pop("optimizer, all steps", None)
    if not spec.train.weight_average:
        errors.pop("averages, all steps", None)
    limits = tolerances.by_quantity
    found = {quantity: error() for quantity, error in errors.items() if quantity in limits}
    return tuple(
        Check(quantity, pair, error, limits[quantity], worst, (noise or {}).get(quantity, 0.0))
        for quantity, (error, worst) in found.items()
    )


def find_parting(
    measured: Measurement,
    reference: Measurement,
    pair: tuple[str, str],
    graph: Graph,
    tolerances: Tolerances,
    *,
    trained: bool = True,
) -> Parting | None:
    """Return where a measurement that includes layers parts from the reference's.

    A backend's values have no names: a layer agrees where any of them is its output. The first
    layer, in the order of execution, that does not is where both part, in training or else in
    evaluation; where all agree and both were `trained`, the last whose gradients differ.
    """
    for prefix in (probe.TRAINING, probe.EVALUATION):
        values = [array for name, array in measured.items() if name.startswith(prefix)]
        if not values:
            continue
        values += [measured[probe.EVALUATION_LOGITS]]
        for layer in graph.layers:
            error = _nearest(values, reference[prefix + layer.path], tolerances.logits)
            if not error <= tolerances.logits:
                return Parting(pair, "forward", layer.path, error)
    if not trained:
        return None
    parameters = [name for name, tensor in graph.tensors.items() if tensor.trainable]
    for name, error in reversed(
        list(joint_errors(measured, reference, probe.GRADIENT, parameters))
    ):
        if not error <= tolerances.gradients:
            return Parting(pair, "backward", name.rpartition(".")[0], error)
    return None


def relative_error(left: Array, right: Array, scale: float | None = None) -> float:
    """Return max |left - right| / scale, by default max |right|; infinite where undefined."""
    if left.shape != right.shape:
        return float("inf")
    difference = float(np.abs(left.astype(np.float64) - right).max(initial=0.0))
    scale = float(np.abs(right).max(initial=0.0)) if scale is None else scale
    error = difference / scale if scale else (0.0 if difference == 0.0 else float("inf"))
    return error if error == error else float("inf")


def relative_errors(
    left: Measurement, right: Measurement, prefix: str, names: list[str]
) -> Iterator[tuple[str, float]]:
    """Yield each tensor's error, relative to its own largest value."""
    for name in names:
        key = prefix + name
        if key in left and key in right:
            yield name, relative_error(left[key], right[key])
        elif key in left or key in right:
            yield name, float("inf")


def joint_errors(
    left: Measurement, right: Measurement, prefix: str, names: list[str]
) -> Iterator[tuple[str, float]]:
    """Yield each tensor's error, relative to the largest value of all tensors.

    Where all are zero nothing can be told by them: every error is infinite.
    """
    present = [right[prefix + name] for name in names if prefix + name in right]
    scale = max((float(np.abs(array).max(initial=0.0)) for array in present), default=0.0)
    for name in names:
        zero = np.zeros(1)
        one, other = (measured.get(prefix + name, zero) for measured in (left, right))
        if one is zero:
            one = np.zeros_like(other)
        if other is zero:
            other = np.zeros_like(one)
        yield name, relative_error(one, other, scale) if scale else float("inf")


def _nearest(values: Sequence[Array], wanted: Array, tolerance: float) -> float:
    """Return the error of the first value within a tolerance of an array, else the smallest."""
    sample = np.linspace(0, wanted.size - 1, min(SAMPLE, wanted.size), dtype=int)
    least, limit = float("inf"), tolerance * float(np.abs(wanted).max(initial=0.0))
    expected = wanted.ravel()[sample]
    for value in values:
        if value.shape != wanted.shape:
            continue
        near = float(np.abs(value.ravel()[sample] - expected).max(initial=0.0)) <= limit
        if near or least == float("inf"):
            error = relative_error(value, wanted)
            if error <= tolerance:
                return error
            least = min(least, error)
    return least


def _rate_error(left: Array, right: Array) -> Error:
    """Return the largest error of learning rates, each relative to itself."""
    if left.shape != right.shape:
        return float("inf"), ""
    pairs = zip(left.reshape(-1, 1), right.reshape(-1, 1), strict=True)
    return max(relative_error(one, other) for one, other in pairs), ""


def _largest(errors: Iterator[tuple[str, float]]) -> Error:
    return max(((error, name) for name, error in errors), default=(0.0, ""))
