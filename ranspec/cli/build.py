"""`ranspec build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.options import BackendsOption, ForceOption, SetOption, SpecArgument
from ranspec.cli.output import message, write


def build(
    spec: SpecArgument,
    backends: BackendsOption,
    overrides: SetOption,
    all_backends: Annotated[
        bool, typer.Option("--all-backends", help="Build for every installed backend.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where to write, by default generated/NAME/BACKEND; with several backends, one "
            "folder each below it.",
        ),
    ] = None,
    force: ForceOption = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if the folder is not up to date."),
    ] = False,
) -> None:
    """Write the training code of a spec.

    Writes model.py, train.py and all that they need: the folder runs without ranspec. Files that
    were edited by hand are not overwritten.
    """
    from ranspec.codegen.backend import available_backends
    from ranspec.codegen.build import build as build_folder
    from ranspec.codegen.build import check_build, default_folder
    from ranspec.spec import load_spec

    names = list(available_backends()) if all_backends else list(dict.fromkeys(backends))
    if not names:
        installed = ", ".join(available_backends()) or "none is installed"
        raise typer.BadParameter(
            f"name a backend ({installed}) or give --all-backends", param_hint="--backend"
        )
    loaded = load_spec(spec, overrides)
    several = all_backends or len(names) > 1
    stale = False
    for name in names:
        target = default_folder(loaded, name) if folder is None else folder
        target = target / name if folder is not None and several else target
        if check:
            differing = check_build(loaded, name, target)
            stale = stale or bool(differing)
            for file in differing:
                message(f"{target / file} is not what ranspec build writes")
        else:
            write(str(build_folder(loaded, name, target, force=force).folder))
    if stale:
        raise typer.Exit(1)
