"""The loss and the optimiser steps of the reference, on plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ranspec.ir.operation import Array


def cross_entropy(
    logits: Array, labels: NDArray[np.integer] | Array, label_smoothing: float
) -> tuple[float, Array]:
    """Return the batch's mean cross-entropy and its gradient for logits (N, classes).

    Labels are classes (N,), or targets (N, classes) that sum to 1. Smoothing by e mixes the target
    with e of the uniform distribution.
    """
    import numpy as np

    batch, classes = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    one_hot = np.eye(classes)[labels] if labels.ndim == 1 else labels
    target = (1 - label_smoothing) * one_hot.astype(logits.dtype) + label_smoothing / classes
    loss = -(target * log_probability).sum() / batch
    return float(loss), (np.exp(log_probability) - target) / batch


def mixed_labels(labels: NDArray[np.integer], kept: Array, classes: int) -> Array:
    """Return targets (N, classes): of each label the share that is kept, the rest its neighbour's.

    Neighbours are the images 0 and 1 of a batch, 2 and 3, and so on.
    """
    import numpy as np

    one_hot = np.eye(classes)[labels]
    partners = one_hot[np.arange(len(labels)) ^ 1]
    mixed: Array = kept[:, None] * one_hot + (1 - kept[:, None]) * partners
    return mixed


def clipped(gradients: Mapping[str, Array], norm: float) -> dict[str, Array]:
    """Scale all gradients alike so that their norm, as of one long vector, is at most `norm`."""
    import numpy as np

    found = np.sqrt(sum(np.square(gradient).sum() for gradient in gradients.values()))
    scale = norm / max(norm, float(found))
    return {name: gradient * scale for name, gradient in gradients.items()}


def moving_average(average: Array, value: Array, kept: float) -> Array:
    """Return an average that keeps a share of itself and takes the rest of a new value."""
    return kept * average + (1 - kept) * value


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
