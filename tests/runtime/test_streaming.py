"""Batches are made ahead in order, and streamed images are those of their files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ranspec.runtime.data import DataError
from ranspec.runtime.images import ImageFiles
from ranspec.runtime.sampling import batch_indices, crop_boxes
from ranspec.runtime.streaming import StreamedDataset, ahead, rows, rows_together


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("depth", [1, 3])
def test_results_come_in_order_whichever_is_made_first(threads: int, depth: int) -> None:
    delays = np.random.default_rng(0).uniform(0, 0.01, 20)

    def make(step: int) -> int:
        time.sleep(delays[step])
        return step * step

    assert list(ahead(make, range(20), depth=depth, threads=threads)) == [n * n for n in range(20)]
    assert not own_threads()


def test_no_more_than_depth_results_are_made_ahead_of_the_one_in_use() -> None:
    begun: list[int] = []
    with ahead(begun.append, count(), depth=3) as made:
        for _ in range(5):
            next(made)
        while len(begun) < 8:
            time.sleep(0.01)
        time.sleep(0.05)
        assert begun == list(range(8))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_in_the_place_of_its_result_and_ends_the_iteration(threads: int) -> None:
    def make(step: int) -> int:
        if step == 4:
            raise DataError("the fifth")
        return step

    made = ahead(make, range(10), depth=4, threads=threads)
    assert [next(made) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="the fifth"):
        next(made)
    assert list(made) == []
    assert not own_threads()


def test_an_error_of_the_steps_themselves_is_raised() -> None:
    def steps() -> object:
        yield 0
        raise DataError("no more steps")

    with pytest.raises(DataError, match="no more steps"):
        list(ahead(lambda step: step, steps(), depth=1))  # type: ignore[arg-type]
    assert not own_threads()


def test_leaving_early_ends_the_threads_without_making_what_is_left() -> None:
    begun: list[int] = []

    def make(step: int) -> int:
        begun.append(step)
        time.sleep(0.2)
        return step

    with ahead(make, range(1000), depth=100, threads=2) as made:
        next(made)
    assert len(begun) <= 5
    assert not own_threads()
    for _ in ahead(make, range(1000), depth=100, threads=2):
        break
    assert not own_threads()


def test_ctrl_c_ends_a_waiting_process_at_once() -> None:
    script = (
        "import os, signal, time\n"
        "from ranspec.runtime.streaming import ahead\n"
        # A child of a shell's background job would not hear it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def make(step):\n"
        # One write: lines of two threads must not run into one another.
        "    os.write(1, f'{step}\\n'.encode())\n"
        "    time.sleep(0.2 if step else 0)\n"
        "try:\n"
        "    for _ in ahead(make, range(10**6), depth=50, threads=2): pass\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(line == "3\n" for line in process.stdout)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    made, last = output.splitlines()[:-1], output.splitlines()[-1]
    assert last == "interrupted"
    assert len(made) < 50


class Draws(NamedTuple):
    indices: NDArray[np.int32]
    offsets: NDArray[np.int32]
    seed: int


@pytest.mark.parametrize(
    ("recipe", "together"),
    [
        ({}, 1),
        ({"micro_batches": 3}, 3),
        ({"mixup": 0.2}, 2),
        ({"mixup": 0.0}, 1),
        ({"cutmix": 1.0, "micro_batches": 3}, 6),
    ],
)
def test_parts_and_pairs_of_a_batch_stay_on_one_device(
    recipe: dict[str, float], together: int
) -> None:
    assert rows_together(SimpleNamespace(**recipe)) == together


def test_each_process_takes_its_own_rows_of_the_draws() -> None:
    draws = Draws(np.arange(12, dtype=np.int32), np.arange(24, dtype=np.int32).reshape(12, 2), 7)
    parts = [rows(draws, process, 3) for process in range(3)]
    assert [part.seed for part in parts] == [7, 7, 7]
    assert parts[1].indices.tolist() == [4, 5, 6, 7]
    for field in ("indices", "offsets"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        assert np.array_equal(joined, getattr(draws, field))
    assert rows(draws, 0, 1).indices.tolist() == draws.indices.tolist()
    with pytest.raises(ValueError, match="12 rows for 5 processes"):
        rows(draws, 0, 5)


def photographs(folder: Path, number: int, height: int = 375, width: int = 500) -> StreamedDataset:
    """Write smooth colour images with noise, as JPEG files of a photograph's size."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for index in range(number):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = generator.integers(-30, 31, (height, width, 3))
        pixels = (np.asarray(image).astype(int) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=90)
    return streamed(folder, [f"{index}.jpg" for index in range(number)], (height, width))


