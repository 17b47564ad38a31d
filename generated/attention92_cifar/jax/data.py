"""Image datasets in memory: scikit-learn's digits, folders of images, synthetic images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from images import MODES, SUFFIXES, DataError, ImageFiles, fit

__all__ = [
    "DataError",
    "DataOptions",
    "DataSets",
    "Dataset",
    "LabelNoise",
    "Statistics",
    "load_data",
    "load_dataset",
    "measure",
    "principal_colors",
    "statistics",
    "synthetic",
]

DIGITS_TRAIN = 1437


@dataclass(frozen=True)
class DataOptions:
    """Where images come from; which they are, a run knows by their digest."""

    decisive: ClassVar[tuple[str, ...]] = ()

    data_dir: Annotated[Path | None, "folder or archive of the images"] = None
    cache_dir: Annotated[Path | None, "folder for decoded images, instead of the user's cache"] = (
        None
    )
    download: Annotated[bool, "fetch a published dataset that is not there yet"] = False
    skip_bad: Annotated[bool, "leave out files that are no usable images"] = False
    stream: Annotated[bool | None, "decode for each step (default: if memory is short)"] = None


@dataclass(frozen=True)
class Dataset:
    """Images, uint8 [N, H, W, C], with labels, int64 [N], and the classes' names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, held_out: NDArray[np.int64]) -> tuple[Dataset, Dataset]:
        """Return the other samples, and those held out."""
        others = np.delete(np.arange(len(self)), held_out)
        rest, chosen = (
            Dataset(self.images[part], self.labels[part], self.classes)
            for part in (others, held_out)
        )
        return rest, chosen

    def check_batch_size(self, batch_size: int) -> None:
        """Raise DataError if there are fewer images than a batch has."""
        if batch_size > len(self):
            raise DataError(f"a batch of {batch_size} images, but only {len(self)} to train on")


@dataclass(frozen=True)
class Statistics:
    """What normalises images and shifts their colours, all float64, of images scaled to [0, 1].

    Networks take (image / 255 - mean) * scale; both are broadcastable to [H, W, C]. `directions`
    are the principal colours as rows [C, C], where the recipe needs them.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    directions: NDArray[np.float64] | None = None

    def tensors(self) -> dict[str, NDArray[np.float64]]:
        """Return the statistics as tensors of a checkpoint."""
        colors = {} if self.directions is None else {"data.colors": self.directions}
        return {"data.mean": self.mean, "data.scale": self.scale} | colors

    @staticmethod
    def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> Statistics | None:
        """Return the statistics that a checkpoint's tensors hold; None if they hold none."""
        if "data.mean" not in tensors or "data.scale" not in tensors:
            return None
        return Statistics(tensors["data.mean"], tensors["data.scale"], tensors.get("data.colors"))


@dataclass(frozen=True)
class LabelNoise:
    """What was drawn: `matrix` [right label, given label] counts training images, int64."""

    matrix: NDArray[np.int64]

    @property
    def flipped(self) -> float:
        """The share of training images that were given a wrong label."""
        return 1 - float(np.trace(self.matrix) / self.matrix.sum())


@dataclass(frozen=True)
class DataSets:
    """What a run reads. `training` is empty where only the test set was asked for.

    `digest` is the SHA-256 of what was read: images and labels as they are before noise, and the
    names of the classes, on every machine and from every folder the same.
    """

    training: Dataset
    validation: Dataset | None
    test: Dataset
    statistics: Statistics
    digest: str
    noise: LabelNoise | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names; labels are positions in it."""
        return self.test.classes

    def record(self) -> dict[str, Any]:
        """Return what a run's configuration keeps of its data, fit for JSON."""
        sizes = {
            name: 0 if dataset is None else len(dataset)
            for name in ("training", "validation", "test")
            for dataset in [getattr(self, name)]
        }
        noise = self.noise and {"flipped": self.noise.flipped, "matrix": self.noise.matrix.tolist()}
        return {"digest": self.digest, "classes": list(self.classes), **sizes, "noise": noise}

    def summary(self) -> str:
        """Return lines for a person: how many images there are, and which labels are wrong."""
        held_out = f", {len(self.validation):,} for validation" if self.validation else ""
        training = f"{len(self.training):,} images to train on{held_out}, " if self.training else ""
        lines = [f"data: {training}{len(self.test):,} to test on, {len(self.classes)} classes"]
        if self.noise:
            lines.append(f"label noise: {self.noise.flipped:.2%} of the training labels are wrong")
        return "\n".join(lines)


