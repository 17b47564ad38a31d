"""What a network is to give, and what an evaluation measures."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import NDArray


def class_targets(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Return targets [N, classes] of labels [N], or of those that are mixed [N, classes].

    A share of `smoothing` of each is spread over all classes.
    """
    mixed = labels.dtype.is_floating
    targets = tf.cast(labels if mixed else tf.one_hot(labels, classes), keras.config.floatx())
    return (1 - smoothing) * targets + smoothing / classes if smoothing else targets


def measure(
    predictions: NDArray[Any], labels: NDArray[Any], names: Sequence[str]
) -> dict[str, float]:
    """Return the means of what is named of cross-entropy, right answers, those among the top 5.

    Takes logarithms of probabilities [N, classes] and labels [N]. A tie counts against a label in
    the top 5.
    """
    own = tf.gather(predictions, labels, axis=1, batch_dims=1)
    correct = tf.argmax(predictions, axis=1) == labels
    lower = tf.math.count_nonzero(predictions < own[:, None], axis=1)
    in_top5 = lower >= predictions.shape[1] - 5
    values = tf.stack([tf.cast(item, tf.float64) for item in (-own, correct, in_top5)])
    return dict(zip(names, tf.reduce_mean(values, axis=1).numpy().tolist(), strict=False))


def log_mean_softmax(logits: tf.Tensor) -> tf.Tensor:
    """Return logarithms of probabilities [N, classes], means over logits [crops, N, classes]."""
    return tf.reduce_logsumexp(tf.nn.log_softmax(logits), axis=0) - log(logits.shape[0])
