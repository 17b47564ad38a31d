"""What a run reads: training, validation and test images, and statistics of them.

Without `--data-dir`, data are scikit-learn's digits, or a published archive that `--download` has
fetched. With `--data-dir DIR` they are what DIR holds of the spec's data:

    any         train/<class>/* and test/<class>/* or val/<class>/*
    cifar10     cifar-10-binary.tar.gz or cifar-10-python.tar.gz, or the folder within
    cifar100    cifar-100-binary.tar.gz or cifar-100-python.tar.gz, or the folder within
    tiny_imagenet    tiny-imagenet-200.zip, or the folder within
    imagenet    ILSVRC2012_img_train.tar or train/<synset>.tar; ILSVRC2012_img_val.tar or val/*.JPEG
                with ILSVRC2012_devkit_t12.tar.gz, or the folder within

Files are looked at once and decoded once, into arrays that later starts map into memory; sets of
images that memory does not hold are decoded as they are needed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archives import (
    ARCHIVES,
    CIFAR,
    Cifar,
    LabelledFiles,
    LabelledImages,
    class_folders,
    fetch,
    find_cifar,
    find_tiny_imagenet,
    imagenet,
    tiny_imagenet,
)
from cache import (
    array_digest,
    cache_folder,
    in_threads,
    shown_progress,
    stored_array,
    stored_tensors,
    survey,
)
from images import MODES, DataError, ImageFiles, fit
from sampling import held_out, noisy_labels
from streaming import StreamedDataset

__all__ = [
    "DataError",
    "DataOptions",
    "DataSets",
    "Dataset",
    "LabelNoise",
    "Statistics",
    "StreamedDataset",
    "load_data",
    "measure",
    "synthetic",
]

DIGITS_TRAIN = 1437
MEMORY_SHARE = 0.5
"""Of the memory that there is, what decoded images may take before they are streamed instead."""
MEASURED = 1 << 17
"""Images that statistics are taken of where there are more, evenly spaced."""
CHUNK = 1024
LISTED = 10
"""Files that a message names."""


@dataclass(frozen=True)
class DataOptions:
    """Where images come from; which they are, a run knows by their digest."""

    decisive: ClassVar[tuple[str, ...]] = ()

    data_dir: Annotated[Path | None, "folder or archive of the images"] = None
    cache_dir: Annotated[Path | None, "folder for decoded images (default: the user's)"] = None
    download: Annotated[bool, "fetch a published dataset that is not there yet"] = False
    skip_bad: Annotated[bool, "leave out files that are no usable images"] = False
    stream: Annotated[bool | None, "decode for each step (default: if memory is short)"] = None


@dataclass(frozen=True)
class Dataset:
    """Images, uint8 [N, H, W, C], with labels, int64 [N], and the classes' names."""

    sizes: ClassVar[None] = None
    """Images in memory are all of the network's size: there are none to cut boxes out of."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.integer[Any]], boxes: None = None) -> NDArray[np.uint8]:
        """Return images, uint8 [n, H, W, C], as `StreamedDataset.read` does."""
        images: NDArray[np.uint8] = self.images[indices]
        return images

    def split(self, held_out: NDArray[np.int64]) -> tuple[Dataset, Dataset]:
        """Return the other samples, and those held out."""
        others = np.delete(np.arange(len(self)), held_out)
        rest, chosen = (
            Dataset(self.images[part], self.labels[part], self.classes)
            for part in (others, held_out)
        )
        return rest, chosen


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

    training: Dataset | StreamedDataset
    validation: Dataset | StreamedDataset | None
    test: Dataset | StreamedDataset
    statistics: Statistics
    digest: str
    noise: LabelNoise | None = None
    skipped: tuple[str, ...] = ()
    """Files that were left out, and why."""

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
        return {
            "digest": self.digest,
            "classes": list(self.classes),
            **sizes,
            "noise": noise,
            "skipped": list(self.skipped),
        }

    def summary(self) -> str:
        """Return lines for a person: how many images there are, and what is wrong with them."""
        sets = (("train on", self.training), ("validate", self.validation), ("test on", self.test))
        sizes = [f"{len(images):,} images to {use}" for use, images in sets if images]
        streamed = ", streamed" if isinstance(self.training, StreamedDataset) else ""
        lines = [f"data: {', '.join(sizes)}, {len(self.classes)} classes{streamed}"]
        if self.noise:
            lines.append(f"label noise: {self.noise.flipped:.2%} of the training labels are wrong")
        if self.skipped:
            more = f" ... and {len(self.skipped) - LISTED:,} more" if self.skipped[LISTED:] else ""
            lines.append(f"left out: {len(self.skipped):,} files{more}")
            lines += [f"  {reason}" for reason in self.skipped[:LISTED]]
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
    batch_size: int = 1,
    whole: bool = False,
    statistics: Statistics | None = None,
    training: bool = True,
) -> DataSets:
    """Read what a run needs; raise DataError for what cannot be used.

    `validation` images of the training set are held out, and a share of about 1 - `clean_labels`
    of the others, of which there have to be a batch, is given wrong labels. A recipe that cuts its
    crops from `whole` images has those of another size than the network's streamed. `statistics`,
    by default those of the training set, are what a checkpoint was trained with. Without `training`
    only the test set is read, and the training set where statistics are needed of it.
    """
    reader = _Reader(data, options, height, width, channels, whole)
    if statistics is None and not training and normalization == "unit":
        statistics = Statistics(np.zeros((1, 1, channels)), np.ones((1, 1, channels)))
    part = reader.part("training") if training or statistics is None else None
    test = reader.part("test")
    if part is None:
        part = _Part(_empty(test.dataset), "")
    _check_same(part.dataset.classes, test.dataset.classes)
    _check_classes(test.dataset.classes, classes)
    rest: Dataset | StreamedDataset = part.dataset
    chosen: Dataset | StreamedDataset | None = None
    if validation and len(rest):
        if validation >= len(rest):
            raise DataError(f"{validation} images to hold out, but only {len(rest)} in all")
        held = held_out(seed, validation, len(rest))
        rest, chosen = rest.split(held)
    colors = colors and training
    if training and batch_size > len(rest):
        raise DataError(f"a batch of {batch_size} images, but only {len(rest)} to train on")
    if statistics is None or (colors and statistics.directions is None):
        key = _key(part.digest, height, width, channels, normalization, colors, validation, seed)
        make = functools.partial(_measured, rest, normalization, colors)
        measured = Statistics.from_tensors(
            stored_tensors(reader.cache, key, make) if part.kept else make()
        )
        assert measured is not None
        given = statistics or measured
        statistics = replace(given, directions=measured.directions)
    _check_statistics(statistics, height, width, channels)
    noise = None
    if not training:
        rest, chosen, part = _empty(rest), None, _Part(_empty(rest), "")
    elif clean_labels < 1:
        labels = noisy_labels(seed, rest.labels, classes, clean_labels)
        noise = _noise(rest.labels, labels, classes)
        rest = replace(rest, labels=labels)
    digest = _key(part.digest, test.digest)
    skipped = (*part.skipped, *test.skipped)
    return DataSets(rest, chosen, test.dataset, statistics, digest, noise, skipped)


@dataclass(frozen=True)
class _Part:
    """The training or the test set before anything is held out, and which files it lacks.

    `kept` are those whose pixels come from the cache.
    """

    dataset: Dataset | StreamedDataset
    digest: str
    skipped: tuple[str, ...] = ()
    kept: bool = False


@dataclass(frozen=True)
class _Reader:
    data: str
    options: DataOptions
    height: int
    width: int
    channels: int
    whole: bool = False

    @functools.cached_property
    def cache(self) -> Path:
        return cache_folder(self.options.cache_dir)

    @functools.cached_property
    def source(self) -> Callable[[str], LabelledFiles | LabelledImages | Cifar]:
        """What returns the `training` or the `test` set."""
        data, place = self.data, self.options.data_dir
        archive = ARCHIVES.get(data)
        if place is None:
            if data == "digits":
                return load_digits
            if archive is None:
                raise DataError(
                    f"{data} is not bundled: pass --data-dir DIR with images in "
                    "DIR/train/<class>/ and DIR/test/<class>/"
                )
            place = self.cache / "downloads"
            if not self.options.download and not (place / archive.name).is_file():
                raise DataError(
                    f"{data} is not bundled: pass --data-dir DIR with images in "
                    f"DIR/train/<class>/ and DIR/test/<class>/, or with {archive.name}; or pass "
                    f"--download to fetch that ({archive.size / 1e6:.0f} MB)"
                )
        found = self._find(place)
        if found is None and archive is not None and self.options.download:
            fetch(archive, place)
            found = self._find(place)
        if found is not None:
            return found
        if not place.exists():
            raise DataError(f"--data-dir {place}: no such file or folder")
        if not place.is_dir():
            archives = [layout.archive for layout in CIFAR.get(data, ())]
            archives += [archive.name] if archive and archive.name not in archives else []
            expected = f" nor {' nor '.join(archives)}" if archives else ""
            raise DataError(f"--data-dir {place}: not a folder{expected}")
        if archive is not None and not (place / "train").is_dir():
            raise DataError(f"{place}: no folder train, nor {archive.name} or its folder")
        return functools.partial(_folder, place, data)

    def _find(self, place: Path) -> Callable[[str], LabelledFiles | LabelledImages | Cifar] | None:
        """Return how to read a published dataset in its own layout; None if there is none."""
        cifar = find_cifar(self.data, place)
        if cifar is not None:
            return lambda split: cifar
        if self.data == "tiny_imagenet":
            folder = find_tiny_imagenet(place, self.cache / "unpacked")
            return None if folder is None else functools.partial(tiny_imagenet, folder)
        if self.data == "imagenet" and place.is_dir():
            return functools.partial(imagenet, place, cache=self.cache)
        return None

    def part(self, split: str) -> _Part:
        """Return the `training` or the `test` set."""
        if self.channels not in MODES:
            raise DataError(f"images have 1 or 3 channels, the network takes {self.channels}")
        found = self.source(split)
        if isinstance(found, Cifar):
            return self._cifar(found, split)
        if isinstance(found, LabelledFiles):
            return self._files(found, split)
        images = np.empty((len(found.labels), *self._size), dtype=np.uint8)
        self._resize(found.images, images)
        dataset = Dataset(images, found.labels, found.classes)
        return _Part(dataset, _digest(array_digest(images), found.labels, found.classes))

    @property
    def _size(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    def _resize(self, images: NDArray[np.uint8], result: NDArray[np.uint8]) -> None:
        from PIL import Image

        if images.shape == result.shape:
            result[:] = images
            return
        for index, pixels in enumerate(images):
            opened = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            result[index] = fit(opened, *self._size)

    def _cifar(self, found: Cifar, split: str) -> _Part:
        hashes = survey(found.sources(split), self.cache, look=_any_file).hashes
        read = functools.cache(lambda: found.read(split))
        key = _key(hashes.tobytes().hex(), found.layout.folder, split)
        table = stored_tensors(
            self.cache,
            key,
            lambda: {
                "labels": read().labels,
                "classes": np.frombuffer("\n".join(read().classes).encode(), dtype=np.uint8),
            },
        )
        labels, classes = table["labels"], tuple(table["classes"].tobytes().decode().split("\n"))
        images, digest = stored_array(
            self.cache,
            _key(key, *self._size),
            (len(labels), *self._size),
            lambda result: self._resize(read().images, result),
        )
        return _Part(Dataset(images, labels, classes), _digest(digest, labels, classes), kept=True)

    def _files(self, found: LabelledFiles, split: str) -> _Part:
        files, labels, classes = found
        surveyed = survey(files, self.cache)
        faults, hashes, sizes = surveyed.faults, surveyed.hashes, surveyed.sizes
        skipped = [f"{files.names[index]}: {reason}" for index, reason in faults.items()]
        if faults:
            good = np.delete(np.arange(len(files)), list(faults))
            files, labels, hashes, sizes = (
                files.subset(good),
                labels[good],
                hashes[good],
                sizes[good],
            )
        counts = np.bincount(labels, minlength=len(classes))
        skipped += [f"{classes[label]}: no images" for label in np.flatnonzero(counts == 0)]
        if skipped and not self.options.skip_bad:
            raise DataError(_listing(f"{files.folder}: unusable", skipped))
        if not len(files):
            raise DataError(_listing(f"{files.folder}: no usable image", skipped))
        digest = _digest(hashlib.sha256(hashes.tobytes()).hexdigest(), labels, classes)
        shape = (len(files), *self._size)
        streamed = self.options.stream
        if streamed is None:
            cut = self.whole and bool((sizes != shape[1:3]).any())
            streamed = cut or float(np.prod(shape, dtype=np.float64)) > MEMORY_SHARE * _memory()
        dataset: Dataset | StreamedDataset
        if streamed:
            dataset = StreamedDataset(files, sizes, labels, classes, *self._size)
        else:
            images, _ = stored_array(
                self.cache,
                _key(hashes.tobytes().hex(), *self._size),
                shape,
                lambda result: _decode(files, result),
            )
            dataset = Dataset(images, labels, classes)
        return _Part(dataset, digest, tuple(f"{split}: {reason}" for reason in skipped), kept=True)


def _folder(place: Path, data: str, split: str) -> LabelledFiles:
    """Return the images of `train`, or of `test` or `val`, in a folder.

    The images in Tiny ImageNet's `test` are of unknown classes.
    """
    tests = ("val", "test") if data == "tiny_imagenet" else ("test", "val")
    for name in ("train",) if split == "training" else tests:
        if (place / name).is_dir():
            return class_folders(place / name)
    raise DataError(f"{place}: no folder {'train' if split == 'training' else ' or '.join(tests)}")


def _any_file(content: bytes) -> tuple[int, int]:
    """Find no fault with a file."""
    return 0, 0


def _decode(files: ImageFiles, result: NDArray[np.uint8]) -> None:
    def read(index: int) -> None:
        result[index] = files.read(index, *result.shape[1:])

    in_threads(read, range(len(files)), f"decoding {files.folder}")


def _listing(what: str, lines: list[str]) -> str:
    """Return a message with the first of some lines."""
    more = [f"... and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    listed = "".join(f"\n  {line}" for line in (*lines[:LISTED], *more))
    return f"{what}, which --skip-bad leaves out:{listed}"


def load_digits(split: str) -> LabelledImages:
    """Return scikit-learn's 1,797 digits (8x8): 1,437 for `training`, the others for `test`.

    The split is fixed and stratified: of each digit the same share is held out.
    """
    import sklearn.datasets  # type: ignore[import-untyped]

    digits = sklearn.datasets.load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    shuffled = np.argsort(np.random.Philox(key=0).random_raw(len(labels)), kind="stable")
    shares = np.empty(len(labels))
    for label in range(10):
        members = shuffled[labels[shuffled] == label]
        shares[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.argsort(shares, kind="stable")
    chosen = np.sort(order[:DIGITS_TRAIN] if split == "training" else order[DIGITS_TRAIN:])
    return LabelledImages(pixels[chosen], labels[chosen], tuple(map(str, range(10))))


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


def measure(chunks: Iterable[NDArray[np.uint8]], normalization: str, colors: bool) -> Statistics:
    """Return the statistics that a recipe needs of its training images.

    They come in chunks, uint8 [N, H, W, C]; the result does not depend on how they are divided.
    """
    if normalization not in ("unit", "pixel_mean", "channel_mean_std"):
        raise ValueError(f"unknown normalization {normalization!r}")
    # All sums are of whole numbers, and exact.
    images, total, counts, products = 0, np.zeros(()), np.zeros(()), np.zeros(())
    for chunk in chunks:
        images += len(chunk)
        if normalization == "pixel_mean":
            total = total + chunk.sum(axis=0, dtype=np.float64)
        if normalization == "channel_mean_std" or colors:
            counts = counts + np.stack(
                [
                    np.bincount(plane.reshape(-1), minlength=256)
                    for plane in np.moveaxis(chunk, 3, 0)
                ]
            )
        if colors:
            pixels = chunk.reshape(-1, chunk.shape[3]).astype(np.float64)
            products = products + pixels.T @ pixels
        channels = chunk.shape[3]
    if not images:
        raise ValueError("no images")
    directions = _principal_colors(counts, products) if colors else None
    zeros, ones = np.zeros((1, 1, channels)), np.ones((1, 1, channels))
    if normalization == "unit":
        return Statistics(zeros, ones, directions)
    if normalization == "pixel_mean":
        return Statistics(total / images / 255, ones, directions)
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(np.where(variance > 0, variance, 1.0))
    return Statistics(mean.reshape(zeros.shape), (1 / deviation).reshape(zeros.shape), directions)


def _principal_colors(
    counts: NDArray[np.float64], products: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the principal components of pixels, scaled to [0, 1], as rows [C, C].

    Each is as long as its variance, as in AlexNet (Krizhevsky et al., 2012). `counts`,
    [C, 256], tell how often each value is taken, `products`, [C, C], are sums over pixels.
    """
    pixels = counts[0].sum()
    mean = counts @ np.arange(256) / pixels
    covariance = (products / pixels - np.outer(mean, mean)) / 255**2
    variances, directions = np.linalg.eigh(covariance)
    # The sign of a component is the solver's choice.
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(len(mean))])
    return np.asarray((directions * signs * variances).T, dtype=np.float64)


