from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ranspec.runtime import archives, cache, data
from ranspec.runtime.archives import CIFAR, Archive, CifarLayout
from ranspec.runtime.data import (
    DataError,
    DataOptions,
    Dataset,
    DataSets,
    Statistics,
    StreamedDataset,
    load_data,
    measure,
    synthetic,
)
from ranspec.runtime.images import ImageFiles
from tests.runtime.test_archives import (
    COUNT,
    LAYOUTS,
    SYNSETS,
    cifar_files,
    jpeg,
    planes,
    tiny_files,
    training_images,
    write_cifar,
    write_folder,
    write_training,
    write_validation,
    write_zip,
)


def write_images(folder: Path, *, classes: tuple[str, ...] = ("cat", "dog"), size: int = 8) -> None:
    for split in ("train", "val"):
        for label, name in enumerate(classes):
            (folder / split / name / "images").mkdir(parents=True)
            for index in range(2):
                pixels = np.full((size, size, 3), 100 * label + index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / "images" / f"{index}.png")


def load(folder: Path, classes: int = 2, channels: int = 3) -> np.ndarray:
    train = read(folder, classes=classes, channels=channels, options={"cache_dir": None}).training
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert isinstance(train, Dataset)
    return train.images


def test_digits_split_into_1437_and_360_with_equal_shares() -> None:
    data = digits()
    train, test = data.training, data.test
    assert isinstance(train, Dataset)
    assert isinstance(test, Dataset)
    assert train.images.shape == (1437, 8, 8, 1)
    assert test.images.shape == (360, 8, 8, 1)
    assert train.images.max() == 255
    ratio = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.allclose(ratio, 360 / 1797, atol=0.005)


def test_digits_take_the_size_and_channels_of_the_network() -> None:
    train = digits(height=16, width=12, channels=3).training
    assert isinstance(train, Dataset)
    assert train.images.shape == (1437, 16, 12, 3)
    assert np.array_equal(train.images[..., 0], train.images[..., 2])


