"""Augmented batches have equal bytes in every framework, eager and compiled, in both precisions."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.analysis.reference import mixed_labels
from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.runtime.data import Statistics, measure, synthetic
from ranspec.runtime.sampling import (
    affine_maps,
    batch_indices,
    color_shares,
    crop_and_flip,
    cutmix_boxes,
    mixup_shares,
    ten_crop_maps,
)
from ranspec.spec import available_specs, load_spec, packaged_specs

SPECS = available_specs([packaged_specs()])
COUNT, HEIGHT, WIDTH = 40, 9, 12

MIXED = (
    (3, "unit", '{"cutmix": 1.0}'),
    (
        3,
        "channel_mean_std",
        '{"pad": 0, "mixup": 0.4, "color": 0.2, "zoom": 0.1, "area": [0.3, 1]}',
    ),
)
"""Augmentations that no shipped spec has."""

SPEC = """
name: tiny
source: A test
input: {height: 9, width: 12, channels: %d}
classes: 10
stem: {channels: 4, kernel: 3}
stages:
  stage1: {channels: 4, units: 1}
train:
  data: digits
  batch_size: 16
  normalization: %s
  augmentation: %s
"""

FUNCTIONS = """
def mixed(images, draws, statistics):
    return mixup(normalize(images, statistics), draws.kept)


def cut(images, draws, statistics):
    return cutmix(normalize(images, statistics), draws.boxes)


def labelled(images, draws, statistics):
    return mix_labels(draws.labels, draws.kept, 10)


def viewed(images, draws, statistics):
    return normalize(warp(images, draws.views[3:4], (5, 7)), statistics)


def everything(images, draws, statistics):
    images = warp(images, draws.maps)
    images = shift_colors(images, draws.shares, statistics)
    images = normalize(images, statistics)
    images = crop_and_flip_images(images, draws.offsets, draws.flips, 3)
    return cutmix(mixup(images, draws.kept), draws.boxes)


FUNCTIONS = {function.__name__: function for function in (mixed, cut, labelled, viewed, everything)}
"""

FRAMEWORKS = {
    "torch": """
import torch
from augment import *

def put(array):
    return torch.from_numpy(np.asarray(array))

def put_measures(statistics, dtype):
    return put_statistics(statistics, "cpu", getattr(torch, dtype))

def array(images):
    if images.ndim == 2:
        return images.numpy()
    assert images.is_contiguous(memory_format=torch.channels_last)
    return images.permute(0, 2, 3, 1).numpy()

MODES = {"eager": lambda function: function}
MORE = {"everything": {"compiled": torch.compile}}
""",
    "tensorflow": """
import tensorflow as tf
from augment import *

put = tf.constant
put_measures = put_statistics

def array(images):
    return images.numpy()

MODES = {"graph": tf.function}
EAGER = {"eager": lambda function: function}
COMPILED = {"compiled": lambda function: tf.function(function, jit_compile=True)}
MORE = dict.fromkeys(("mixed", "cut", "labelled", "viewed"), EAGER)
MORE["everything"] = EAGER | COMPILED
""",
    "jax": """
import jax
jax.config.update("jax_enable_x64", True)
from augment import *

put = jax.numpy.asarray
put_measures = put_statistics

def array(images):
    return np.asarray(images)

MODES = {"compiled": jax.jit}
EAGER = {"eager": lambda function: function}
MORE = dict.fromkeys(("mixed", "cut", "labelled", "viewed", "everything"), EAGER)
""",
}

MAIN = """
import hashlib, json, sys
from collections import namedtuple
from functools import partial
from importlib import import_module
from pathlib import Path
from data import Statistics, measure, synthetic

folder = Path(sys.argv[1])
found = {}

def digest(name, function, images, draws, statistics, rows=slice(None)):
    images = put(images[rows])
    draws = type(draws)(*(None if item is None else put(item) for item in draws))
    for dtype in ("float32", "float64"):
        for mode, compiler in (MODES | MORE.get(name, {})).items():
            batch = array(compiler(function)(images, draws, put_measures(statistics, dtype)))
            assert batch.dtype == ("float32" if name == "labelled" else dtype)
            digest = hashlib.sha256(np.ascontiguousarray(batch).tobytes()).hexdigest()
            found[f"{name} {dtype} {mode}"] = digest

with np.load(folder / "draws.npz") as file:
    draws = dict(file)
images = draws.pop("images")
statistics = Statistics(*(draws.pop(name) for name in ("mean", "scale", "directions")))
draws = namedtuple("Draws", draws)(**draws)
for name, function in FUNCTIONS.items():
    digest(name, function, images, draws, statistics)
for name, (channels, normalization) in json.loads((folder / "recipes.json").read_text()).items():
    module = import_module(name)
    recipe = module.Recipe()
    images = synthetic(40, classes=10, height=9, width=12, channels=channels).images
    statistics = measure([images], normalization, True)
    function = partial(module.training_images, recipe=recipe)
    draws = module.draw(1, len(images), recipe)
    digest(name, function, images, draws, statistics, draws.indices)
