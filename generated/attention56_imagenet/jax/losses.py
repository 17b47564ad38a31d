"""What training minimises, and what an evaluation measures."""

from __future__ import annotations

from math import log

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from jax import Array


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """Return the mean over a batch, for labels [N] or mixed ones [N, classes].

    A share `smoothing` of what is wanted is spread over all classes. Computed in float32 at least.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if labels.ndim == 1 and not smoothing:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    else:
        mixed = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[1])
        targets = optax.smooth_labels(mixed.astype(logits.dtype), smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
    mean: Array = losses.mean()
    return mean


def log_mean_softmax(logits: Array) -> Array:
    """Return logarithms of probabilities [N, classes], means over logits [crops, N, classes]."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - log(len(logits))


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
