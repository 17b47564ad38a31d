"""Sample order and augmentation draws as pure functions of the seed and the step.

Every draw comes from NumPy's counter-based Philox generator, keyed by the seed, what the draw is
for, and the step or epoch. There is no random state: a run is resumed from its step number alone,
and every framework sees the same batches. Only raw 64-bit outputs are used, whose stream NumPy
guarantees across versions.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDER, AUGMENTATION, LABELS, FRAMEWORK, COLORS, VALIDATION, MIXING, CROPS = range(1, 9)

FRACTION_BITS = 16
"""Maps have this many binary places: whole numbers, which every framework takes the same way."""

SHARE_BITS = 10
"""Shares of mixed images have this many binary places."""

ATTEMPTS = 10
"""Crops drawn for an image, of which the first that fits is taken."""


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


def held_out(seed: int, count: int, size: int) -> NDArray[np.int64]:
    """Choose `count` of `size` training samples for validation; they are in rising order."""
    order = np.argsort(random_bits(seed, VALIDATION, 0, size), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def crop_and_flip(
    seed: int, step: int, batch_size: int, pad: int, flip: bool
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Draw crop offsets (row, column) in 0..2 * pad, int32 [batch, 2], and flips, bool [batch]."""
    bits = random_bits(seed, AUGMENTATION, step, 3 * batch_size).reshape(batch_size, 3)
    offsets = (bits[:, :2] % np.uint64(2 * pad + 1)).astype(np.int32)
    flips = (bits[:, 2] & np.uint64(1)).astype(np.bool_) & flip
    return offsets, flips


def affine_maps(
    seed: int,
    step: int,
    batch_size: int,
    height: int,
    width: int,
    *,
    area: tuple[float, float] = (1.0, 1.0),
    ratio: tuple[float, float] = (1.0, 1.0),
    shift: float = 0.0,
    zoom: float = 0.0,
    shear: float = 0.0,
    rotation: float = 0.0,
    flip: bool = False,
) -> NDArray[np.int32]:
    """Draw which point of an image each pixel is taken from: maps int32 [batch, 2, 3].

    A map takes (row, column, 1) to a row and a column in units of 2**-16 pixels. It flips, zooms
    height and width by factors within 1 - zoom .. 1 + zoom, moves pixels across by up to `shear`
    times their distance from the middle row, rotates by up to `rotation` degrees, shifts by up to
    `shift` of height and width, all about the centre, then goes to a crop of some `area` of the
    image and `ratio` of width to height, relative to the image's. A crop that fits in none of ten
    attempts is the whole image.
    """
    count = 9 + 2 * ATTEMPTS
    draws = _uniform(random_bits(seed, AUGMENTATION, step, count * batch_size)).reshape(-1, count)
    signed = 2 * draws - 1
    mirrored = np.where(flip & (draws[:, 0] < 0.5), -1.0, 1.0)
    scales = 1 + zoom * signed[:, 1:3]
    slopes = shear * signed[:, 3]
    angles = np.radians(rotation) * signed[:, 4]
    corners, extents = _crops(draws[:, 7:], area, ratio, np.ones(batch_size))

    linear = np.zeros((batch_size, 2, 2))
    linear[:, 0, 0], linear[:, 1, 1] = scales[:, 0], scales[:, 1] * mirrored
    linear[:, 1, 0] = slopes * linear[:, 0, 0]
    sines, cosines = np.sin(angles)[:, None], np.cos(angles)[:, None]
    down, across = linear[:, 0], linear[:, 1]
    linear = np.stack([cosines * down - sines * across, sines * down + cosines * across], axis=1)

    size = np.array([height, width])
    centre = (size - 1) / 2
    moved = (extents * shift * signed[:, 5:7] + corners + extents / 2 - 1 / 2) * size
    linear = extents[:, :, None] * linear
    constant = centre + moved - linear @ centre
    maps = np.concatenate([linear, constant[:, :, None]], axis=2)
    return np.asarray(np.rint(maps * 2**FRACTION_BITS), dtype=np.int32)