def _measured(
    dataset: Dataset | StreamedDataset, normalization: str, colors: bool
) -> Mapping[str, NDArray[np.float64]]:
    count = min(len(dataset), MEASURED)
    indices = np.arange(count) * len(dataset) // count
    return measure(_chunks(dataset, indices), normalization, colors).tensors()


def _chunks(
    dataset: Dataset | StreamedDataset, indices: NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    if isinstance(dataset, Dataset):
        whole = len(indices) == len(dataset)
        yield from _slices(dataset.images if whole else dataset.images[indices])
        return
    with shown_progress(len(indices), "measuring images", "image") as advance:
        for start in range(0, len(indices), CHUNK):
            chunk = dataset.read(indices[start : start + CHUNK])
            advance(len(chunk))
            yield chunk


def _slices(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))


def _empty(dataset: Dataset | StreamedDataset) -> Dataset:
    images = np.empty((0, 1, 1, 1), dtype=np.uint8)
    return Dataset(images, np.empty(0, dtype=np.int64), dataset.classes)


def _check_classes(names: tuple[str, ...], classes: int) -> None:
    if len(names) != classes:
        raise DataError(f"{len(names)} classes found, the network has {classes}")


def _check_same(train: tuple[str, ...], test: tuple[str, ...]) -> None:
    if train != test:
        difference = sorted(set(train) ^ set(test))
        raise DataError(f"class {difference[0]!r} is in one of train and test only")


def _check_statistics(statistics: Statistics, height: int, width: int, channels: int) -> None:
    """Raise DataError unless statistics are of images of this size."""
    allowed = {(1, 1, channels), (height, width, channels)}
    for name, array in statistics.tensors().items():
        if array.shape not in ({(channels, channels)} if name == "data.colors" else allowed):
            raise DataError(
                f"the checkpoint's {name} has shape {list(array.shape)}, "
                f"the network takes images of {[height, width, channels]}"
            )


def _noise(right: NDArray[np.int64], given: NDArray[np.int64], classes: int) -> LabelNoise:
    counts = np.bincount(right * classes + given, minlength=classes**2)
    return LabelNoise(counts.reshape(classes, classes))


def _digest(content: str, labels: NDArray[np.int64], classes: tuple[str, ...]) -> str:
    """Return the SHA-256 of a dataset, given that of its images."""
    order = hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").tobytes()).hexdigest()
    return _key(content, order, *classes)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _memory() -> float:
    """Return the bytes of memory that this process may use."""
    limits = []
    if hasattr(os, "sysconf"):
        limits.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limits.append(float((Path("/sys/fs/cgroup") / path).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits, default=float("inf"))
