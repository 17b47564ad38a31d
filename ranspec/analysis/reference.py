"""The loss and the optimiser steps of the reference, on plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ranspec.ir.operation import Array


def cross_entropy(
    logits: Array, labels: NDArray[np.integer], label_smoothing: float
) -> tuple[float, Array]:
    """Return the batch's mean cross-entropy and its gradient for logits (N, classes).

    Smoothing by e mixes the one-hot target with e of the uniform distribution.
    """
    import numpy as np

    batch, classes = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    one_hot = np.eye(classes, dtype=logits.dtype)[labels]
    target = (1 - label_smoothing) * one_hot + label_smoothing / classes
    loss = -(target * log_probability).sum() / batch
    return float(loss), (np.exp(log_probability) - target) / batch


def sgd_step(
    parameter: Array,
    gradient: Array,
    velocity: Array,
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[Array, Array]:
    """Return the parameter and the velocity after a step of SGD with an L2 penalty.

    As in PyTorch the velocity sums gradients, free of the learning rate; it starts at zero.
    """
    penalized = gradient + weight_decay * parameter
    velocity = momentum * velocity + penalized
    direction = penalized + momentum * velocity if nesterov else velocity
    return parameter - learning_rate * direction, velocity


def rmsprop_step(
    parameter: Array,
    gradient: Array,
    second_moment: Array,
    *,
    learning_rate: float,
    decay: float,
    epsilon: float,
    weight_decay: float,
) -> tuple[Array, Array]:
    """Return the parameter and the second moment after a step of RMSProp with an L2 penalty.

    The moment starts at zero. As in PyTorch epsilon is added to its root.
    """
    import numpy as np

    penalized = gradient + weight_decay * parameter
    second_moment = decay * second_moment + (1 - decay) * penalized * penalized
    return parameter - learning_rate * penalized / (np.sqrt(second_moment) + epsilon), second_moment


def adam_step(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> tuple[Array, Array, Array]:
    """Return the parameter and both moments after a step of Adam with an L2 penalty.

    `step` counts from 1; the moments start at zero. As in PyTorch epsilon is added to the root of
    the corrected second moment.
    """
    import numpy as np

    penalized = gradient + weight_decay * parameter
    first_moment = beta1 * first_moment + (1 - beta1) * penalized
    second_moment = beta2 * second_moment + (1 - beta2) * penalized * penalized
    root = np.sqrt(second_moment / (1 - beta2**step)) + epsilon
    moved = parameter - learning_rate * (first_moment / (1 - beta1**step)) / root
    return moved, first_moment, second_moment
