"""Numbers as colours, of a map that is perceptually even, and over images."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ranspec.ir.operation import Array

COLORS = "viridis"
"""The colour map of matplotlib: even in lightness, and for colour-blind eyes too."""
LEVELS = 256
Range = tuple[float, float]
"""The least and the largest number; all between have a colour."""


@cache
def palette() -> bytes:
    """Return the colours of all levels, three bytes each."""
    import matplotlib
    import numpy as np

    colors = matplotlib.colormaps[COLORS](np.arange(LEVELS), bytes=True)
    return bytes(colors[:, :3].tobytes())


def value_range(*maps: Array) -> Range:
    """Return the least and the largest number of some maps."""
    return min(float(item.min()) for item in maps), max(float(item.max()) for item in maps)


def levels(values: Array, limits: Range) -> NDArray[np.uint8]:
    """Return the level of each number, from 0 at the least to 255 at the largest.

    Where all numbers are the same, it is that of the middle.
    """
    import numpy as np

    low, high = limits
    if high <= low:
        return np.full(values.shape, LEVELS // 2, dtype=np.uint8)
    shares = (values.astype(np.float64) - low) / (high - low)
    rounded = np.rint(shares.clip(0, 1) * (LEVELS - 1))
    return np.asarray(rounded, dtype=np.uint8)


def colored(values: Array, limits: Range) -> Image:
    """Return a map (H, W) as an image with a palette, a pixel for each number."""
    from PIL import Image

    image = Image.fromarray(levels(values, limits))
    image.putpalette(palette())
    return image


def photograph(values: Array) -> Image:
    """Return an image [H, W, C] of 0..255 in RGB."""
    import numpy as np
    from PIL import Image

    pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return image.convert("RGB")


def overlaid(image: Image, values: Array, limits: Range, opacity: float) -> Image:
    """Draw a map (H, W) over an image in grey, enlarged to its size bilinearly."""
    import numpy as np
    from PIL import Image as images

    numbers = images.fromarray(values.astype(np.float32))
    enlarged = np.asarray(numbers.resize(image.size, images.Resampling.BILINEAR))
    return images.blend(grey(image), colored(enlarged, limits).convert("RGB"), opacity)


def grey(image: Image) -> Image:
    """Return an image without colours of its own, which a map's would be taken for."""
    return image.convert("L").convert("RGB")
