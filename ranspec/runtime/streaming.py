"""Batches made ahead of the step that takes them, and images decoded when they are asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import lcm
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranspec.runtime.images import DataError, ImageFiles, centred

Made = TypeVar("Made")
Draws = TypeVar("Draws", bound=tuple[Any, ...])


def ahead(
    make: Callable[[int], Made], steps: Iterable[int], *, depth: int = 2, threads: int = 1
) -> Ahead[Made]:
    """Return an iterator of `make(step)` for each step, in order, made ahead in threads.

    Up to `depth` results wait, or are being made, beside the one in use. What `make` raises is
    raised in the place of its result, and ends the iteration. Leaving `with`, an error and the last
    step end the threads; a result that is being made is waited for, others are not begun.
    """
    return Ahead(make, steps, depth, threads)


class Ahead(Iterator[Made], Generic[Made]):
    """What `ahead` returns."""

    def __init__(
        self, make: Callable[[int], Made], steps: Iterable[int], depth: int, threads: int
    ) -> None:
        self._make, self._steps, self._depth = make, iter(steps), depth
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
        self._pending: deque[Future[Made]] = deque()
        self._fill()

    def __next__(self) -> Made:
        if not self._pending:
            self.close()
            raise StopIteration
        try:
            made = self._pending.popleft().result()
            self._fill()
        except BaseException:
            self.close()
            raise
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration and its threads."""
        self._steps = iter(())
        self._pending.clear()
        self._pool.shutdown(cancel_futures=True)

    def _fill(self) -> None:
        while len(self._pending) < self._depth:
            for step in self._steps:
                self._pending.append(self._pool.submit(self._make, step))
                break
            else:
                return


def rows(draws: Draws, process: int, processes: int) -> Draws:
    """Return what one of many processes takes of the draws for all of them, a named tuple.

    Arrays are cut to the process's share of their rows; all else is common to the processes.
    """

    def cut(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        count, rest = divmod(len(value), processes)
        if rest:
            raise ValueError(f"{len(value)} rows for {processes} processes")
        return value[process * count : (process + 1) * count]

    return type(draws)(*map(cut, draws))


def rows_together(settings: Any) -> int:
    """Return of how many rows each device's share of a batch has to be a multiple.

    They are cut into parts whose gradients are added up, and mixed in pairs.
    """
    parts = getattr(settings, "micro_batches", 1)
    mixed = getattr(settings, "mixup", 0) or getattr(settings, "cutmix", 0)
    return lcm(parts, 2 if mixed else 1)


def available_cores() -> int:
    """Return how many of the machine's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class StreamedDataset:
    """Image files with labels, int64 [N], and the classes' names, decoded when they are asked for.

    `sizes`, int [N, 2], are height and width of each image as its file has it. By default an image
    is a `share` of the largest centred box of the network's aspect ratio: 0.875 is what lies within
    224 of 256 pixels.
    """

    files: ImageFiles
    sizes: NDArray[np.integer[Any]]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    share: float = 1.0
    threads: int = field(default_factory=available_cores)

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self, indices: NDArray[np.integer[Any]], boxes: NDArray[np.integer[Any]] | None = None
    ) -> NDArray[np.uint8]:
        """Decode images, cut out a box of each, resize it: uint8 [n, H, W, C].

        Boxes [n, 4] are left, upper, right and lower edge in the pixels of the file. The pixels do
        not depend on the number of threads. Raises DataError for the first image without pixels.
        """
        images = np.empty((len(indices), self.height, self.width, self.channels), dtype=np.uint8)

        def decode(place: int) -> None:
            index = int(indices[place])
            if boxes is None:
                height, width = map(int, self.sizes[index])
                box = centred(height, width, self.width / self.height, self.share)
            else:
                left, upper, right, lower = map(float, boxes[place])
                box = left, upper, right, lower
            images[place] = self.files.read(index, self.height, self.width, self.channels, box)

        places = range(len(indices))
        threads = min(self.threads, len(places))
        if threads <= 1:
            for place in places:
                decode(place)
        else:
            with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
                for _ in pool.map(decode, places):
                    pass
        return images

    def batches(self, size: int) -> Ahead[NDArray[np.uint8]]:
        """Return an iterator of all images in order, `size` at a time; the last may be fewer."""

        def make(start: int) -> NDArray[np.uint8]:
            return self.read(np.arange(start, min(start + size, len(self))))

        return ahead(make, range(0, len(self), size))

    def split(self, held_out: NDArray[np.int64]) -> tuple[StreamedDataset, StreamedDataset]:
        """Return the other samples, and those held out."""
        others = np.delete(np.arange(len(self)), held_out)
        rest, chosen = (
            replace(
                self,
                files=self.files.subset(part),
                sizes=self.sizes[part],
                labels=self.labels[part],
            )
            for part in (others, held_out)
        )
        return rest, chosen

    def check_batch_size(self, batch_size: int) -> None:
        """Raise DataError if there are fewer images than a batch has."""
        if batch_size > len(self):
            raise DataError(f"a batch of {batch_size} images, but only {len(self)} to train on")
