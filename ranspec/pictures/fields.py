"""Receptive fields of trunks and masks on an image (Wang et al., CVPR 2017, Figure 3).

A field is as large as `ranspec.analysis.receptive_field` finds it, centred on the position that
has it, and clipped at the borders of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ranspec.analysis.receptive_field import Field, mask_fields
from ranspec.ir.graph import Graph
from ranspec.ir.operation import Pair
from ranspec.pictures.masks import GAP, LINE, TEXT, enlarged
from ranspec.pictures.modules import attention_modules

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Top, left, bottom and right edge, in pixels of the network's input."""

TRUNK, MASK = "#0072b2", "#d55e00"
"""Colours that colour-blind eyes tell apart (Okabe and Ito)."""
ACROSS = 3
"""Pictures beside one another."""


@dataclass(frozen=True)
class ModuleField:
    """What a position of an attention module's trunk and of its mask depends on."""

    module: str
    position: Pair
    """On the map, (row, column)."""
    sizes: Pair
    """Of the map."""
    trunk: Field
    mask: Field
    trunk_box: Box
    mask_box: Box


def module_fields(graph: Graph, modules: Sequence[str], at: Pair | None) -> list[ModuleField]:
    """Return the fields of some modules, at the position over a pixel, by default the middle one.

    `at` (row, column) lies on the network's input.
    """
    height, width = graph.input[:2]
    row, column = (height // 2, width // 2) if at is None else at
    names = attention_modules(graph)
    found = []
    for item in mask_fields(graph):
        rows, columns = item.sizes[:2]
        position = row * rows // height, column * columns // width
        centre = (position[0] + 0.5) * height / rows, (position[1] + 0.5) * width / columns
        boxes = (_box(field, centre, (height, width)) for field in (item.trunk, item.mask))
        if names[item.path] in modules:
            found.append(
                ModuleField(
                    names[item.path], position, (rows, columns), item.trunk, item.mask, *boxes
                )
            )
    return found


def drawn(image: Image, fields: Sequence[ModuleField]) -> Image:
    """Draw the fields of modules over an image of the network's input, a picture for each."""
    from PIL import Image as images
    from PIL import ImageDraw, ImageFont

    base = enlarged(image)
    scale = base.width / image.width
    across, down = base.width + GAP, base.height + 3 * LINE + GAP
    columns = min(ACROSS, len(fields))
    size = (columns * across + GAP, -(-len(fields) // columns) * down + GAP)
    sheet = images.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT)
    for number, item in enumerate(fields):
        left, top = GAP + number % columns * across, GAP + number // columns * down
        sheet.paste(_with_boxes(base, item, scale), (left, top))
        lines = (
            f"{item.module}, position {item.position[0]},{item.position[1]}",
            f"trunk {window(item.trunk)} (blue)",
            f"mask {window(item.mask)} (orange)",
        )
        draw.text((left, top + base.height + 1), "\n".join(lines), fill="black", font=font)
    return sheet


def window(field: Field) -> str:
    """Write the size of a field, without clipping: 51x51."""
    return "x".join(map(str, field.size))


def _box(field: Field, centre: tuple[float, float], size: Pair) -> Box:
    (top, bottom), (left, right) = (
        (max(middle - extent / 2, 0.0), min(middle + extent / 2, float(limit)))
        for middle, extent, limit in zip(centre, field.size, size, strict=True)
    )
    return top, left, bottom, right


def _with_boxes(base: Image, item: ModuleField, scale: float) -> Image:
    from PIL import ImageDraw

    picture = base.copy()
    draw = ImageDraw.Draw(picture)
    for (top, left, bottom, right), color, width in (
        # Where both are the whole image, that of the mask is seen inside the other.
        (item.mask_box, MASK, 7),
        (item.trunk_box, TRUNK, 3),
    ):
        edges = left * scale, top * scale, right * scale - 1, bottom * scale - 1
        draw.rectangle(edges, outline=color, width=width)
    middle = [
        (position + 0.5) * length / count
        for position, length, count in zip(
            reversed(item.position), picture.size, reversed(item.sizes), strict=True
        )
    ]
    x, y = middle
    draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="white", outline="black", width=2)
    return picture
