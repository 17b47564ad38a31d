"""SGD, RMSProp and Adam in PyTorch's form, with an L2 penalty on convolution and linear weights.

Keras' own keep the learning rate inside the velocity, decay weights apart from the gradient, and
correct Adam's bias after adding epsilon; their RMSProp adds it within the root.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

PENALIZED = "kernel"
"""Keras' name for the weights of convolutions and linear layers."""


class PenalizedOptimizer(keras.optimizers.Optimizer):
    """An optimiser that adds `penalty * kernel` to the gradients of kernels.

    `learning_rate` is to be set before each step. `slots` holds the state: for each name a variable
    per trained variable.
    """

    slot_names: tuple[str, ...]

    def __init__(self, penalty: float) -> None:
        super().__init__(learning_rate=0.0)
        self.penalty = penalty
        self.slots: dict[str, list[keras.Variable]] = {}

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state for `variables`."""
        if not self.built:
            super().build(variables)
            self._is_penalized = [variable.name == PENALIZED for variable in variables]
            for name in self.slot_names:
                self.slots[name] = [
                    self.add_variable_from_reference(variable, name) for variable in variables
                ]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        index = self._get_variable_index(variable)
        if self._is_penalized[index]:
            gradient = gradient + self.penalty * variable
        slots = [self.slots[name][index].value for name in self.slot_names]
        rate = tf.cast(learning_rate, variable.dtype)
        variable.assign_sub(rate * self.direction(gradient, *slots))

    def direction(self, gradient: tf.Tensor, *slots: tf.Variable) -> tf.Tensor:
        """Update a variable's state; return what to subtract from it, times the learning rate."""
        raise NotImplementedError


class SGD(PenalizedOptimizer):
    """Stochastic gradient descent with momentum."""

    slot_names = ("momentum",)

    def __init__(self, momentum: float, nesterov: bool, penalty: float) -> None:
        super().__init__(penalty)
        self.momentum = momentum
        self.nesterov = nesterov

    def direction(self, gradient: tf.Tensor, *slots: tf.Variable) -> tf.Tensor:
        (slot,) = slots
        velocity = self.momentum * slot + gradient
        slot.assign(velocity)
        return gradient + self.momentum * velocity if self.nesterov else velocity


class RMSProp(PenalizedOptimizer):
    """RMSProp (Tieleman and Hinton, 2012), epsilon added to the root of the second moment."""

    slot_names = ("second_moment",)

    def __init__(self, decay: float, epsilon: float, penalty: float) -> None:
        super().__init__(penalty)
        self.decay = decay
        self.epsilon = epsilon

    def direction(self, gradient: tf.Tensor, *slots: tf.Variable) -> tf.Tensor:
        (slot,) = slots
        second_moment = self.decay * slot + (1 - self.decay) * tf.square(gradient)
        slot.assign(second_moment)
        return gradient / (tf.sqrt(second_moment) + self.epsilon)


class Adam(PenalizedOptimizer):
    """Adam (Kingma and Ba, 2015), epsilon added to the root of the corrected second moment."""

    slot_names = ("first_moment", "second_moment")

    def __init__(self, beta1: float, beta2: float, epsilon: float, penalty: float) -> None:
        super().__init__(penalty)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def direction(self, gradient: tf.Tensor, *slots: tf.Variable) -> tf.Tensor:
        first, second = slots
        first_moment = self.beta1 * first + (1 - self.beta1) * gradient
        second_moment = self.beta2 * second + (1 - self.beta2) * tf.square(gradient)
        first.assign(first_moment)
        second.assign(second_moment)
        corrected = second_moment / self._correction(self.beta2, gradient.dtype)
        root = tf.sqrt(corrected) + self.epsilon
        return first_moment / self._correction(self.beta1, gradient.dtype) / root

    def _correction(self, beta: float, dtype: tf.DType) -> tf.Tensor:
        steps = tf.cast(self.iterations + 1, tf.float64)
        return tf.cast(1 - tf.constant(beta, tf.float64) ** steps, dtype)