def streamed(folder: Path, names: list[str], size: tuple[int, int]) -> StreamedDataset:
    sizes = np.tile(size, (len(names), 1))
    labels = np.arange(len(names), dtype=np.int64) % 2
    return StreamedDataset(
        ImageFiles(folder, names), sizes, labels, ("a", "b"), height=24, width=32, channels=3
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StreamedDataset:
    return photographs(tmp_path_factory.mktemp("photographs"), 7)


def with_threads(dataset: StreamedDataset, threads: int, share: float = 1.0) -> StreamedDataset:
    return StreamedDataset(
        dataset.files,
        dataset.sizes,
        dataset.labels,
        dataset.classes,
        dataset.height,
        dataset.width,
        dataset.channels,
        share,
        threads,
    )


def test_pixels_are_those_of_the_box_in_the_whole_image(dataset: StreamedDataset) -> None:
    indices = np.array([5, 0, 5])
    boxes = np.array([[0, 0, 500, 375], [13, 200, 77, 233], [499, 374, 500, 375]])
    images = dataset.read(indices, boxes)
    assert images.dtype == np.uint8
    for image, index, box in zip(images, indices, boxes.tolist(), strict=True):
        with Image.open(dataset.files.path(index)) as whole:
            expected = whole.resize((32, 24), Image.Resampling.BILINEAR, box=tuple(box))
        assert np.array_equal(image, np.asarray(expected))


def test_without_boxes_an_image_is_a_share_of_its_centre(dataset: StreamedDataset) -> None:
    with Image.open(dataset.files.path(3)) as whole:
        expected = [
            np.asarray(whole.resize((32, 24), Image.Resampling.BILINEAR, box=box))
            for box in ((0, 0, 500, 375), (62.5, 46.875, 437.5, 328.125))
        ]
    assert np.array_equal(dataset.read(np.array([3]))[0], expected[0])
    assert np.array_equal(with_threads(dataset, 2, 0.75).read(np.array([3]))[0], expected[1])


@pytest.mark.parametrize("threads", [1, 2, 5, 40])
def test_pixels_do_not_depend_on_the_number_of_threads(
    threads: int, dataset: StreamedDataset
) -> None:
    indices = np.random.default_rng(1).integers(0, 7, 30)
    options = {"aspect": 4 / 3, "area": (0.08, 1.0), "ratio": (0.75, 1.333)}
    boxes = crop_boxes(0, 0, dataset.sizes[indices], **options)
    one = with_threads(dataset, 1).read(indices, boxes)
    assert np.array_equal(with_threads(dataset, threads).read(indices, boxes), one)
    assert len({image.tobytes() for image in one}) == 30


def test_processes_decode_their_own_rows_of_the_whole_batch(dataset: StreamedDataset) -> None:
    indices = batch_indices(0, 3, 6, len(dataset)).astype(np.int32)
    sizes = dataset.sizes[indices]
    offsets = crop_boxes(0, 3, sizes, aspect=4 / 3, area=(0.08, 1.0), ratio=(0.75, 1.333))
    draws = Draws(indices, offsets, 0)
    parts = [rows(draws, process, 3) for process in range(3)]
    images = [dataset.read(part.indices, part.offsets) for part in parts]
    assert [len(part) for part in images] == [2, 2, 2]
    assert np.array_equal(np.concatenate(images), dataset.read(indices, offsets))


def test_batches_visit_all_images_in_order(dataset: StreamedDataset) -> None:
    batches = list(dataset.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), dataset.read(np.arange(7)))
    assert not own_threads()


