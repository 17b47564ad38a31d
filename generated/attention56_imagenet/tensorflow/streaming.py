"""Images that are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from images import Box, ImageFiles


@dataclass(frozen=True)
class StreamedDataset:
    """Image files with labels, int64 [N], the classes' names, and height and width, int32 [N, 2].

    `height`, `width` and `channels` are those that images are read with.
    """

    files: ImageFiles
    sizes: NDArray[np.int32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    height: int
    width: int
    channels: int

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: NDArray[np.int64]) -> StreamedDataset:
        """Return some of the samples."""
        return StreamedDataset(
            self.files.subset(indices),
            self.sizes[indices],
            self.labels[indices],
            self.classes,
            self.height,
            self.width,
            self.channels,
        )

    def read(
        self, indices: NDArray[np.int64], boxes: Sequence[Box] | None = None
    ) -> NDArray[np.uint8]:
        """Return images, uint8 [n, H, W, C], each resized from within its box of the whole image.

        Boxes are left, upper, right and lower edges in pixels; by default the largest centred ones.
        """
        size = (self.height, self.width, self.channels)
        images = np.empty((len(indices), *size), dtype=np.uint8)

        def read(position: int) -> None:
            box = None if boxes is None else boxes[position]
            images[position] = self.files.read(int(indices[position]), *size, box)

        with ThreadPoolExecutor() as pool:
            list(pool.map(read, range(len(indices))))
        return images
