"""What training minimises, and what an evaluation measures."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from jax import Array
from numpy.typing import NDArray


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


def measure(
    predictions: NDArray[Any], labels: NDArray[Any], names: Sequence[str]
) -> dict[str, float]:
    """Return the means of what is named of cross-entropy, right answers, those among the top 5.

    Takes logarithms of probabilities [N, classes] and labels [N]. A tie counts against a label in
    the top 5.
    """
    own = np.take_along_axis(predictions, labels[:, None], axis=1)
    correct = predictions.argmax(axis=1) == labels
    in_top5 = (predictions < own).sum(axis=1) >= predictions.shape[1] - 5
    means = [float(values.mean(dtype=np.float64)) for values in (-own, correct, in_top5)]
    return dict(zip(names, means, strict=False))
