"""The same seed and step give the same augmented batch in every backend's generated code."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.runtime.data import Dataset, Statistics, measure, synthetic
from ranspec.runtime.sampling import affine_maps, batch_indices, color_shares, crop_and_flip
from ranspec.spec import LoadedSpec, load_spec

SPEC = """
name: tiny
source: A test
input: {height: 9, width: 12, channels: 3}
classes: 10
stem: {channels: 4, kernel: 3}
stages:
  stage1: {channels: 4, units: 1}
train:
  data: digits
  batch_size: 16
"""

CROP = "augmentation: {pad: 2, color: 0.1}"
WARP = (
    "augmentation: {pad: 0, area: [0.08, 1.0], ratio: [0.75, 1.333], shift: 0.3, zoom: 0.2, "
    "shear: 0.2, rotation: 40, color: 0.1}"
)

BATCHES = {
    "torch": """
import torch, recipe
from data import Statistics
from devices import DeviceData, choose_place
data = DeviceData(dataset, Statistics(*constants), choose_place(settings))
images, labels = [], []
for pixels, targets, draws in data.ahead(recipe.draw, settings, range(3)):
    batch = recipe.training_images(pixels, draws, data.statistics, settings)
    images.append(batch.permute(0, 2, 3, 1))
    labels.append(targets)
""",
    "tensorflow": """
import tensorflow as tf
import recipe
from augment import put_statistics
from data import Statistics
measured = put_statistics(Statistics(*constants))

@tf.function
def augmented(images, draws):
    return recipe.training_images(images, draws, measured, settings)

drawn = [recipe.draw(step, 40, settings) for step in range(3)]
images = [augmented(dataset.images[draws.indices], draws) for draws in drawn]
labels = [dataset.labels[draws.indices] for draws in drawn]
""",
    "jax": """
import jax
from data import Statistics
from devices import DeviceData, Devices
devices = Devices.choose(settings)
data = DeviceData(dataset, Statistics(*constants), devices).arrays
batch = jax.jit(lambda data, draws: train.training_batch(draws, None, data, settings))
batches = [batch(data, train.recipe.draw(step, 40, settings)) for step in range(3)]
images, labels = zip(*batches)
""",
}

SCRIPT = """
import sys
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    import numpy as np
    import train
    from data import measure, synthetic
    dataset = synthetic(40, classes=10, height=9, width=12, channels=3)
    measured = measure([dataset.images], "pixel_mean", colors=True)
    constants = (measured.mean, measured.scale, measured.directions)
    settings = train.Settings()
{batches}
    arrays = {{"images": np.stack([np.asarray(x) for x in images])}}
    np.savez(folder + "/batches.npz", **arrays, labels=np.stack([np.asarray(x) for x in labels]))
    for name in ("train", "recipe", "augment", "devices", "sampling"):
        sys.modules.pop(name, None)
    sys.path.pop(0)
"""


def spec(folder: Path, augmentation: str) -> LoadedSpec:
    path = folder / f"{len(augmentation)}.yaml"
    path.write_text(f"{SPEC}  {augmentation}\n")
    return load_spec(path)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic(40, classes=10, height=9, width=12, channels=3)


@pytest.mark.parametrize("backend", BATCHES)
def test_batches_are_those_of_numpy(backend: str, tmp_path: Path, dataset: Dataset) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    folders = []
    for augmentation in (CROP, WARP):
        folder = tmp_path / str(len(augmentation))
        folder.mkdir()
        for name, text in render_files(spec(tmp_path, augmentation), load_backend(backend)).items():
            (folder / name).write_text(text)
        folders.append(folder)
    lines = BATCHES[backend].strip().splitlines()
    script = SCRIPT.format(batches="\n".join(f"    {line}" for line in lines))
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, folders)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for folder, expected in zip(folders, (cropped(dataset), warped(dataset)), strict=True):
        with np.load(folder / "batches.npz") as found:
            assert found["images"].dtype == np.float32
            assert np.abs(found["images"] - expected).max() < 1e-6
            indices = [batch_indices(0, step, 16, 40) for step in range(3)]
            assert np.array_equal(found["labels"], dataset.labels[np.array(indices)])


def measured(dataset: Dataset) -> Statistics:
    return measure([dataset.images], "pixel_mean", colors=True)


def colored(dataset: Dataset, step: int) -> NDArray[np.float64]:
    directions = measured(dataset).directions
    assert directions is not None
    shifts = color_shares(0, step, 16, 3, 0.1).astype(float) @ directions
    images = dataset.images[batch_indices(0, step, 16, 40)]
    return np.asarray(images / 255 + shifts[:, None, None])


def cropped(dataset: Dataset) -> NDArray[Any]:
    mean, scale = measured(dataset).mean, measured(dataset).scale
    batches = []
    for step in range(3):
        images = (colored(dataset, step) - mean) * scale
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
        draws = zip(padded, *crop_and_flip(0, step, 16, 2, True), strict=True)
        crops = [(image[y : y + 9, x : x + 12], flip) for image, (y, x), flip in draws]
        batches.append([crop[:, ::-1] if flip else crop for crop, flip in crops])
    return np.array(batches)


def warped(dataset: Dataset) -> NDArray[Any]:
    mean, scale = measured(dataset).mean, measured(dataset).scale
    options: dict[str, Any] = {"area": (0.08, 1.0), "ratio": (0.75, 1.333), "flip": True}
    options |= {"shift": 0.3, "zoom": 0.2, "shear": 0.2, "rotation": 40}
    grid = np.stack([*np.meshgrid(np.arange(9), np.arange(12), indexing="ij"), np.ones((9, 12))])
    batches = []
    for step in range(3):
        maps = affine_maps(0, step, 16, 9, 12, **options) / 2**16
        points = np.einsum("nij,jhw->nihw", maps, grid)
        images = [
            bilinear(image, rows.clip(0, 8), columns.clip(0, 11))
            for image, (rows, columns) in zip(colored(dataset, step), points, strict=True)
        ]
        batches.append((np.array(images) - mean) * scale)
    return np.array(batches)


def bilinear(
    image: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    by_row = np.maximum(0, 1 - np.abs(rows[..., None] - np.arange(9)))
    by_column = np.maximum(0, 1 - np.abs(columns[..., None] - np.arange(12)))
    return np.asarray(np.einsum("hwi,hwj,ijc->hwc", by_row, by_column, image))
