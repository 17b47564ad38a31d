"""From two measurements of one run to checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.ir.graph import Graph
from ranspec.spec.model import Spec
from ranspec.spec.training import RmsProp, Sgd
from ranspec.verify import probe
from ranspec.verify.report import Check, Parting

Array = NDArray[Any]
Measurement = Mapping[str, Array]
Error = tuple[float, str]
"""The largest relative error of some tensors, and the tensor that has it."""


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
    trained: bool = True,
) -> tuple[Check, ...]:
    """Compare two measurements of a run; errors are relative to the second.

    Unless both were `trained`, all there is to compare are the logits in evaluation.
    """
    parameters = [name for name, tensor in graph.tensors.items() if tensor.trainable]
    statistics = [name for name, tensor in graph.tensors.items() if not tensor.trainable]

    def check(quantity: str, tolerance: float | None, error: Error) -> Iterator[Check]:
        if tolerance is not None:
            yield Check(quantity, pair, error[0], tolerance, error[1])

    def each(prefix: str, names: list[str]) -> Error:
        return _largest(relative_errors(left, right, prefix, names))

    def together(prefix: str, names: list[str]) -> Error:
        return _largest(joint_errors(left, right, prefix, names))

    def alone(name: str, select: Callable[[Array], Array] = np.asarray) -> Error:
        return relative_error(select(left[name]), select(right[name])), ""

    optimizer = [f"optimizer.{slot}.{name}" for slot in _slots(spec) for name in parameters]
    if not trained:
        error = alone(probe.EVALUATION_LOGITS)
        return tuple(check("logits, evaluation", tolerances.logits, error))
    return (
        *check("logits, training", tolerances.logits, alone(probe.LOGITS)),
        *check("logits, evaluation", tolerances.logits, alone(probe.EVALUATION_LOGITS)),
        *check("loss", tolerances.loss, alone(probe.LOSSES, lambda losses: losses[:1])),
        *check("gradients", tolerances.gradients, together(probe.GRADIENT, parameters)),
        *check("statistics, one step", tolerances.statistics, each(probe.FIRST, statistics)),
        *check("losses, all steps", tolerances.losses, alone(probe.LOSSES)),
        *check("parameters, all steps", tolerances.final_parameters, each("", parameters)),
        *check("statistics, all steps", tolerances.final_statistics, each("", statistics)),
        *check("optimizer, all steps", tolerances.final_optimizer, together("", optimizer)),
    )


def find_parting(
    left: Measurement,
    right: Measurement,
    pair: tuple[str, str],
    graph: Graph,
    tolerances: Tolerances,
    *,
    trained: bool = True,
) -> Parting | None:
    """Return where two measurements that include layers part.

    That is the first layer, in the order of execution, whose output differs, in training or
    else in evaluation; where all agree and both were `trained`, the last whose gradients differ.
    """
    owners = [layer.path for layer in graph.layers if layer.operation.parameters()]
    for prefix in (probe.TRAINING, probe.EVALUATION):
        for path in owners:
            if prefix + path in left and prefix + path in right:
                error = relative_error(left[prefix + path], right[prefix + path])
                if not error <= tolerances.logits:
                    return Parting(pair, "forward", path, error)
    if not trained:
        return None
    parameters = [name for name, tensor in graph.tensors.items() if tensor.trainable]
    for name, error in reversed(list(joint_errors(left, right, probe.GRADIENT, parameters))):
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
    """Yield each tensor's error, relative to the largest value of all tensors."""
    present = [right[prefix + name] for name in names if prefix + name in right]
    scale = max((float(np.abs(array).max(initial=0.0)) for array in present), default=0.0)
    for name in names:
        zero = np.zeros(1)
        one, other = (measured.get(prefix + name, zero) for measured in (left, right))
        if one is zero:
            one = np.zeros_like(other)
        if other is zero:
            other = np.zeros_like(one)
        yield name, relative_error(one, other, scale)


def _slots(spec: Spec) -> tuple[str, ...]:
    if isinstance(spec.train.optimizer, Sgd):
        return ("momentum",) if spec.train.optimizer.momentum else ()
    if isinstance(spec.train.optimizer, RmsProp):
        return ("second_moment",)
    return "first_moment", "second_moment"


def _largest(errors: Iterator[tuple[str, float]]) -> Error:
    return max(((error, name) for name, error in errors), default=(0.0, ""))
