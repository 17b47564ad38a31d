import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ranspec.runtime.data import (
    DataError,
    DataOptions,
    DataSets,
    Statistics,
    load_data,
    load_dataset,
    measure,
    principal_colors,
    statistics,
    synthetic,
)


def write_images(folder: Path, *, classes: tuple[str, ...] = ("cat", "dog"), size: int = 8) -> None:
    for split in ("train", "val"):
        for label, name in enumerate(classes):
            (folder / split / name / "images").mkdir(parents=True)
            for index in range(2):
                pixels = np.full((size, size, 3), 100 * label + index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / "images" / f"{index}.png")


def load(folder: Path, classes: int = 2, channels: int = 3) -> np.ndarray:
    train, _ = load_dataset("folder", folder, height=8, width=8, channels=channels, classes=classes)
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 1, 1]
    return train.images


def test_digits_split_into_1437_and_360_with_equal_shares() -> None:
    train, test = load_dataset("digits", None, height=8, width=8, channels=1, classes=10)
    assert train.images.shape == (1437, 8, 8, 1)
    assert test.images.shape == (360, 8, 8, 1)
    assert train.images.max() == 255
    ratio = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.allclose(ratio, 360 / 1797, atol=0.005)


def test_digits_take_the_size_and_channels_of_the_network() -> None:
    train, _ = load_dataset("digits", None, height=16, width=12, channels=3, classes=10)
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
        load_dataset("cifar10", None, height=32, width=32, channels=3, classes=10)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    data = synthetic(10, classes=2, height=4, width=4, channels=1)
    data.check_batch_size(10)
    with pytest.raises(DataError, match="a batch of 11 images, but only 10"):
        data.check_batch_size(11)


def test_normalised_images_have_mean_0_and_deviation_1() -> None:
    images = synthetic(50, classes=3, height=5, width=4, channels=3).images
    mean, scale = statistics(images, "channel_mean_std")
    normal = (images / 255 - mean) * scale
    assert np.allclose(normal.mean(axis=(0, 1, 2)), 0)
    assert np.allclose(normal.std(axis=(0, 1, 2)), 1)


def test_the_mean_image_has_every_pixel() -> None:
    images = synthetic(50, classes=3, height=5, width=4, channels=3).images
    mean, scale = statistics(images, "pixel_mean")
    assert mean.shape == (5, 4, 3)
    assert np.allclose(((images / 255 - mean) * scale).mean(axis=0), 0)


def test_unit_normalisation_only_scales() -> None:
    mean, scale = statistics(np.full((1, 2, 2, 1), 255, dtype=np.uint8), "unit")
    assert (mean == 0).all()
    assert (scale == 1).all()


def test_a_constant_channel_stays_finite() -> None:
    mean, scale = statistics(np.full((3, 2, 2, 1), 9, dtype=np.uint8), "channel_mean_std")
    assert np.isfinite(mean).all()
    assert (scale == 1).all()


def test_principal_colors_are_the_components_of_the_covariance_of_pixels() -> None:
    images = synthetic(1500, classes=3, height=2, width=3, channels=3).images
    components = principal_colors(images)
    covariance = np.cov(images.reshape(-1, 3).T / 255, bias=True)
    variances = np.linalg.norm(components, axis=1)
    assert np.allclose(components.T @ np.diag(1 / variances) @ components, covariance)
    assert (components[np.arange(3), abs(components).argmax(axis=1)] > 0).all()


def test_a_colour_that_does_not_vary_has_no_component() -> None:
    assert np.allclose(principal_colors(np.full((2, 2, 2, 3), 7, dtype=np.uint8)), 0)


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
