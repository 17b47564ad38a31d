"""Images reach the network as in the evaluation of generated code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ranspec.pictures import inputs
from ranspec.pictures.inputs import InputError, find_statistics, network_input, read_images
from ranspec.runtime.data import DataError, DataOptions, Statistics, measure
from ranspec.spec import load_spec
from tests.verify.networks import TINY

torch = pytest.importorskip("torch")

STATISTICS = Statistics(np.array([[[0.4, 0.5, 0.6]]]), np.array([[[4.0, 5.0, 3.0]]]))


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("test", ["{}", "{size: 0.8}", "{crops: 10, size: 0.7}"])
@pytest.mark.parametrize("size", [(9, 10), (32, 24)])
def test_they_are_resized_cropped_and_normalized_bit_for_bit(
    photograph: Path, test: str, size: tuple[int, int]
) -> None:
    from ranspec.codegen.training import CENTRE
    from ranspec.runtime.images import decode
    from ranspec.runtime.sampling import ten_crop_maps
    from ranspec_torch.runtime.augment import normalize, put_statistics, warp

    height, width = size
    changes = [f"input.height={height}", f"input.width={width}", f"train.test={test}"]
    spec = load_spec(TINY, changes).spec
    images = torch.from_numpy(decode(photograph.read_bytes(), height, width, 3)[None].copy())
    share = spec.train.test.size
    if share < 1:
        maps = ten_crop_maps(height, width, share * height, share * width, height, width)
        images = warp(images, torch.from_numpy(maps[CENTRE][None]))
    expected = normalize(images, put_statistics(STATISTICS, "cpu")).numpy()
    found = network_input(read_images(spec, [photograph]), STATISTICS, np.float32)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "empty file"), (b"\x89PNG\r\n\x1a\n", "not a readable image")],
)
def test_a_file_that_is_no_image_is_told_by_its_name(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_images(load_spec(TINY).spec, [path])
    assert "broken.png" in str(caught.value)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pillow is not installed.*ranspec\[pictures\]"):
        inputs.require_pillow()


def test_statistics_of_other_images_are_refused(photograph: Path) -> None:
    images = read_images(load_spec(TINY).spec, [photograph])
    other = Statistics(np.zeros((32, 32, 3)), np.ones((1, 1, 3)))
    with pytest.raises(InputError, match=r"of images of \[32, 32, 3\].* takes \[9, 10, 3\]"):
        network_input(images, other, np.float32)


@pytest.mark.parametrize("normalization", ["unit", "pixel_mean", "channel_mean_std"])
def test_without_statistics_those_of_the_data_or_of_the_images_are_taken(
    photograph: Path, tmp_path: Path, normalization: str
) -> None:
    spec = load_spec(TINY, [f"train.normalization={normalization}"]).spec
    generator = np.random.default_rng(2)
    for part in ("train", "test"):
        for name in "abcde":
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            pixels = generator.integers(0, 256, (9, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "one.png")
    images = read_images(spec, [photograph])
    kind = "unit" if normalization == "unit" else "channel_mean_std"
    own = measure([images.values.astype(np.uint8)], kind, colors=False)

    found, right = find_statistics(spec, None, DataOptions(), images)
    assert right == (normalization == "unit")
    assert np.array_equal(found.mean, own.mean)
    assert (found.scale == (own.scale if normalization == "channel_mean_std" else 1)).all()

    options = DataOptions(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    found, right = find_statistics(spec, None, options, images)
    paths = [tmp_path / "data" / "train" / name / "one.png" for name in "abcde"]
    training = read_images(spec, paths).values.astype(np.uint8)
    expected = measure([training], normalization, colors=False)
    assert right
    assert np.allclose(found.mean, expected.mean)
    assert np.allclose(found.scale, expected.scale)

    assert find_statistics(spec, STATISTICS, options, images) == (STATISTICS, True)
