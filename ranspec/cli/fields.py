"""`ranspec fields`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.files import refuse_existing, require_suffix, write_whole
from ranspec.cli.options import ModulesOption, OverwriteOption, SetOption, SpecArgument, file_option
from ranspec.cli.output import Column, message, shape, write_json, write_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from ranspec.ir.operation import Pair
    from ranspec.pictures.fields import ModuleField
    from ranspec.spec.model import Spec

COLUMNS = (
    Column("module", right=False),
    Column("map"),
    Column("position"),
    Column("trunk"),
    Column("mask"),
)


def fields(
    spec: SpecArgument,
    overrides: SetOption,
    modules: ModulesOption,
    image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="The image to draw over, by default a grey one."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COLUMN",
            help="The pixel of the network's input whose positions are shown, by default the "
            "middle one.",
        ),
    ] = None,
    output: Annotated[Path | None, file_option("A .png file to draw the fields into.")] = None,
    force: OverwriteOption = False,
    output_format: Annotated[
        Literal["table", "json", "markdown"],
        typer.Option("--format", help="How to write the result."),
    ] = "table",
) -> None:
    """Show the receptive fields of the trunk and the mask of attention modules.

    A field is how much of the image a position can depend on. It is drawn centred on the position
    and clipped at the borders of the image.
    """
    from ranspec.compile import compile_spec
    from ranspec.pictures.fields import drawn, module_fields
    from ranspec.pictures.modules import chosen_modules
    from ranspec.spec import load_spec

    if output is not None:
        require_suffix(output, ".png")
        refuse_existing(output, force=force)
    elif image is not None:
        raise typer.BadParameter("name with -o the file to draw into", param_hint="--image")
    loaded = load_spec(spec, overrides)
    graph = compile_spec(loaded)
    chosen = chosen_modules(graph, modules)
    found = module_fields(graph, chosen, _pixel(at, graph.input[:2]))
    picture = None if output is None else drawn(_background(loaded.spec, image), found)
    if output_format == "json":
        write_json([_object(item) for item in found])
    else:
        write_table(COLUMNS, map(_cells, found), markdown=output_format == "markdown")
    if output is not None and picture is not None:
        from ranspec.pictures.page import png

        write_whole(output, png(picture))
        message(f"wrote {output}")


def _pixel(text: str | None, size: tuple[int, ...]) -> Pair | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5}),([0-9]{1,5})", text, re.ASCII)
    height, width = size
    if not found or int(found[1]) >= height or int(found[2]) >= width:
        raise typer.BadParameter(
            f"found {text!r}, expected ROW,COLUMN from 0,0 to {height - 1},{width - 1}",
            param_hint="--at",
        )
    return int(found[1]), int(found[2])


def _background(spec: Spec, path: Path | None) -> Image:
    import numpy as np

    from ranspec.pictures.colors import photograph
    from ranspec.pictures.inputs import read_images, require_pillow

    require_pillow()
    if path is not None:
        return photograph(read_images(spec, [path]).values[0])
    return photograph(np.full((spec.input.height, spec.input.width, 3), 200.0))


def _cells(item: ModuleField) -> list[str]:
    position = ",".join(map(str, item.position))
    return [
        item.module,
        shape(item.sizes),
        position,
        shape(item.trunk.size),
        shape(item.mask.size),
    ]


def _object(item: ModuleField) -> dict[str, Any]:
    return {
        "module": item.module,
        "map": item.sizes,
        "position": item.position,
        "trunk": {"size": item.trunk.size, "box": item.trunk_box},
        "mask": {"size": item.mask.size, "box": item.mask_box},
    }
