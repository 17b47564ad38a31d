"""What a network is shown: images of files or tests, as the recipe's evaluation has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec.errors import RanspecError
from ranspec.spec.model import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ranspec.ir.operation import Array
    from ranspec.runtime.data import DataOptions, DataSets, Statistics

    Pixels = NDArray[np.uint8]
    """Images [N, H, W, C] of the input's size."""

UNIT_BITS = 16
UNIT = 1 << UNIT_BITS
"""Maps count in these shares of a pixel."""


class InputError(RanspecError):
    """Images cannot be shown to a network; the message says why."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images by name, [N, H, W, C] of 0..255: the crop that the network is shown.

    float32, for a crop may lie between pixels.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]


def read_images(spec: Spec, paths: Sequence[Path]) -> Images:
    """Read image files as a run reads those that it is tested on.

    Raises `DataError` where one is missing or is no usable image, `InputError` where the network
    takes no images, or there is nothing to read them with.
    """
    import numpy as np

    from ranspec.runtime.images import ImageFiles

    require_pillow()
    size = _size(spec)
    pixels = [ImageFiles(path.parent, [path.name]).read(0, *size) for path in paths]
    return Images(tuple(path.name for path in paths), _crop(np.stack(pixels), spec))


def test_images(spec: Spec, data: DataSets, count: int | None) -> Images:
    """Return images of the test set, evenly spaced if not all of them."""
    import numpy as np

    total = len(data.test)
    count = total if count is None else min(count, total)
    indices = np.arange(count) * total // count
    return Images(tuple(map(str, indices)), _crop(data.test.read(indices), spec))


def test_data(spec: Spec, options: DataOptions, statistics: Statistics | None) -> DataSets:
    """Read the images that a run of the spec is tested on; raise `DataError` where it cannot.

    `statistics`, if they are not given, are measured of those that it is trained on.
    """
    from ranspec.runtime.data import load_data

    require_pillow()
    height, width, channels = _size(spec)
    recipe = spec.train
    if recipe.data == "digits" and options.data_dir is None:
        require("sklearn", "scikit-learn", extra="data")
    return load_data(
        recipe.data,
        options,
        height=height,
        width=width,
        channels=channels,
        classes=spec.classes,
        normalization=recipe.normalization,
        validation=recipe.validation,
        seed=recipe.seed,
        statistics=statistics,
        training=False,
    )


def find_statistics(
    spec: Spec, known: Statistics | None, options: DataOptions, images: Images
) -> tuple[Statistics, bool]:
    """Return what normalises images, and whether it is the training set's, as it should be.

    They are `known` from weights, or measured as a run does. Without the training set's images
    they are of the images themselves.
    """
    if known is not None:
        return known, True
    normalized = spec.train.normalization != "unit"
    if normalized and options.data_dir is None and spec.train.data != "digits":
        return own_statistics(spec, images), False
    if normalized:
        return test_data(spec, options, None).statistics, True
    return own_statistics(spec, images), True


def own_statistics(spec: Spec, images: Images) -> Statistics:
    """Return statistics in place of the training set's: those of each channel of the images."""
    import numpy as np

    from ranspec.runtime.data import Statistics, measure

    chunk = np.rint(images.values).astype(np.uint8)
    # Of few images, what is left of each without their mean image is nothing to look at.
    kind = "channel_mean_std" if spec.train.normalization != "unit" else "unit"
    found = measure([chunk], kind, colors=False)
    scaled = spec.train.normalization != "pixel_mean"
    return found if scaled else Statistics(found.mean, np.ones_like(found.scale))


def network_input(images: Images, statistics: Statistics, dtype: Any) -> Array:
    """Return images as the network takes them, (N, C, H, W), normalised in `dtype`."""
    import numpy as np

    allowed = (images.values.shape[1:], (1, 1, images.values.shape[3]))
    if statistics.mean.shape not in allowed or statistics.scale.shape not in allowed:
        raise InputError(
            f"the weights' statistics are of images of {list(statistics.mean.shape)}, "
            f"the network takes {list(allowed[0])}"
        )
    # As generated code does: numbers of 0..255, and statistics rounded to the type of the network.
    mean, scale = (statistics.mean * 255).astype(dtype), (statistics.scale / 255).astype(dtype)
    normalized: Array = (images.values.astype(dtype) - mean) * scale
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))


def require_pillow() -> None:
    """Raise `InputError` where Pillow is not installed."""
    require("PIL", "pillow")


def require(module: str, name: str, extra: str = "pictures") -> None:
    """Raise `InputError` where a library that pictures need is not installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise InputError(
            f'{name} is not installed, which this needs: pip install "ranspec[{extra}]"'
        )


def _size(spec: Spec) -> tuple[int, int, int]:
    from ranspec.runtime.images import MODES

    if spec.input.channels not in MODES:
        raise InputError(
            f"{spec.name} takes {spec.input.channels} channels; image files have 1 or 3"
        )
    return spec.input.height, spec.input.width, spec.input.channels


def _crop(pixels: Pixels, spec: Spec) -> NDArray[np.float32]:
    """Return what the network is shown of images: the centre crop of those that it is tested by."""
    import numpy as np

    from ranspec.codegen.training import CENTRE
    from ranspec.runtime.sampling import ten_crop_maps

    share = spec.train.test.size
    if share == 1:
        return pixels.astype(np.float32)
    height, width = pixels.shape[1:3]
    crop_height: Any = share * height  # As in generated code, not always whole.
    crop_width: Any = share * width
    maps = ten_crop_maps(height, width, crop_height, crop_width, height, width)
    (down, _, top), (_, across, left) = maps[CENTRE]
    return sampled(pixels, (int(down), int(top)), (int(across), int(left)))


def sampled(pixels: Pixels, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.float32]:
    """Sample images bilinearly at other rows and columns, as generated code does, bit for bit.

    Each is a step and a start, in units of 2**-16 pixels; the result is rounded to these.
    """
    import numpy as np

    top, bottom, down = _neighbours(rows, pixels.shape[1])
    left, right, across = _neighbours(columns, pixels.shape[2])
    values = pixels.astype(np.float32)
    lines = values[:, :, left] * np.float32(UNIT) + across[:, None] * (
        values[:, :, right] - values[:, :, left]
    )
    above, below = lines[:, top], lines[:, bottom]
    blended = above + np.rint((below - above) * (down[:, None, None] / np.float32(UNIT)))
    return np.asarray(blended / np.float32(UNIT), dtype=np.float32)


def _neighbours(
    line: tuple[int, int], size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the pixels before and after the points of a line, and the share of the latter."""
    import numpy as np

    step, start = line
    points = np.clip(np.arange(size) * step + start, 0, (size - 1) * UNIT)
    before = points >> UNIT_BITS
    after = np.minimum(before + 1, size - 1)
    return before, after, (points & (UNIT - 1)).astype(np.float32)
