"""Trunk, soft mask and gated features over images (Wang et al., CVPR 2017, Figures 1 and 2)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ranspec.ir.graph import Graph
from ranspec.pictures.colors import Range, overlaid, photograph, value_range
from ranspec.pictures.modules import Fusion, ModuleError, fusions

if TYPE_CHECKING:
    from PIL.Image import Image

    from ranspec.ir.operation import Array
    from ranspec.pictures.activations import Weights
    from ranspec.pictures.inputs import Images

OPACITY = 0.6
ROWS = 16
"""Channels of a sheet; more go on the next."""
SIDE = 160
"""Pixels of a picture's height and width, at least."""
GAP, LINE, TEXT = 8, 16, 12
TITLES = ("image", "trunk", "soft mask", "gated")


@dataclass(frozen=True, eq=False)
class ChannelMaps:
    """A channel of an attention module: trunk, soft mask and gated features, (H, W).

    `channel` is None for the mean of all channels.
    """

    module: str
    channel: int | None
    trunk: Array
    mask: Array
    gated: Array

    @property
    def label(self) -> str:
        """What to call the channel."""
        return "mean of all channels" if self.channel is None else f"channel {self.channel}"

    @cached_property
    def panels(self) -> tuple[tuple[str, Array, Range], ...]:
        """Title, map and range of each picture; trunk and gated features have one range."""
        features = value_range(self.trunk, self.gated)
        maps = (
            (self.trunk, features),
            (self.mask, value_range(self.mask)),
            (self.gated, features),
        )
        return tuple(
            (title, values, limits)
            for title, (values, limits) in zip(TITLES[1:], maps, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Masked:
    """An image by the name of its file, as the network is shown it, and what is drawn over it."""

    name: str
    image: Array
    """[H, W, C], 0..255."""
    maps: Mapping[str, tuple[ChannelMaps, ...]]
    """By module."""


def masked_images(
    graph: Graph,
    weights: Weights,
    images: Images,
    inputs: Array,
    channels: Mapping[str, Sequence[int | None]],
) -> Iterator[Masked]:
    """Yield for each image the chosen channels of modules; `inputs` is what the network takes.

    Raises `ModuleError` where numbers are infinite or NaN.
    """
    for index, name in enumerate(images.names):
        found = fusions(graph, weights, inputs[index : index + 1])
        maps = {
            fusion.module: tuple(_channel(fusion, channel) for channel in channels[fusion.module])
            for fusion in found
            if fusion.module in channels
        }
        yield Masked(name, images.values[index], maps)


def sheets(masked: Masked) -> Iterator[tuple[str, Image]]:
    """Yield a picture of each module, with a row for each channel, and what to call its file."""
    for module, maps in masked.maps.items():
        parts = [maps[start : start + ROWS] for start in range(0, len(maps), ROWS)]
        for number, part in enumerate(parts, start=1):
            suffix = f"_{number}" if len(parts) > 1 else ""
            yield f"{module.replace('.', '_')}{suffix}", _sheet(masked, module, part)


def file_names(names: Sequence[str]) -> list[str]:
    """Return a portable name for each of some files, without suffix, and no name twice."""
    short = [re.sub(r"[^A-Za-z0-9]+", "_", name.rpartition(".")[0] or name) for name in names]
    short = [name.strip("_")[:60] or "image" for name in short]
    count = Counter(name.lower() for name in short)
    return [
        name if count[name.lower()] == 1 else f"{number}_{name}"
        for number, name in enumerate(short, start=1)
    ]


def _channel(fusion: Fusion, channel: int | None) -> ChannelMaps:
    import numpy as np

    trunk, mask, gated = (
        array[0].mean(0) if channel is None else array[0, channel].copy()
        for array in (fusion.trunk, fusion.mask, fusion.gated)
    )
    maps = ChannelMaps(fusion.module, channel, trunk, mask, gated)
    if not np.isfinite(gated).all():
        raise ModuleError(
            f"{fusion.module} has infinite numbers or NaN in {maps.label}: the weights make them "
            f"too large for {gated.dtype}"
        )
    return maps


def enlarged(image: Image) -> Image:
    """Return a small image at a multiple of its size that can be looked at."""
    from PIL import Image as images

    factor = -(-SIDE // min(image.size))
    size = (image.width * factor, image.height * factor)
    return image.resize(size, images.Resampling.NEAREST)


def _sheet(masked: Masked, module: str, maps: Sequence[ChannelMaps]) -> Image:
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    image = enlarged(photograph(masked.image))
    width, height = image.size
    across, down = width + GAP, height + LINE + GAP
    size = (len(TITLES) * across + GAP, len(maps) * down + 2 * LINE + 2 * GAP)
    sheet = images.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT)

    def write(column: int, row: float, text: str) -> None:
        draw.text((GAP + column * across, row), text, fill="black", font=font)

    write(0, GAP, f"{masked.name}, {module}")
    for column, title in enumerate(TITLES):
        write(column, GAP + LINE, title)
    for number, item in enumerate(maps):
        top = GAP + 2 * LINE + number * down
        sheet.paste(image, (GAP, top))
        write(0, top + height + 1, item.label)
        for column, (_, values, limits) in enumerate(item.panels, start=1):
            shown = overlaid(image, values, limits, OPACITY)
            sheet.paste(shown, (GAP + column * across, top))
            low, high = value_range(values)
            write(column, top + height + 1, f"{low:.3g} to {high:.3g}")
    return sheet
