"""Sample order and augmentation draws as pure functions of the seed and the step.

Every draw comes from NumPy's counter-based Philox generator, keyed by the seed, what the draw is
for, and the step or epoch. There is no random state: a run is resumed from its step number alone,
and every framework sees the same batches. Only raw 64-bit outputs are used, whose stream NumPy
guarantees across versions.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ORDER, AUGMENTATION, LABELS, FRAMEWORK = range(1, 5)


def random_bits(seed: int, purpose: int, position: int, count: int) -> NDArray[np.uint64]:
    """Draw `count` uniform 64-bit integers for a purpose at a step or epoch."""
    key = np.array([seed, purpose << 48 | position], dtype=np.uint64)
    return np.asarray(np.random.Philox(key=key).random_raw(count), dtype=np.uint64)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the permutation of the `size` training samples that an epoch follows."""
    order = np.argsort(random_bits(seed, ORDER, epoch, size), kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> NDArray[np.int64]:
    """Return the samples of a step's batch; the last partial batch of an epoch is dropped."""
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch size {batch_size} for {size} samples")
    epoch, position = divmod(step, size // batch_size)
    return epoch_order(seed, epoch, size)[position * batch_size : (position + 1) * batch_size]


def crop_and_flip(
    seed: int, step: int, batch_size: int, pad: int, flip: bool
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Draw crop offsets (row, column) in 0..2 * pad, int32 [batch, 2], and flips, bool [batch]."""
    bits = random_bits(seed, AUGMENTATION, step, 3 * batch_size).reshape(batch_size, 3)
    offsets = (bits[:, :2] % np.uint64(2 * pad + 1)).astype(np.int32)
    flips = (bits[:, 2] & np.uint64(1)).astype(np.bool_) & flip
    return offsets, flips


def noisy_labels(
    seed: int, labels: NDArray[np.int64], classes: int, clean_ratio: float
) -> NDArray[np.int64]:
    """Keep each label with probability `clean_ratio`; else draw one of the other classes."""
    bits = random_bits(seed, LABELS, 0, 2 * len(labels)).reshape(len(labels), 2)
    noisy = bits[:, 0] / 2.0**64 >= clean_ratio
    shift = 1 + (bits[:, 1] % np.uint64(classes - 1)).astype(np.int64)
    return np.where(noisy, (labels + shift) % classes, labels)


def step_seed(seed: int, step: int) -> int:
    """Return a 31-bit seed for a framework's own generator (dropout) at a step."""
    return int(random_bits(seed, FRAMEWORK, step, 1)[0] >> np.uint64(33))
