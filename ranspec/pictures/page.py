"""Masks as one HTML page that loads no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as files_of
from typing import TYPE_CHECKING

from ranspec.html import page_environment, source_hash
from ranspec.pictures.colors import COLORS, LEVELS, colored, photograph, value_range
from ranspec.pictures.masks import (
    OPACITY,
    ChannelMaps,
    Masked,
    enlarged,
    file_names,
    sheets,
)

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE = "index.html"


@dataclass(frozen=True)
class Panel:
    """A map as a picture, with what is said of it."""

    title: str
    uri: str
    caption: str
    alternative: str


@dataclass(frozen=True)
class Row:
    """The pictures of a channel."""

    channel: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Section:
    """A module's rows."""

    module: str
    size: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Part:
    """An image with its sections."""

    name: str
    uri: str
    grey: str
    width: int
    height: int
    sections: tuple[Section, ...]


def files(title: str, masked: Sequence[Masked], facts: Sequence[str]) -> dict[str, str | bytes]:
    """Return a picture for each image and module, and the page, by the names of their files."""
    names = file_names([item.name for item in masked])
    content: dict[str, str | bytes] = {
        f"{name}_{module}.png": png(sheet)
        for name, item in zip(names, masked, strict=True)
        for module, sheet in sheets(item)
    }
    return {**content, PAGE: render(title, [part(item) for item in masked], facts)}


def part(masked: Masked) -> Part:
    """Return what the page shows of an image."""
    image = photograph(masked.image)
    small = min(image.size) < 64
    sections = tuple(
        Section(
            module,
            "x".join(map(str, maps[0].trunk.shape)) if maps else "",
            tuple(_row(masked.name, item) for item in maps),
        )
        for module, maps in masked.maps.items()
    )
    shown = enlarged(image) if small else image
    return Part(
        masked.name,
        data_uri(image),
        data_uri(image.convert("L")),
        shown.width,
        shown.height,
        sections,
    )


def render(title: str, parts: Sequence[Part], facts: Sequence[str]) -> str:
    """Return the page; `facts` say what was drawn, and with which weights."""
    import numpy as np
    from markupsafe import Markup

    script = files_of("ranspec.pictures").joinpath("templates", "masks.js").read_text("utf-8")
    scale = colored(np.arange(LEVELS, dtype=np.float64)[None], (0.0, LEVELS - 1.0))
    return (
        page_environment("ranspec.pictures")
        .get_template("masks.html.j2")
        .render(
            title=title,
            parts=parts,
            facts=facts,
            opacity=round(100 * OPACITY),
            scale=data_uri(scale),
            colors=COLORS,
            script=Markup(script),
            script_hash=source_hash(script),
        )
    )


def data_uri(image: Image) -> str:
    """Return an image as a PNG in a URI."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def png(image: Image) -> bytes:
    """Return an image as a PNG file's bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=False)
    return file.getvalue()


def _row(name: str, maps: ChannelMaps) -> Row:
    panels = []
    for title, values, limits in maps.panels:
        low, high = value_range(values)
        caption = f"{low:.3g} to {high:.3g}"
        alternative = f"{title}, {maps.module} {maps.label}, of {name}: {caption}"
        panels.append(Panel(title, data_uri(colored(values, limits)), caption, alternative))
    return Row(maps.label, tuple(panels))
