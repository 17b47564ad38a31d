"""What a network is to give, and what an evaluation measures."""

from __future__ import annotations

from math import log

import keras
import tensorflow as tf


def class_targets(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Return targets [N, classes] of labels [N], or of those that are mixed [N, classes].

    A share of `smoothing` of each is spread over all classes.
    """
    mixed = labels.dtype.is_floating
    targets = tf.cast(labels if mixed else tf.one_hot(labels, classes), keras.config.floatx())
    return (1 - smoothing) * targets + smoothing / classes if smoothing else targets


def measure(log_probabilities: tf.Tensor, labels: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Return cross-entropy, right answers and those among the top 5, summed over a batch.

    Takes logarithms of probabilities [N, classes], labels [N], and which of the images count, bool
    [N]; returns float64 [3]. A tie counts against a label in the top 5.
    """
    own = tf.gather(log_probabilities, labels, axis=1, batch_dims=1)
    correct = tf.argmax(log_probabilities, axis=1) == labels
    lower = tf.math.count_nonzero(log_probabilities < own[:, None], axis=1)
    in_top5 = lower >= log_probabilities.shape[1] - 5
    values = tf.stack([tf.cast(item, tf.float64) for item in (-own, correct, in_top5)])
    return tf.reduce_sum(tf.where(counted, values, 0), axis=1)


def log_mean_softmax(logits: tf.Tensor) -> tf.Tensor:
    """Return logarithms of probabilities [N, classes], means over logits [crops, N, classes]."""
    return tf.reduce_logsumexp(tf.nn.log_softmax(logits), axis=0) - log(logits.shape[0])
