"""A folder with the images of CIFAR, Tiny ImageNet and ImageNet, in published layouts, but few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ranspec.runtime.archives import CIFAR
from tests.runtime.test_archives import write_cifar

CLASSES = 4
"""Of ImageNet, tiny or not."""


def write_images(folder: Path) -> Path:
    """Write at least 4 images to train on and 4 to test on of each."""
    for layouts in CIFAR.values():
        write_cifar(folder, layouts[0])
    home = folder / "tiny-imagenet-200"
    pixels = np.random.default_rng(0).integers(0, 256, (CLASSES, 64, 64, 3), dtype=np.uint8)
    names = [f"n{label:08}" for label in range(CLASSES)]
    for name, values in zip(names, pixels, strict=True):
        for index in range(3):
            _write(home / "train" / name / "images" / f"{name}_{index}.JPEG", values + index)
    lines = []
    for index, name in enumerate(names):
        _write(home / "val" / "images" / f"val_{index}.JPEG", pixels[-1 - index])
        lines.append(f"val_{index}.JPEG\t{name}\t0\t0\t63\t63\n")
    (home / "val" / "val_annotations.txt").write_text("".join(lines))
    for name, values in zip(names, pixels, strict=True):
        for split in ("train", "val"):
            _write(folder / split / name / f"{split}.JPEG", values.repeat(4, 0).repeat(4, 1))
    return folder


def _write(path: Path, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