def load_data(
    data: str,
    options: DataOptions,
    *,
    height: int,
    width: int,
    channels: int,
    classes: int,
    normalization: str,
    colors: bool = False,
    validation: int = 0,
    clean_labels: float = 1.0,
    seed: int = 0,
    statistics: Statistics | None = None,
    training: bool = True,
) -> DataSets:
    """Read what a run needs; raise DataError for what cannot be used.

    `validation` images of the training set are held out, and a share of about 1 - `clean_labels`
    of the others is given wrong labels. `statistics`, by default those of the training set, are
    what a checkpoint was trained with. Without `training` only the test set is read, and the
    training set where statistics are needed of it.
    """
    from sampling import held_out, noisy_labels

    size = {"height": height, "width": width, "channels": channels}
    train, test = load_dataset(data, options.data_dir, **size, classes=classes)
    digest = _digest(train, test) if training else _digest(test)
    rest, chosen = train, None
    if validation:
        if validation >= len(train):
            raise DataError(f"{validation} images to hold out, but only {len(train)} in all")
        rest, chosen = train.split(held_out(seed, validation, len(train)))
    if statistics is None:
        statistics = measure(rest.images, normalization, colors)
    statistics = _checked(statistics, height, width, channels)
    noise = None
    if clean_labels < 1:
        labels = noisy_labels(seed, rest.labels, classes, clean_labels)
        noise = _noise(rest.labels, labels, classes)
        rest = replace(rest, labels=labels)
    if not training:
        rest, chosen, noise = Dataset(rest.images[:0], rest.labels[:0], rest.classes), None, None
    return DataSets(rest, chosen, test, statistics, digest, noise)


def load_dataset(
    data: str, data_dir: Path | None, *, height: int, width: int, channels: int, classes: int
) -> tuple[Dataset, Dataset]:
    """Return the training and the test set; raise DataError for what cannot be used.

    Images come from `data_dir` (`train/<class>/*` and `test/<class>/*` or `val/<class>/*`) if
    given; else `digits` are scikit-learn's handwritten digits.
    """
    if data_dir is not None:
        train = load_folder(_split(data_dir, ("train",)), height, width, channels)
        test = load_folder(_split(data_dir, ("test", "val")), height, width, channels)
    elif data == "digits":
        train, test = load_digits(height, width, channels)
    else:
        raise DataError(
            f"{data} is not bundled: pass --data-dir DIR with images in DIR/train/<class>/ "
            "and DIR/test/<class>/"
        )
    if train.classes != test.classes:
        difference = sorted(set(train.classes) ^ set(test.classes))
        raise DataError(f"class {difference[0]!r} is in one of train and test only")
    if len(train.classes) != classes:
        raise DataError(f"{len(train.classes)} classes found, the network has {classes}")
    return train, test


def load_folder(folder: Path, height: int, width: int, channels: int) -> Dataset:
    """Read `<class>/*`, sorted; other sizes are cropped to the aspect ratio and resized."""
    if channels not in MODES:
        raise DataError(f"image files have 1 or 3 channels, the network takes {channels}")
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise DataError(f"{folder}: no images in folders, one for each class")
    shape = (len(files), height, width, channels)
    _check_memory(folder, shape)
    images = np.empty(shape, dtype=np.uint8)
    images_of = ImageFiles(folder, [str(path.relative_to(folder)) for path, _ in files])
    with ThreadPoolExecutor() as pool:
        read = pool.map(
            lambda index: images_of.read(index, height, width, channels), range(len(files))
        )
        for index, image in enumerate(read):
            images[index] = image
    return Dataset(images, np.array([label for _, label in files], dtype=np.int64), classes)


