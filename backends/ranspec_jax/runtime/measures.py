"""What an evaluation measures."""

from __future__ import annotations

from math import log

import jax
import jax.numpy as jnp
from jax import Array


def measure(log_probabilities: Array, labels: Array, counted: Array) -> tuple[Array, ...]:
    """Return cross-entropy, right answers and those among the top 5, summed over a batch.

    Takes logarithms of probabilities [N, classes], labels [N], and which of the images count,
    bool [N]. A tie counts against a label in the top 5.
    """
    own = jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)
    correct = log_probabilities.argmax(axis=1) == labels
    lower = log_probabilities < own
    in_top5 = lower.sum(axis=1) >= log_probabilities.shape[1] - 5
    return tuple(jnp.sum(values, where=counted) for values in (-own[:, 0], correct, in_top5))


def log_mean_softmax(logits: Array) -> Array:
    """Return logarithms of probabilities [N, classes], means over logits [crops, N, classes]."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - log(len(logits))
