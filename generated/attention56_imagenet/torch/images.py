"""Image files: which are usable, and their pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
MODES = {1: "L", 3: "RGB"}
PLAIN = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
"""Modes whose pixels have 8 bits a channel, or fewer, and no alpha."""
ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
LEAST_SIDE = 4
"""Pixels of height and width: what is smaller marks a place, and shows nothing."""

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge in pixels."""


class DataError(Exception):
    """A dataset cannot be used; the message says why."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files under a folder, or images that lie within files of it.

    `places`, int64 [N, 2], are first byte and length of each image in its file; None if each has
    a file of its own.
    """

    folder: Path
    names: Sequence[str]
    places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self.folder / self.names[index]

    def label(self, index: int) -> str:
        """Return what messages call an image."""
        if self.places is None:
            return str(self.path(index))
        return f"{self.path(index)} (at byte {self.places[index, 0]})"

    def content(self, index: int) -> bytes:
        """Return the bytes of an image; raise DataError if its file cannot be read."""
        try:
            with self.path(index).open("rb") as file:
                if self.places is None:
                    return file.read()
                file.seek(self.places[index, 0], os.SEEK_SET)
                return file.read(self.places[index, 1])
        except OSError as error:
            raise DataError(f"{self.label(index)}: {error.strerror or error}") from None

    def read(
        self, index: int, height: int, width: int, channels: int, box: Box | None = None
    ) -> NDArray[np.uint8]:
        """Return the pixels of an image, uint8 [H, W, C]; raise DataError if it has none.

        Within `box`, by default the largest centred one of the same aspect ratio, it is resized.
        """
        content = self.content(index)
        try:
            return decode(content, height, width, channels, box)
        except DataError as error:
            raise DataError(f"{self.label(index)}: {error}") from None

    def subset(self, indices: NDArray[np.int64]) -> ImageFiles:
        """Return some of the images."""
        places = None if self.places is None else self.places[indices]
        return ImageFiles(self.folder, [self.names[index] for index in indices], places)


def decode(
    content: bytes, height: int, width: int, channels: int, box: Box | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of an image file's bytes, as `ImageFiles.read` does."""
    with _opened(content) as image:
        return fit(_opaque(image), height, width, channels, box)


def check(content: bytes) -> tuple[int, int]:
    """Return height and width of an image file; raise DataError where `decode` would.

    It takes less time: JPEG is decoded at an eighth of its size.
    """
    with _opened(content) as image:
        height, width = image.height, image.width
        image.draft(None, (1, 1))
        _opaque(image).load()
        return height, width


def fit(
    image: Image, height: int, width: int, channels: int, box: Box | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of an opened image, as `ImageFiles.read` does."""
    from PIL.Image import Resampling

    mode = MODES[channels]
    converted = image if image.mode == mode else image.convert(mode)
    box = centred(converted.height, converted.width, width / height) if box is None else box
    whole = (0, 0, converted.width, converted.height)
    if converted.size != (width, height) or box != whole:
        converted = converted.resize((width, height), Resampling.BILINEAR, box=box)
    return np.asarray(converted, dtype=np.uint8).reshape(height, width, channels)


def centred(height: int, width: int, ratio: float, share: float = 1.0) -> Box:
    """Return the largest centred box of a `ratio` of width to height, shrunk to a `share` of it."""
    across = min(width, height * ratio)
    down = min(height, width / ratio)
    left, upper = (width - across * share) / 2, (height - down * share) / 2
    return left, upper, left + across * share, upper + down * share


@contextmanager
def _opened(content: bytes) -> Iterator[Image]:
    """Yield an image whose header is that of a usable one; raise DataError for all others."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_header(image)
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        reason = "of no known format" if content else "empty file"
        raise DataError(f"not a readable image ({reason})") from None
    except Exception as error:  # A damaged file makes Pillow's decoders raise errors of any kind.
        reason = str(error) or type(error).__name__
        raise DataError(f"not a readable image ({reason})") from None


def _check_header(image: Image) -> None:
    if image.mode not in PLAIN | ALPHA:
        raise DataError(f"not 8 bits a channel (mode {image.mode})")
    if min(image.size) < LEAST_SIDE:
        raise DataError(f"only {image.height}x{image.width} pixels")
    # Cameras append previews to a JPEG file, which is then called MPO.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{frames} frames, where one is expected")


def _opaque(image: Image) -> Image:
    """Return an image without its alpha channel; raise DataError if pixels are transparent."""
    if image.mode not in ALPHA and "transparency" not in image.info:
        return image
    converted = image.convert("RGBA")
    if converted.getchannel("A").getextrema() != (255, 255):
        raise DataError("transparent pixels, whose colour depends on what lies behind")
    return converted.convert("RGB")