def load_digits(height: int, width: int, channels: int) -> tuple[Dataset, Dataset]:
    """Return scikit-learn's 1,797 digits (8x8), 1,437 to train and 360 to test.

    The split is fixed and stratified: of each digit the same share is held out.
    """
    import sklearn.datasets  # type: ignore[import-untyped]
    from PIL import Image

    digits = sklearn.datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    if pixels.shape[1:] == (height, width):
        images = np.repeat(pixels[..., None], channels, axis=3)
    elif channels in MODES:
        images = np.stack([fit(Image.fromarray(p), height, width, channels) for p in pixels])
    else:
        raise DataError(f"digits have 1 or 3 channels, the network takes {channels}")
    labels = digits.target.astype(np.int64)
    shuffled = np.argsort(np.random.Philox(key=0).random_raw(len(labels)), kind="stable")
    shares = np.empty(len(labels))
    for label in range(10):
        members = shuffled[labels[shuffled] == label]
        shares[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = np.argsort(shares, kind="stable")
    names = tuple(map(str, range(10)))
    train, test = np.sort(chosen[:DIGITS_TRAIN]), np.sort(chosen[DIGITS_TRAIN:])
    return (
        Dataset(images[train], labels[train], names),
        Dataset(images[test], labels[test], names),
    )


def synthetic(
    size: int, *, classes: int, height: int, width: int, channels: int, seed: int = 0
) -> Dataset:
    """Return noise around one random image per class: quick to make, and can be learnt."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    labels = np.arange(size, dtype=np.int64) % classes
    centres = generator.integers(64, 192, (classes, height, width, channels))
    noise = generator.integers(-64, 64, (size, height, width, channels))
    images = (centres[labels] + noise).astype(np.uint8)
    return Dataset(images, labels, tuple(f"class{label}" for label in range(classes)))


def statistics(
    images: NDArray[np.uint8], normalization: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (mean, scale), broadcastable to [H, W, C], of images scaled to [0, 1].

    Networks take (image / 255 - mean) * scale.
    """
    channels = images.shape[3]
    zeros, ones = np.zeros((1, 1, channels)), np.ones((1, 1, channels))
    if normalization == "unit":
        return zeros, ones
    if normalization == "pixel_mean":
        return images.mean(axis=0, dtype=np.float64) / 255, ones
    if normalization != "channel_mean_std":
        raise ValueError(f"unknown normalization {normalization!r}")
    counts = np.stack(
        [np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(channels)]
    )
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(np.where(variance > 0, variance, 1.0))
    return mean.reshape(zeros.shape), (1 / deviation).reshape(zeros.shape)


def measure(images: NDArray[np.uint8], normalization: str, colors: bool) -> Statistics:
    """Return the statistics that a recipe needs of its training images, uint8 [N, H, W, C]."""
    directions = principal_colors(images) if colors else None
    return Statistics(*statistics(images, normalization), directions)


def principal_colors(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the principal components of the pixels, scaled to [0, 1], as rows [C, C].

    Each is as long as its variance, as in AlexNet (Krizhevsky et al., 2012).
    """
    channels = images.shape[3]
    total, products = np.zeros(channels), np.zeros((channels, channels))
    for start in range(0, len(images), 1024):
        pixels = images[start : start + 1024].reshape(-1, channels).astype(np.float64)
        total += pixels.sum(axis=0)
        products += pixels.T @ pixels
    count = images.size // channels
    mean = total / count
    variances, directions = np.linalg.eigh((products / count - np.outer(mean, mean)) / 255**2)
    # The sign of a component is the solver's choice.
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(channels)])
    return np.asarray((directions * signs * variances).T, dtype=np.float64)


def _checked(statistics: Statistics, height: int, width: int, channels: int) -> Statistics:
    """Return statistics of images of this size; raise DataError for others."""
    allowed = {(1, 1, channels), (height, width, channels)}
    for name, array in statistics.tensors().items():
        if array.shape not in ({(channels, channels)} if name == "data.colors" else allowed):
            raise DataError(
                f"the checkpoint's {name} has shape {list(array.shape)}, "
                f"the network takes images of {[height, width, channels]}"
            )
    return statistics


def _noise(right: NDArray[np.int64], given: NDArray[np.int64], classes: int) -> LabelNoise:
    counts = np.bincount(right * classes + given, minlength=classes**2)
    return LabelNoise(counts.reshape(classes, classes))


def _digest(*datasets: Dataset) -> str:
    """Return the SHA-256 of datasets: their images, labels and classes."""
    total = hashlib.sha256()
    for dataset in datasets:
        total.update(json.dumps([dataset.images.shape, dataset.classes]).encode())
        total.update(np.ascontiguousarray(dataset.labels, dtype="<i8").tobytes())
        total.update(np.ascontiguousarray(dataset.images).tobytes())
    return total.hexdigest()


def _split(data_dir: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (data_dir / name).is_dir():
            return data_dir / name
    raise DataError(f"{data_dir}: no folder {' or '.join(names)}")


def _check_memory(folder: Path, shape: tuple[int, ...]) -> None:
    if not hasattr(os, "sysconf"):
        return
    needed = int(np.prod(shape))
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > 0.8 * present:
        raise DataError(
            f"{folder}: {shape[0]} images take {needed / 1e9:.1f} GB in memory, "
            f"this machine has {present / 1e9:.1f} GB"
        )
