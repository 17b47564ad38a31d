"""`ranspec new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.completion import complete_spec
from ranspec.cli.files import refuse_existing, require_suffix, write_whole
from ranspec.cli.options import file_option
from ranspec.cli.output import message, write


def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The network's name, such as my_network."),
    ],
    base: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SPEC",
            help="A spec to change: by default a small network of its own for handwritten digits.",
            autocompletion=complete_spec,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        file_option("Where to write it, by default NAME.yaml."),
    ] = None,
) -> None:
    """Start a spec of your own: a short file with comments, to be edited."""
    from ranspec.spec.starter import starter

    path = output or Path(f"{name}.yaml")
    text = starter(name, path, base)
    require_suffix(path, ".yaml", ".yml")
    refuse_existing(path, force=False)
    write_whole(path, text)
    write(str(path))
    message(f"next: ranspec check {path}; ranspec build {path} --all-backends")
