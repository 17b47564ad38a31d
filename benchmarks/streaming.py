"""How fast images are decoded for training, beside what Pillow alone does in one thread.

`python benchmarks/streaming.py [THREADS] [FOLDER]` takes the JPEG files under a folder, or writes
200 of 500x375 pixels (photographs made of noise). Both cut the same random box out of each image
and resize it to 224x224 pixels; they take turns, so that whatever slows the machine slows both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ranspec.runtime.images import ImageFiles
from ranspec.runtime.sampling import batch_indices, crop_boxes
from ranspec.runtime.streaming import StreamedDataset, ahead, available_cores

SIZE, BATCH, STEPS, ROUNDS = 224, 64, 6, 7
FILES = 200


def write(folder: Path) -> None:
    """Write coloured noise of many scales, which takes about the bytes of a photograph."""
    generator = np.random.default_rng(0)
    for index in range(FILES):
        pixels = np.full((375, 500, 3), 128.0)
        for side in (3, 9, 27, 81, 243):
            coarse = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            layer = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
            pixels += (np.asarray(layer) - 128.0) / 3
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / f"{index:03}.jpg", quality=92
        )


def opened(folder: Path, threads: int) -> StreamedDataset:
    """Return the JPEG files under a folder as a dataset."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    names = [str(path.relative_to(folder)) for path in paths]
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    labels = np.zeros(len(names), dtype=np.int64)
    files = ImageFiles(folder, names)
    return StreamedDataset(
        files, np.array(sizes), labels, ("only",), SIZE, SIZE, 3, threads=threads
    )


def drawn(dataset: StreamedDataset, step: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the images of a step and their boxes."""
    indices = batch_indices(0, step, BATCH, len(dataset))
    sizes = dataset.sizes[indices]
    return indices, crop_boxes(0, step, sizes, aspect=1.0, area=(0.08, 1.0), ratio=(0.75, 4 / 3))


def with_pillow(dataset: StreamedDataset, steps: Sequence[int]) -> None:
    """Decode the images of steps with Pillow, in this thread."""
    for step in steps:
        for index, box in zip(*drawn(dataset, step), strict=True):
            with Image.open(dataset.files.path(int(index))) as image:
                resized = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=tuple(box))
            np.asarray(resized)


def with_stream(dataset: StreamedDataset, steps: Sequence[int]) -> None:
    """Decode the images of steps as a training run does."""
    with ahead(lambda step: dataset.read(*drawn(dataset, step)), steps) as batches:
        for _ in batches:
            pass


def measure(
    work: Callable[[StreamedDataset, Sequence[int]], None],
    dataset: StreamedDataset,
    steps: Sequence[int],
) -> tuple[float, float]:
    """Return images for each second, and for each second of a core."""
    clock, cores = time.perf_counter(), time.process_time()
    work(dataset, steps)
    count = BATCH * len(steps)
    return count / (time.perf_counter() - clock), count / (time.process_time() - cores)


def main(threads: int, folder: Path) -> None:
    """Print both figures for both, and the stream's share of Pillow's."""
    dataset = opened(folder, threads)
    mean = sum(dataset.files.path(index).stat().st_size for index in range(len(dataset)))
    print(f"{len(dataset)} files of {mean / len(dataset) / 1000:.0f} kB, {threads} threads")
    found: dict[str, list[tuple[float, float]]] = {"Pillow": [], "stream": []}
    for turn in range(ROUNDS + 1):
        steps = range(turn * STEPS, (turn + 1) * STEPS)
        pillow, stream = measure(with_pillow, dataset, steps), measure(with_stream, dataset, steps)
        if turn:
            found["Pillow"].append(pillow)
            found["stream"].append(stream)
    for name, values in found.items():
        wall, core = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name}: {wall:.0f} images a second, {core:.0f} for each second of a core")
    shares = [s[1] / p[1] for p, s in zip(*found.values(), strict=True)]
    print(f"of Pillow's for each core: {100 * statistics.median(shares):.0f} %")


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else available_cores()
    if len(sys.argv) > 2:
        main(threads, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary))
            main(threads, Path(temporary))
