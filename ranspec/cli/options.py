"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ranspec.cli.completion import (
    complete_backend,
    complete_module,
    complete_override,
    complete_spec,
)
from ranspec.cli.files import parse_file, parse_folder


def backend_names(context: typer.Context, names: list[str]) -> list[str]:
    """Return the backends that are meant by names and aliases, each once."""
    if not names or context.resilient_parsing:
        return names
    from ranspec.codegen.backend import load_backend

    return list(dict.fromkeys(load_backend(name).name for name in names))


def parse_input(text: str) -> tuple[int, int]:
    """Read `320x320` or `320`; raise BadParameter for anything else."""
    parts = text.lower().split("x")
    sizes = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) < 6]
    if len(sizes) != len(parts) or len(sizes) > 2 or not all(1 <= size <= 4096 for size in sizes):
        raise typer.BadParameter(
            f"found {text!r}, expected HEIGHTxWIDTH such as 320x320, from 1 to 4096",
            param_hint="--input",
        )
    return sizes[0], sizes[-1]


_SPEC_HELP = "Path of a spec, the name of one that `ranspec list` shows, or - for stdin."

SpecArgument = Annotated[
    str,
    typer.Argument(metavar="SPEC", help=_SPEC_HELP, autocompletion=complete_spec),
]
OptionalSpecArgument = Annotated[
    str | None,
    typer.Argument(metavar="[SPEC]", help=_SPEC_HELP, autocompletion=complete_spec),
]
SpecsArgument = Annotated[
    list[str],
    typer.Argument(metavar="SPEC", help=_SPEC_HELP, autocompletion=complete_spec),
]
OptionalSpecsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[SPEC]...",
        help=_SPEC_HELP,
        default_factory=list,
        show_default=False,
        autocompletion=complete_spec,
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        default_factory=list,
        show_default=False,
        metavar="KEY.PATH=VALUE",
        help="Change a value of the spec, such as attention.activation=spatial; may be repeated.",
        autocompletion=complete_override,
    ),
]
BackendsOption = Annotated[
    list[str],
    typer.Option(
        "--backend",
        "-b",
        default_factory=list,
        show_default=False,
        metavar="NAME",
        help="A backend, such as torch, tensorflow or jax; may be repeated.",
        callback=backend_names,
        autocompletion=complete_backend,
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        parser=parse_folder,
        help="Where to write, by default generated/SPEC/BACKEND, SPEC being the spec's name and "
        "what --set changes; several backends are written to a folder each below it.",
    ),
]
DiffOption = Annotated[
    bool,
    typer.Option("--diff", help="Show the differences that --check or a refusal tells of."),
]
OverwriteOption = Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite files that were edited since they were built.")
]

ModulesOption = Annotated[
    list[str],
    typer.Option(
        "--module",
        default_factory=list,
        show_default=False,
        metavar="PATH",
        help="An attention module, such as stage1.1, or a stage; may be repeated; by default "
        "all of them.",
        autocompletion=complete_module,
    ),
]
ImagesOption = Annotated[
    list[Path],
    typer.Option(
        "--images",
        default_factory=list,
        show_default=False,
        metavar="IMAGE",
        help="The same as IMAGE; more may follow it.",
    ),
]
PictureWeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="CHECKPOINT",
        help="The folder of a run, a checkpoint of one, or what `ranspec weights` writes; by "
        "default the initial weights.",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The recipe's images, as train.py reads them; statistics that the weights do not "
        "hold are measured of them.",
    ),
]


def folder_option(help: str) -> Any:
    """Return the option of commands that write a folder; its help says which."""
    return typer.Option("--output", "-o", metavar="FOLDER", parser=parse_folder, help=help)


def file_option(help: str) -> Any:
    """Return the option of commands that write one file; its help says which."""
    return typer.Option("--output", "-o", metavar="FILE", parser=parse_file, help=help)
