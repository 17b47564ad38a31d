"""SGD, RMSProp and Adam in PyTorch's form, with an L2 penalty; gradients in parts, and clipped.

Keras' own keep the learning rate inside the velocity, decay weights apart from the gradient, and
correct Adam's bias after adding epsilon; their RMSProp adds it within the root. SGD is one
kernel for each variable: of small ones the number of operations decides the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf


class PenalizedOptimizer(keras.optimizers.Optimizer):
    """An optimiser that adds `penalty * variable` to gradients, with a penalty for each variable.

    `learning_rate` is to be set before each step. `slots` holds the state: for each name a variable
    per trained variable, `averages` those of the trained variables, if there are any.
    """

    slot_names: tuple[str, ...]

    def __init__(self, penalties: Sequence[float]) -> None:
        super().__init__(learning_rate=0.0)
        self.penalties = penalties
        self.slots: dict[str, list[keras.Variable]] = {}
        self.averages: list[keras.Variable] = []

    def build(self, variables: Sequence[keras.Variable], average: float = 0.0) -> None:
        """Create the state for `variables`; of averages each step leaves a share of `average`."""
        if self.built:
            return
        super().build(variables)
        self.trained = list(variables)
        for name in self.slot_names:
            self.slots[name] = [self.add_variable_from_reference(v, name) for v in variables]
        self.average = average
        if average:
            self.averages = [self.add_variable_from_reference(v, "average") for v in variables]
            for value, variable in zip(self.averages, variables, strict=True):
                value.assign(variable)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Have averages, if there are any, in the place of the trained variables."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for average, variable in zip(self.averages, self.trained, strict=False):
            value = variable.numpy()
            variable.assign(average)
            average.assign(value)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        index = self._get_variable_index(variable)
        if penalty := self.penalties[index]:
            gradient = gradient + penalty * variable
        slots = [self.slots[name][index].value for name in self.slot_names]
        self.step(variable, gradient, tf.cast(learning_rate, variable.dtype), *slots)
        if self.averages:
            average = self.averages[index].value
            average.assign(self.average * average + (1 - self.average) * variable)

    def step(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, *slots: tf.Variable
    ) -> None:
        """Update a variable and its state."""
        raise NotImplementedError


class SGD(PenalizedOptimizer):
    """Stochastic gradient descent with momentum."""

    slot_names = ("momentum",)

    def __init__(self, momentum: float, nesterov: bool, penalties: Sequence[float]) -> None:
        super().__init__(penalties)
        self.momentum = momentum
        self.nesterov = nesterov

    def step(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, *slots: tf.Variable
    ) -> None:
        (velocity,) = slots
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )


class RMSProp(PenalizedOptimizer):
    """RMSProp (Tieleman and Hinton, 2012), epsilon added to the root of the second moment."""

    slot_names = ("second_moment",)

    def __init__(self, decay: float, epsilon: float, penalties: Sequence[float]) -> None:
        super().__init__(penalties)
        self.decay = decay
        self.epsilon = epsilon

    def step(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, *slots: tf.Variable
    ) -> None:
        (slot,) = slots
        second_moment = self.decay * slot + (1 - self.decay) * tf.square(gradient)
        slot.assign(second_moment)
        variable.assign_sub(rate * (gradient / (tf.sqrt(second_moment) + self.epsilon)))


class Adam(PenalizedOptimizer):
    """Adam (Kingma and Ba, 2015), epsilon added to the root of the corrected second moment."""

    slot_names = ("first_moment", "second_moment")

    def __init__(
        self, beta1: float, beta2: float, epsilon: float, penalties: Sequence[float]
    ) -> None:
        super().__init__(penalties)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def step(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, *slots: tf.Variable
    ) -> None:
        first, second = slots
        first_moment = self.beta1 * first + (1 - self.beta1) * gradient
        second_moment = self.beta2 * second + (1 - self.beta2) * tf.square(gradient)
        first.assign(first_moment)
        second.assign(second_moment)
        corrected = second_moment / self._correction(self.beta2, gradient.dtype)
        root = tf.sqrt(corrected) + self.epsilon
        direction = first_moment / self._correction(self.beta1, gradient.dtype) / root
        variable.assign_sub(rate * direction)

    def _correction(self, beta: float, dtype: tf.DType) -> tf.Tensor:
        steps = tf.cast(self.iterations + 1, tf.float64)
        return tf.cast(1 - tf.constant(beta, tf.float64) ** steps, dtype)


def mean_of_parts(parts: int, function: Callable[..., Any], *tensors: tf.Tensor) -> Any:
    """Return the mean of what a function of tensors returns for each of `parts` of their rows.

    Part j has the rows j, j + parts, ...; the parts are taken one after another.
    """
    total: list[tf.Tensor] = []
    for part in range(parts):
        with tf.control_dependencies(total):
            rows = [tf.identity(tensor[part::parts]) for tensor in tensors]
        found = function(*rows)
        new = tf.nest.flatten(found)
        total = [a + b for a, b in zip(total, new, strict=True)] if total else new
    return tf.nest.pack_sequence_as(found, [tensor / parts for tensor in total])


def clip(gradients: Sequence[tf.Tensor], limit: float) -> list[tf.Tensor]:
    """Scale a device's share of gradients, so that the L2 norm of the sum is `limit` at most."""
    context = tf.distribute.get_replica_context()
    total = gradients
    if context.num_replicas_in_sync > 1:
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    norm = tf.linalg.global_norm(total)
    return [gradient * (limit / tf.maximum(norm, limit)) for gradient in gradients]
