"""`ranspec masks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranspec.cli.options import (
    DataDirOption,
    ForceOption,
    ImagesOption,
    ModulesOption,
    PictureWeightsOption,
    SetOption,
    SpecArgument,
    folder_option,
)
from ranspec.cli.output import progress, write
from ranspec.cli.pictures import picture_input, picture_weights

if TYPE_CHECKING:
    from ranspec.pictures.masks import Masked


def masks(
    spec: SpecArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            default_factory=list,
            show_default=False,
            help="Image files, of any format that Pillow reads.",
        ),
    ],
    overrides: SetOption,
    images: ImagesOption,
    modules: ModulesOption,
    weights: PictureWeightsOption = None,
    channels: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Numbers such as 0,5; all; mean, that of all; 'varied N', those whose mask varies "
            "most over the positions; or 'strongest N', those with the largest mean absolute "
            "trunk.",
        ),
    ] = "varied 4",
    data_dir: DataDirOption = None,
    folder: Annotated[
        Path | None, folder_option("Where to write, by default generated/SPEC/masks.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Draw what attention modules do: trunk, soft mask and gated features, over images.

    Writes a picture for each image and module, and index.html, one page that loads no other file.
    The network is evaluated by ranspec itself, without a framework, on images resized and
    normalised as in the recipe's evaluation.
    """
    from ranspec.codegen.build import default_folder
    from ranspec.compile import compile_spec
    from ranspec.pictures import page
    from ranspec.pictures.channels import check_channels, choose_channels, parse_channels
    from ranspec.pictures.folder import check_folder, write_pictures
    from ranspec.pictures.inputs import read_images, require
    from ranspec.pictures.masks import masked_images
    from ranspec.pictures.modules import chosen_modules
    from ranspec.spec import load_spec

    chosen = parse_channels(channels)
    loaded = load_spec(spec, overrides)
    graph = compile_spec(loaded)
    drawn = chosen_modules(graph, modules)
    check_channels(graph, chosen, drawn)
    paths = [*images, *files]
    if not paths:
        raise typer.BadParameter("name one or more image files", param_hint="IMAGE")
    target = folder or default_folder(loaded, "masks")
    check_folder(target)
    require("matplotlib", "matplotlib")
    trained = picture_weights(loaded, graph, weights)
    shown = read_images(loaded.spec, paths)
    inputs, normalized = picture_input(loaded, trained, shown, data_dir)
    selected = choose_channels(graph, trained.arrays, inputs, chosen, drawn)
    drawings: list[Masked] = []
    with progress("drawing masks", len(paths)) as advance:
        for drawing in masked_images(graph, trained.arrays, shown, inputs, selected):
            drawings.append(drawing)
            advance(1)
    facts = (
        f"network: {graph.name}",
        f"weights: {trained.origin}",
        f"channels: {channels}",
        f"images: resized and normalised {normalized}",
        "gated: (1 + mask) * trunk, or mask * trunk where learning is naive",
    )
    content = page.files(f"Masks of {graph.name}", drawings, facts)
    write_pictures(target, graph.name, content, force=force)
    write(str(target / page.PAGE))