print(json.dumps(found))
"""


def recipes() -> list[tuple[int, str, str]]:
    """Return the distinct augmentations of the shipped specs, and more."""
    found = list(MIXED)
    for name in SPECS:
        spec = load_spec(name).spec
        augmentation = spec.train.augmentation.model_dump_json(exclude_defaults=True)
        found.append((spec.input.channels, spec.train.normalization, augmentation))
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def drawn() -> dict[str, NDArray[Any]]:
    images = synthetic(COUNT, classes=10, height=HEIGHT, width=WIDTH, channels=3).images
    statistics = measure([images], "channel_mean_std", True)
    assert statistics.directions is not None
    offsets, flips = crop_and_flip(0, 0, COUNT, 3, True)
    options: dict[str, Any] = {"area": (0.08, 1.0), "ratio": (0.75, 1.333), "flip": True}
    options |= {"shift": 0.3, "zoom": 0.2, "shear": 0.2, "rotation": 40}
    return {
        "images": images,
        "labels": np.arange(COUNT) * 7 % 10,
        "mean": statistics.mean,
        "scale": statistics.scale,
        "directions": statistics.directions,
        "offsets": offsets,
        "flips": flips,
        "maps": affine_maps(0, 0, COUNT, HEIGHT, WIDTH, **options),
        "shares": color_shares(0, 0, COUNT, 3, 0.1),
        "kept": mixup_shares(0, 0, COUNT, 0.4),
        "boxes": cutmix_boxes(0, 0, COUNT, HEIGHT, WIDTH, 1.0),
        "views": ten_crop_maps(HEIGHT, WIDTH, 6, 8, 5, 7),
    }


@pytest.fixture(scope="module")
def batches(
    drawn: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each batch in each installed framework, which all run at once."""
    temporary = tmp_path_factory.mktemp("batches")
    installed = [name for name in FRAMEWORKS if find_spec(name)]
    kinds, texts = {}, {}
    for number, case in enumerate(recipes()):
        path = temporary / f"case{number}.yaml"
        path.write_text(SPEC % case)
        texts[f"recipe{number}"] = render_files(load_spec(path), load_backend(installed[0]))
        kinds[f"recipe{number}"] = case[:2]
    processes = {}
    for name in installed:
        folder = temporary / name
        folder.mkdir()
        files = render_files(load_spec(temporary / "case0.yaml"), load_backend(name))
        assert files["recipe.py"] == texts["recipe0"]["recipe.py"]
        for file in (file for file in files if file.endswith(".py")):
            (folder / file).write_text(str(files[file]))
        for recipe, others in texts.items():
            (folder / f"{recipe}.py").write_text(str(others["recipe.py"]))
        (folder / "recipes.json").write_text(json.dumps(kinds))
        np.savez(folder / "draws.npz", **drawn)
        processes[name] = subprocess.Popen(
            [sys.executable, "-c", "import numpy as np" + FRAMEWORKS[name] + FUNCTIONS + MAIN, "."],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "JAX_PLATFORMS": "cpu",
                "OMP_NUM_THREADS": "1",
                "TF_CPP_MIN_LOG_LEVEL": "2",
            },
        )
    outputs = {name: process.communicate()[0] for name, process in processes.items()}
    assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(
        installed, 0
    )
    return {name: json.loads(output) for name, output in outputs.items()}


def test_batches_have_equal_bytes_in_every_framework_and_mode(
    batches: dict[str, dict[str, str]],
) -> None:
    digests: dict[str, dict[str, str]] = {}
    for framework, found in batches.items():
        for case, digest in found.items():
            recipe, dtype, mode = case.split()
            digests.setdefault(f"{recipe} {dtype}", {})[f"{framework} {mode}"] = digest
    assert len(digests) == 2 * (5 + len(recipes()))
    for case, modes in digests.items():
        assert len(set(modes.values())) == 1, f"{case}: {modes}"


def test_mixed_labels_are_those_of_the_reference(
    drawn: dict[str, NDArray[Any]], batches: dict[str, dict[str, str]]
) -> None:
    targets = mixed_labels(drawn["labels"], drawn["kept"], 10)
    digest = hashlib.sha256(targets.astype(np.float32).tobytes()).hexdigest()
    for found in batches.values():
        assert {found[case] for case in found if case.startswith("labelled ")} == {digest}


def test_batches_are_those_of_numpy(batches: dict[str, dict[str, str]]) -> None:
    """What is neither cropped nor warped is (images - mean) * scale, each rounded once."""
    plain = [case for case in recipes() if json.loads(case[2]) == {"pad": 0, "flip": False}]
    (channels, normalization, _) = plain[0]
    number = recipes().index(plain[0])
    images = synthetic(COUNT, classes=10, height=HEIGHT, width=WIDTH, channels=channels).images
    statistics: Statistics = measure([images], normalization, False)
    for dtype in (np.float32, np.float64):
        mean, scale = (statistics.mean * 255).astype(dtype), (statistics.scale / 255).astype(dtype)
        batch = (images[batch_indices(0, 1, 16, COUNT)] - mean) * scale
        digest = hashlib.sha256(batch.tobytes()).hexdigest()
        case = f"recipe{number} {np.dtype(dtype)} "
        made = [found[key] for found in batches.values() for key in found if key.startswith(case)]
        assert made == [digest] * len(batches)