@pytest.mark.parametrize("size", [8, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_folders_are_read_in_sorted_order_and_resized(
    tmp_path: Path, size: int, channels: int
) -> None:
    write_images(tmp_path, size=size)
    images = load(tmp_path, channels=channels)
    assert images.shape == (4, 8, 8, channels)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 100, 101]


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder train"):
        load(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no images in folders"):
        load(tmp_path)
    (tmp_path / "train").rmdir()
    write_images(tmp_path)
    with pytest.raises(DataError, match="2 classes found, the network has 3"):
        load(tmp_path, classes=3)
    with pytest.raises(DataError, match="the network takes 2"):
        load(tmp_path, channels=2)
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "fox")
    with pytest.raises(DataError, match="class 'dog' is in one of train and test only"):
        load(tmp_path)
    (tmp_path / "train" / "dog" / "images" / "1.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"dog/images/1\.png: not a readable image"):
        load(tmp_path)


def test_data_that_is_not_bundled_needs_a_folder() -> None:
    with pytest.raises(DataError, match="cifar10 is not bundled: pass --data-dir"):
        read(None, "cifar10", height=32, width=32, classes=10)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    digits(batch_size=1037, validation=400)
    with pytest.raises(DataError, match="a batch of 1038 images, but only 1037 to train on"):
        digits(batch_size=1038, validation=400)


def normalisation(images: NDArray[np.uint8], kind: str) -> tuple[NDArray[np.float64], ...]:
    found = measure([images[:2], images[2:]], kind, colors=False)
    return found.mean, found.scale


def directions(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    found = measure([images[:1], images[1:]], "unit", colors=True).directions
    assert found is not None
    return found


def test_normalised_images_have_mean_0_and_deviation_1() -> None:
    images = synthetic(50, classes=3, height=5, width=4, channels=3).images
    mean, scale = normalisation(images, "channel_mean_std")
    normal = (images / 255 - mean) * scale
    assert np.allclose(normal.mean(axis=(0, 1, 2)), 0)
    assert np.allclose(normal.std(axis=(0, 1, 2)), 1)


def test_the_mean_image_has_every_pixel() -> None:
    images = synthetic(50, classes=3, height=5, width=4, channels=3).images
    mean, scale = normalisation(images, "pixel_mean")
    assert mean.shape == (5, 4, 3)
    assert np.allclose(((images / 255 - mean) * scale).mean(axis=0), 0)


def test_unit_normalisation_only_scales() -> None:
    mean, scale = normalisation(np.full((1, 2, 2, 1), 255, dtype=np.uint8), "unit")
    assert (mean == 0).all()
    assert (scale == 1).all()


def test_a_constant_channel_stays_finite() -> None:
    mean, scale = normalisation(np.full((3, 2, 2, 1), 9, dtype=np.uint8), "channel_mean_std")
    assert np.isfinite(mean).all()
    assert (scale == 1).all()


def test_principal_colors_are_the_components_of_the_covariance_of_pixels() -> None:
    images = synthetic(1500, classes=3, height=2, width=3, channels=3).images
    components = directions(images)
    covariance = np.cov(images.reshape(-1, 3).T / 255, bias=True)
    variances = np.linalg.norm(components, axis=1)
    assert np.allclose(components.T @ np.diag(1 / variances) @ components, covariance)
    assert (components[np.arange(3), abs(components).argmax(axis=1)] > 0).all()


def test_a_colour_that_does_not_vary_has_no_component() -> None:
    assert np.allclose(directions(np.full((2, 2, 2, 3), 7, dtype=np.uint8)), 0)


def test_a_split_parts_the_samples_and_keeps_their_order() -> None:
    dataset = synthetic(6, classes=3, height=2, width=2, channels=1)
    rest, chosen = dataset.split(np.array([1, 4]))
    assert np.array_equal(rest.images, dataset.images[[0, 2, 3, 5]])
    assert np.array_equal(chosen.labels, dataset.labels[[1, 4]])


def digits(**recipe: Any) -> DataSets:
    return load_data(
        "digits",
        DataOptions(),
        **{"height": 8, "width": 8, "channels": 1, "classes": 10, "normalization": "pixel_mean"}
        | recipe,
    )


def test_statistics_are_those_of_the_images_that_are_trained_on() -> None:
    data = digits(validation=400, colors=True)
    assert data.validation is not None
    assert (len(data.training), len(data.validation), len(data.test)) == (1037, 400, 360)
    assert np.array_equal(data.statistics.mean, data.training.images.mean(axis=0) / 255)
    assert data.statistics.directions is not None
    assert data.statistics.directions.shape == (1, 1)


def test_statistics_pass_through_a_checkpoints_tensors() -> None:
    images = synthetic(50, classes=3, height=5, width=4, channels=3).images
    for colors in (False, True):
        kept = measure([images], "channel_mean_std", colors)
        tensors = kept.tensors() | {"head.weight": np.zeros(2)}
        read = Statistics.from_tensors(tensors)
        assert read is not None
        assert {name: value.tolist() for name, value in read.tensors().items()} == {
            name: value.tolist() for name, value in kept.tensors().items()
        }
    assert Statistics.from_tensors({"head.weight": np.zeros(2)}) is None


def test_evaluation_takes_the_statistics_that_it_is_given() -> None:
    given = Statistics(np.full((1, 1, 1), 0.5), np.ones((1, 1, 1)))
    data = digits(statistics=given, training=False)
    assert data.statistics is given
    assert (len(data.training), len(data.test)) == (0, 360)
    with pytest.raises(DataError, match=r"data\.mean has shape \[1, 1, 3\]"):
        digits(statistics=Statistics(np.zeros((1, 1, 3)), np.zeros((1, 1, 3))))


def test_label_noise_says_what_it_drew() -> None:
    clean, noisy = digits(), digits(clean_labels=0.75)
    assert clean.noise is None
    assert noisy.noise is not None
    right, given = clean.training.labels, noisy.training.labels
    assert noisy.noise.flipped == pytest.approx(float((right != given).mean()))
    assert noisy.noise.flipped == pytest.approx(0.25, abs=0.04)
    assert noisy.noise.matrix[3, 5] == ((right == 3) & (given == 5)).sum()
    assert np.array_equal(noisy.test.labels, clean.test.labels)
    assert noisy.digest == clean.digest
    assert "of the training labels are wrong" in noisy.summary()


def test_too_many_images_to_hold_out_are_refused() -> None:
    with pytest.raises(DataError, match="1437 images to hold out, but only 1437 in all"):
        digits(validation=1437)


def test_a_runs_configuration_keeps_what_it_read() -> None:
    record = json.loads(json.dumps(digits(validation=37, clean_labels=0.5).record()))
    assert record["training"] == 1400
    assert record["validation"] == 37
    assert record["digest"] == digits().digest
    assert sum(map(sum, record["noise"]["matrix"])) == 1400


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for unchanged at once: those of tests are new."""
    monkeypatch.setattr(cache, "SETTLED", -(10**18))


def read(
    place: Path | None, name: str = "folder", *, options: dict[str, Any] | None = None, **given: Any
) -> DataSets:
    """Read images with a cache beside them, those of CIFAR at half their size."""
    cache_dir = place.parent / "cache" if place else None
    recipe = {"height": 8, "width": 8, "channels": 3, "classes": 2, "normalization": "pixel_mean"}
    chosen = DataOptions(**{"data_dir": place, "cache_dir": cache_dir} | (options or {}))
    return load_data(name, chosen, **{**recipe, **given})


def write_photos(folder: Path, *, count: int = 3, side: int = 12) -> Path:
    """Write noise as PNG files of two classes."""
    generator = np.random.default_rng(5)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (side, side + 2, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.folder)
def test_cifar_is_the_same_data_in_every_layout(layout: CifarLayout, tmp_path: Path) -> None:
    name = "cifar100" if "100" in layout.folder else "cifar10"
    size = {"height": 32, "width": 32, "classes": 100 if name == "cifar100" else 10}
    write_cifar(tmp_path / "packed", layout)
    write_folder(tmp_path / "unpacked" / layout.folder, cifar_files(layout))
    packed = read(tmp_path / "packed", name, **size)
    unpacked = read(tmp_path / "unpacked", name, **size)
    assert packed.digest == unpacked.digest
    assert len(packed.training) == COUNT * len(layout.training)
    assert isinstance(packed.test, Dataset)
    pixels = planes(layout.test[0])[0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(packed.test.images, pixels)
    assert isinstance(unpacked.training, Dataset)
    assert np.array_equal(packed.statistics.mean, unpacked.training.images.mean(axis=0) / 255)


@pytest.mark.parametrize(("height", "channels"), [(32, 1), (16, 3)])
def test_cifar_takes_the_size_and_channels_of_the_network(
    height: int, channels: int, tmp_path: Path
) -> None:
    write_cifar(tmp_path / "data", CIFAR["cifar10"][0])
    found = read(
        tmp_path / "data", "cifar10", height=height, width=32, channels=channels, classes=10
    )
    assert isinstance(found.test, Dataset)
    assert found.test.images.shape == (COUNT, height, 32, channels)


def test_a_second_start_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_photos(tmp_path / "photos")
    first = read(folder, colors=True)

    def refuse(*arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(ImageFiles, "content", refuse)
    monkeypatch.setattr(data, "measure", refuse)
    second = read(folder, colors=True)
    assert second.digest == first.digest
    assert isinstance(first.training, Dataset)
    assert isinstance(second.training, Dataset)
    assert np.array_equal(second.training.images, first.training.images)
    assert np.array_equal(second.statistics.mean, first.statistics.mean)


def test_the_digest_is_that_of_images_and_labels_wherever_they_lie(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "here" / "photos")
    digest = read(folder).digest
    moved = Path(shutil.copytree(folder, tmp_path / "there" / "renamed"))
    assert read(moved).digest == digest
    (moved / "train/cat/0.png").rename(moved / "train/dog/9.png")
    assert read(moved).digest != digest
    (moved / "train/dog/9.png").rename(moved / "train/cat/0.png")
    assert read(moved).digest == digest
    (moved / "train/cat").rename(moved / "train/fox")
    (moved / "test/cat").rename(moved / "test/fox")
    assert read(moved).digest != digest


def test_a_changed_image_is_decoded_again(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    first = read(folder)
    os.utime(folder / "test/cat/0.png")
    assert read(folder).digest == first.digest
    shutil.copy(folder / "test/cat/1.png", folder / "test/cat/0.png")
    second = read(folder)
    assert second.digest != first.digest
    assert isinstance(second.test, Dataset)
    assert np.array_equal(second.test.images[0], second.test.images[1])


@pytest.mark.parametrize("side", [8, 12])
def test_streamed_images_are_those_that_memory_holds(side: int, tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", side=side)
    recipe = {"normalization": "channel_mean_std", "colors": True, "validation": 2}
    held = read(folder, options={"stream": False}, **recipe)
    streamed = read(folder, options={"stream": True, "cache_dir": tmp_path / "other"}, **recipe)
    assert isinstance(streamed.training, StreamedDataset)
    assert streamed.digest == held.digest
    for name, tensor in held.statistics.tensors().items():
        assert np.array_equal(streamed.statistics.tensors()[name], tensor)
    for part in ("training", "validation", "test"):
        there, here = getattr(streamed, part), getattr(held, part)
        assert np.array_equal(there.read(np.arange(len(there))), here.images)
        assert np.array_equal(there.labels, here.labels)
    assert "streamed" in streamed.summary()


def test_what_memory_does_not_hold_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_photos(tmp_path / "photos")
    bytes_of_training = 6 * 8 * 8 * 3
    monkeypatch.setattr(data, "_memory", lambda: bytes_of_training / data.MEMORY_SHARE)
    assert isinstance(read(folder).training, Dataset)
    monkeypatch.setattr(data, "_memory", lambda: bytes_of_training / data.MEMORY_SHARE - 1)
    assert isinstance(read(folder).training, StreamedDataset)


def test_crops_of_whole_images_are_streamed_unless_these_have_the_networks_size(
    tmp_path: Path,
) -> None:
    folder = write_photos(tmp_path / "photos", side=8)
    assert isinstance(read(folder, whole=True).training, StreamedDataset)
    assert isinstance(read(folder, whole=True, width=10).training, Dataset)


def test_large_sets_are_measured_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MEASURED", 3)
    found = read(write_photos(tmp_path / "photos"))
    assert isinstance(found.training, Dataset)
    part = found.training.images[[0, 2, 4]]
    assert np.array_equal(found.statistics.mean, part.mean(axis=0) / 255)


def spoil(folder: Path) -> Path:
    """Make one image of each set unusable, and add a class without images."""
    (folder / "train/cat/1.png").write_bytes(b"not an image")
    Image.new("RGBA", (9, 9)).save(folder / "train/dog/0.png")
    Image.new("I;16", (9, 9)).save(folder / "test/dog/2.png")
    for split in ("train", "test"):
        (folder / split / "empty").mkdir()
    return folder


@pytest.mark.parametrize("stream", [False, True])
def test_unusable_files_are_named_before_training(stream: bool, tmp_path: Path) -> None:
    folder = spoil(write_photos(tmp_path / "photos"))
    for _ in range(2):  # The second time, they are known.
        with pytest.raises(DataError) as raised:
            read(folder, classes=3, options={"stream": stream})
        message = str(raised.value)
        assert message.startswith(f"{folder / 'train'}: unusable, which --skip-bad leaves out:")
        assert "\n  cat/1.png: not a readable image (of no known format)" in message
        assert "\n  dog/0.png: transparent pixels" in message
        assert "\n  empty: no images" in message


@pytest.mark.parametrize("stream", [False, True])
def test_unusable_files_can_be_left_out_and_are_listed(stream: bool, tmp_path: Path) -> None:
    folder = spoil(write_photos(tmp_path / "photos"))
    found = read(folder, classes=3, options={"stream": stream, "skip_bad": True})
    assert found.classes == ("cat", "dog", "empty")
    assert found.training.labels.tolist() == [0, 0, 1, 1]
    assert found.test.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.skipped == (
        "training: cat/1.png: not a readable image (of no known format)",
        "training: dog/0.png: transparent pixels, whose colour depends on what lies behind",
        "training: empty: no images",
        "test: dog/2.png: not 8 bits a channel (mode I;16)",
        "test: empty: no images",
    )
    assert found.record()["skipped"] == list(found.skipped)
    assert "left out: 5" in found.summary()
    for bad in ("train/cat/1.png", "train/dog/0.png", "test/dog/2.png"):
        (folder / bad).unlink()
    again = read(folder, classes=3, options={"stream": stream, "skip_bad": True})
    assert again.digest == found.digest


def test_many_unusable_files_are_counted(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", count=20)
    for path in (folder / "test").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)cat/0\.png.*\n  \.\.\. and 32 more$"):
        read(folder)
    with pytest.raises(DataError, match="no usable image"):
        read(folder, options={"skip_bad": True})


def test_hidden_files_and_folders_are_no_images(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    (folder / "train/.ipynb_checkpoints").mkdir()
    (folder / "train/cat/._0.png").write_bytes(b"of another system")
    (folder / "train/cat/notes.txt").write_text("none either")
    assert len(read(folder).training) == 6


def test_evaluation_needs_no_training_set(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    whole = read(folder, colors=True)
    shutil.rmtree(folder / "train")
    kept = Statistics.from_tensors(whole.statistics.tensors())
    found = read(folder, colors=True, validation=2, statistics=kept, training=False)
    assert isinstance(found.test, Dataset)
    assert isinstance(whole.test, Dataset)
    assert np.array_equal(found.test.images, whole.test.images)
    assert read(folder, normalization="unit", training=False).statistics.mean.tolist() == [
        [[0] * 3]
    ]
    with pytest.raises(DataError, match="no folder train"):
        read(folder, training=False)


def test_colours_that_a_checkpoint_lacks_are_measured(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    given = Statistics(np.full((1, 1, 3), 0.5), np.ones((1, 1, 3)))
    found = read(folder, colors=True, statistics=given).statistics
    assert found.mean is given.mean
    assert found.directions is not None
    assert np.array_equal(found.directions, directions(read(folder).training.images))


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_tiny_imagenet_is_tested_on_its_validation_images(packed: bool, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    if packed:
        write_zip(place / "tiny-imagenet-200.zip", tiny_files())
    else:
        write_folder(place, tiny_files())
    found = read(place, "tiny_imagenet", height=64, width=64)
    assert (len(found.training), len(found.test)) == (6, 3)
    assert found.test.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("training", ["folders", "inner tars", "tar"])
@pytest.mark.parametrize("validation", ["tar", "flat"])
def test_imagenet_is_read_from_its_archives(training: str, validation: str, tmp_path: Path) -> None:
    place = tmp_path / "imagenet"
    place.mkdir()
    write_training(place, training)
    write_validation(place, validation)
    found = read(place, "imagenet", classes=3, whole=True)
    assert isinstance(found.training, StreamedDataset)
    assert found.training.read(np.array([5])).shape == (1, 8, 8, 3)
    same = tmp_path / "same" / "imagenet"
    for name, images in training_images().items():
        write_folder(same / "train" / name, images)
    for number, name in SYNSETS.items():
        write_folder(same / "val" / name, {"image.JPEG": jpeg(number)})
    folders = read(same, "imagenet", classes=3, options={"stream": True})
    assert isinstance(found.test, StreamedDataset)
    assert isinstance(folders.test, StreamedDataset)
    assert found.test.classes == folders.test.classes
    images = {
        int(label): found.test.read(np.array([n])) for n, label in enumerate(found.test.labels)
    }
    for index, label in enumerate(folders.test.labels):
        assert np.array_equal(images[int(label)], folders.test.read(np.array([index])))


def test_data_that_is_not_there_can_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Archive] = []

    def write(archive: Archive, folder: Path) -> Path:
        asked.append(archive)
        folder.mkdir(parents=True, exist_ok=True)
        return write_cifar(folder, CIFAR["cifar10"][0])

    monkeypatch.setattr(data, "fetch", write)
    size = {"height": 32, "width": 32, "classes": 10}
    options = {"cache_dir": tmp_path / "cache"}
    with pytest.raises(DataError, match=r"--download to fetch that \(170 MB\)"):
        read(None, "cifar10", options=options, **size)
    for place in (None, tmp_path / "mine"):
        fetched = read(place, "cifar10", options={**options, "download": True}, **size)
        assert len(fetched.test) == COUNT
        assert read(place, "cifar10", options=options, **size).digest == fetched.digest
    assert asked == [archives.ARCHIVES["cifar10"]] * 2


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("imagenet", None, "imagenet is not bundled: pass --data-dir DIR with images"),
        ("folder", "gone", "gone: no such file or folder"),
        ("folder", "file", "file: not a folder$"),
        ("cifar10", "file", r"not a folder nor cifar-10-binary\.tar\.gz nor cifar-10-python"),
        ("cifar100", ".", r"no folder train, nor cifar-100-binary\.tar\.gz or its folder"),
        ("tiny_imagenet", "file", r"not a folder nor tiny-imagenet-200\.zip"),
    ],
)
def test_what_is_wrong_with_the_place_is_said(
    name: str, place: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("neither")
    with pytest.raises(DataError, match=message):
        read(place and tmp_path / place, name, options={"cache_dir": tmp_path / "cache"})