def test_a_split_parts_the_files_with_their_labels(dataset: StreamedDataset) -> None:
    rest, chosen = dataset.split(np.array([1, 4]))
    assert (len(rest), len(chosen)) == (5, 2)
    assert np.array_equal(chosen.read(np.array([0, 1])), dataset.read(np.array([1, 4])))
    assert rest.labels.tolist() == dataset.labels[[0, 2, 3, 5, 6]].tolist()
    with pytest.raises(DataError, match="a batch of 3 images, but only 2 to train on"):
        chosen.check_batch_size(3)


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_image_without_pixels_is_named(threads: int, tmp_path: Path) -> None:
    whole = photographs(tmp_path, 6)
    for index in (2, 4):
        file = tmp_path / f"{index}.jpg"
        file.write_bytes(file.read_bytes()[:3000])
    read = with_threads(whole, threads).read
    with pytest.raises(DataError, match=r"2\.jpg: not a readable image"):
        read(np.array([0, 1, 2, 3, 4, 5]))
    with pytest.raises(DataError, match=r"4\.jpg: not a readable image"):
        read(np.array([4, 2]))


def test_orientation_in_exif_is_not_applied(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # To be shown turned by a quarter.
    Image.fromarray(pixels).save(tmp_path / "0.jpg")
    Image.fromarray(pixels).save(tmp_path / "1.jpg", exif=turned)
    images = streamed(tmp_path, ["0.jpg", "1.jpg"], (24, 32)).read(np.array([0, 1]))
    assert np.array_equal(images[0], images[1])


def test_grey_files_are_read_in_colour(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    images = streamed(tmp_path, ["grey.png"], (24, 32)).read(np.array([0]))
    assert (images[0] == pixels[..., None]).all()


LIMITED = """
import resource, sys, threading
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from ranspec.runtime.images import ImageFiles
from ranspec.runtime.sampling import batch_indices, crop_boxes
from ranspec.runtime.streaming import StreamedDataset, ahead

threading.stack_size(2**20)  # 8 MiB by default, and all of it counts.
folder, number, allowed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
dataset = StreamedDataset(
    ImageFiles(folder, [f"{index}.jpg" for index in range(number)]),
    np.tile((375, 500), (number, 1)), np.zeros(number, dtype=np.int64), ("only",),
    height=128, width=128, channels=3, threads=2,
)

def resident(name):
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[name].split()[0]) * 1024

def make(step):
    indices = batch_indices(0, step, 16, number)
    boxes = crop_boxes(0, step, dataset.sizes[indices], aspect=1, area=(.08, 1), ratio=(.75, 1.333))
    return dataset.read(indices, boxes)

make(0)
limit = resident("VmData") + allowed
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
after = []
with ahead(make, range(3 * (number // 16))) as batches:
    for step, batch in enumerate(batches, 1):
        if step % (number // 16) == 0:
            after.append(resident("VmRSS"))
print(*after)
"""


def test_memory_stays_flat_over_epochs_of_more_images_than_it_holds(tmp_path: Path) -> None:
    """Both the files, and their pixels at the network's size, are larger than what is allowed."""
    original = photographs(tmp_path, 8)
    number, allowed = 320, 14_000_000
    for index in range(8, number):
        (tmp_path / f"{index}.jpg").hardlink_to(original.files.path(index % 8))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > allowed
    assert number * 128 * 128 * 3 > allowed
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path, str(number), str(allowed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first, *later = map(int, done.stdout.split())
    assert len(later) == 2
    assert max(later) - first < 4_000_000
