"""Augmented batches have equal bytes in every framework, eager and compiled, in both precisions."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.runtime.data import principal_colors, statistics, synthetic
from ranspec.runtime.sampling import (
    affine_maps,
    color_shares,
    crop_and_flip,
    cutmix_boxes,
    mixup_shares,
    ten_crop_maps,
)

BACKENDS = Path(__file__).parents[2] / "backends"
COUNT, HEIGHT, WIDTH = 16, 9, 12

RECIPES = """
def plain(images, draws, statistics):
    return normalize(images, statistics)


def cropped(images, draws, statistics):
    images = normalize(images, statistics)
    return crop_and_flip_images(images, draws["offsets"], draws["flips"], 3)


def warped(images, draws, statistics):
    return normalize(warp(images, draws["maps"]), statistics)


def colored(images, draws, statistics):
    return normalize(shift_colors(images, draws["shares"], statistics), statistics)


def mixed(images, draws, statistics):
    return mixup(cropped(images, draws, statistics), draws["kept"])


def cut(images, draws, statistics):
    return cutmix(cropped(images, draws, statistics), draws["boxes"])


def everything(images, draws, statistics):
    images = warp(images, draws["maps"])
    images = shift_colors(images, draws["shares"], statistics)
    images = normalize(images, statistics)
    images = crop_and_flip_images(images, draws["offsets"], draws["flips"], 3)
    return cutmix(mixup(images, draws["kept"]), draws["boxes"])


def ten_cropped(images, draws, statistics):
    return normalize(warp(images, draws["views"][3:4], (9, 12)), statistics)


RECIPES = [plain, cropped, warped, colored, mixed, cut, everything, ten_cropped]
"""

FRAMEWORKS = {
    "torch": """
import torch
from ranspec_torch.runtime.augment import *

def put(array):
    return torch.from_numpy(array)

def measures(statistics, dtype):
    return put_statistics(statistics, "cpu", getattr(torch, dtype))

def array(images):
    assert images.is_contiguous(memory_format=torch.channels_last)
    return images.permute(0, 2, 3, 1).numpy()

COMPILERS = {"eager": lambda function: function}
COMPILED = {"compiled": torch.compile}
""",
    "tensorflow": """
import tensorflow as tf
from ranspec_tensorflow.runtime.augment import *

put = tf.constant
measures = put_statistics

def array(images):
    return images.numpy()

COMPILERS = {"eager": lambda function: function, "graph": tf.function}
COMPILED = {"compiled": lambda function: tf.function(function, jit_compile=True)}
""",
    "jax": """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from ranspec_jax.runtime.augment import *

put = jax.numpy.asarray
measures = put_statistics

def array(images):
    return np.asarray(images)

COMPILERS = {"eager": lambda function: function}
COMPILED = {"compiled": jax.jit}
""",
}

MAIN = """
import hashlib, json, sys
from types import SimpleNamespace
import numpy as np

with np.load(sys.argv[1]) as file:
    draws = dict(file)
images = put(draws.pop("images"))
host = SimpleNamespace(**{name: draws.pop(name) for name in ("mean", "scale", "directions")})
draws = {name: put(value) for name, value in draws.items()}
found = {}
for dtype in ("float32", "float64"):
    for recipe in RECIPES:
        compilers = COMPILERS | (COMPILED if recipe is everything else {})
        for name, compiler in compilers.items():
            batch = array(compiler(recipe)(images, draws, measures(host, dtype)))
            assert batch.dtype == dtype, batch.dtype
            digest = hashlib.sha256(np.ascontiguousarray(batch).tobytes()).hexdigest()
            found[f"{recipe.__name__} {dtype} {name}"] = digest
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[Any]]:
    images = synthetic(COUNT, classes=10, height=HEIGHT, width=WIDTH, channels=3).images
    mean, scale = statistics(images, "channel_mean_std")
    offsets, flips = crop_and_flip(0, 0, COUNT, 3, True)
    options: dict[str, Any] = {"area": (0.08, 1.0), "ratio": (0.75, 1.333), "flip": True}
    options |= {"shift": 0.3, "zoom": 0.2, "shear": 0.2, "rotation": 40}
    return {
        "images": images,
        "mean": mean,
        "scale": scale,
        "directions": principal_colors(images),
        "offsets": offsets,
        "flips": flips,
        "maps": affine_maps(0, 0, COUNT, HEIGHT, WIDTH, **options),
        "shares": color_shares(0, 0, COUNT, 3, 0.1),
        "kept": mixup_shares(0, 0, COUNT, 0.4),
        "boxes": cutmix_boxes(0, 0, COUNT, HEIGHT, WIDTH, 1.0),
        "views": ten_crop_maps(HEIGHT, WIDTH, 7, 8, HEIGHT, WIDTH),
    }


@pytest.fixture(scope="module")
def batches(
    drawn: dict[str, NDArray[Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each batch in each installed framework, which all run at once."""
    file = tmp_path_factory.mktemp("draws") / "draws.npz"
    np.savez(file, **drawn)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(BACKENDS),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", preamble + RECIPES + MAIN, file],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name, preamble in FRAMEWORKS.items()
        if find_spec(name)
    }
    found = {}
    for name, process in processes.items():
        output, _ = process.communicate()
        assert process.returncode == 0, name
        found[name] = json.loads(output)
    return found


def test_batches_have_equal_bytes_in_every_framework_and_mode(
    batches: dict[str, dict[str, str]],
) -> None:
    digests: dict[str, dict[str, str]] = {}
    for framework, found in batches.items():
        for case, digest in found.items():
            recipe, dtype, mode = case.split()
            digests.setdefault(f"{recipe} {dtype}", {})[f"{framework} {mode}"] = digest
    assert len(digests) == 16
    for case, modes in digests.items():
        assert len(set(modes.values())) == 1, f"{case}: {modes}"


def test_batches_are_those_of_numpy(
    drawn: dict[str, NDArray[Any]], batches: dict[str, dict[str, str]]
) -> None:
    for dtype in (np.float32, np.float64):
        mean, scale = (drawn["mean"] * 255).astype(dtype), (drawn["scale"] / 255).astype(dtype)
        digest = hashlib.sha256(((drawn["images"] - mean) * scale).tobytes()).hexdigest()
        for found in batches.values():
            assert found[f"plain {np.dtype(dtype)} eager"] == digest