def crop_boxes(
    seed: int,
    step: int,
    sizes: NDArray[np.integer[Any]],
    *,
    aspect: float,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> NDArray[np.int32]:
    """Draw which part of each whole image is resized: int32 [batch, 4], left, upper, right, lower.

    `sizes` [batch, 2] are heights and widths. A box has some `area`, as a share of its image's, and
    a width over height of some `ratio` times `aspect`, the network's. Where none of ten attempts
    fits, it is the largest of that aspect, anywhere.
    """
    count = 2 + 2 * ATTEMPTS
    draws = _uniform(random_bits(seed, CROPS, step, count * len(sizes))).reshape(-1, count)
    corners, extents = _crops(draws, area, ratio, aspect * sizes[:, 0] / sizes[:, 1])
    first = np.rint(corners * sizes).clip(0, sizes - 1)
    last = np.rint((corners + extents) * sizes).clip(first + 1, sizes)
    return np.concatenate([first[:, ::-1], last[:, ::-1]], axis=1).astype(np.int32)


def color_shares(
    seed: int, step: int, batch_size: int, channels: int, deviation: float
) -> NDArray[np.float32]:
    """Draw how much of each principal colour an image gains, normal, float32 [batch, channels]."""
    count = batch_size * channels
    draws = _uniform(random_bits(seed, COLORS, step, 2 * count)).reshape(2, batch_size, channels)
    normal = np.sqrt(-2 * np.log(1 - draws[0])) * np.cos(2 * np.pi * draws[1])
    return np.asarray(deviation * normal, dtype=np.float32)


def mixup_shares(
    seed: int, step: int, batch_size: int, concentration: float
) -> NDArray[np.float32]:
    """Draw how much of itself each image keeps in mixup, float32 [batch] (Zhang et al., 2018).

    The shares follow Beta(concentration, concentration), rounded to whole numbers of 2**-10.
    """
    bits = random_bits(seed, MIXING, step, batch_size)
    shares = np.searchsorted(beta_quantiles(concentration), bits, side="right")
    return np.asarray(shares / 2.0**SHARE_BITS, dtype=np.float32)


def cutmix_boxes(
    seed: int, step: int, batch_size: int, height: int, width: int, concentration: float
) -> NDArray[np.int32]:
    """Draw the part of each image that CutMix replaces (Yun et al., 2019), int32 [batch, 4].

    A box (top, left, bottom, right; the last two not within) has the image's ratio, a share of its
    area that follows Beta(concentration, concentration), and its centre anywhere; what lies outside
    is cut off.
    """
    bits = random_bits(seed, MIXING, step, 3 * batch_size).reshape(3, batch_size)
    shares = np.searchsorted(beta_quantiles(concentration), bits[0], side="right")
    size = np.array([height, width])
    extents = (np.sqrt(shares / 2.0**SHARE_BITS)[:, None] * size).astype(np.int64)
    centres = (bits[1:] % size[:, None].astype(np.uint64)).astype(np.int64).T
    first = centres - extents // 2
    boxes = np.concatenate([first.clip(0, size), (first + extents).clip(0, size)], axis=1)
    return boxes.astype(np.int32)


def cutmix_shares(boxes: NDArray[np.int32], height: int, width: int) -> NDArray[np.float32]:
    """Return how much of itself each image keeps, float32 [batch]."""
    replaced = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(1 - replaced / (height * width), dtype=np.float32)


@lru_cache(maxsize=4)
def beta_quantiles(concentration: float) -> NDArray[np.uint64]:
    """Return where Beta(a, a), a = `concentration`, changes from one share to the next, as uint64.

    A uniform 64-bit integer belongs to share k / 2**10 where it is below k + 1 of the 2**10
    thresholds, and not below k. They are computed in decimals of 40 digits, whose results, unlike a
    processor's powers and logarithms, are defined to the last: every machine has the same.
    """
    if not 0 < concentration <= 16:
        raise ValueError(f"concentration {concentration}, expected above 0, at most 16")
    count = 2**SHARE_BITS
    with localcontext(Context(prec=40)):
        a = Decimal(concentration)
        masses = [_beta_mass(Decimal(2 * k + 1) / (2 * count), a) for k in range(count // 2)]
        half = 2 * _beta_mass(Decimal("0.5"), a)
        below = [int(mass / half * 2**64) for mass in masses]
    above = [min(2**64 - threshold, 2**64 - 1) for threshold in reversed(below)]
    return np.array([*below, *above], dtype=np.uint64)


def ten_crop_maps(
    image_height: int, image_width: int, crop_height: int, crop_width: int, height: int, width: int
) -> NDArray[np.int32]:
    """Return the maps of ten-crop testing, int32 [10, 2, 3], in the units of `affine_maps`.

    They take points of what the network is given, of `height` and `width`, to those of the four
    corners and the centre of an image, then of the same mirrored.
    """
    if crop_height > image_height or crop_width > image_width:
        raise ValueError(
            f"crops of {crop_height} x {crop_width} of an image of {image_height} x {image_width}"
        )
    bottom, right = image_height - crop_height, image_width - crop_width
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom / 2, right / 2)]
    down, across = crop_height / height, crop_width / width
    maps = [
        [[down, 0, row + (down - 1) / 2], [0, across, column + (across - 1) / 2]]
        for row, column in corners
    ]
    maps += [[rows, [0, -across, column + across * (width - 1)]] for rows, (_, _, column) in maps]
    return np.asarray(np.rint(np.array(maps) * 2**FRACTION_BITS), dtype=np.int32)


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


def _beta_mass(x: Decimal, a: Decimal) -> Decimal:
    """Return the integral of (t (1 - t)) ** (a - 1) over t from 0 to x, x at most 1/2, a series."""
    term, total, n = Decimal(1), 1 / a, 0
    while abs(term) > Decimal("1e-24") * total:
        n += 1
        term *= x * (n - a) / n
        total += term / (a + n)
    return (a * x.ln()).exp() * total


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return numbers in [0, 1) that have all of a float's 53 bits."""
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def _crops(
    draws: NDArray[np.float64],
    area: tuple[float, float],
    ratio: tuple[float, float],
    aspects: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return corners and extents of crops, [batch, 2], as shares of height and width.

    Ratios are uniform in their logarithm, and times `aspects` [batch], relative to the images'.
    """
    areas = area[0] + (area[1] - area[0]) * draws[:, 2 : 2 + ATTEMPTS]
    ratios = ratio[0] * (ratio[1] / ratio[0]) ** draws[:, 2 + ATTEMPTS :] * aspects[:, None]
    attempts = np.sqrt(np.stack([areas / ratios, areas * ratios], axis=2))
    fitting = attempts.max(axis=2) <= 1
    first = attempts[np.arange(len(draws)), fitting.argmax(axis=1)]
    largest = np.stack([1 / aspects, aspects], axis=1).clip(max=1.0)
    extents = np.where(fitting.max(axis=1, keepdims=True), first, largest)
    return (1 - extents) * draws[:, :2], extents
