"""`ranspec build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.difference import write_differences
from ranspec.cli.options import (
    BackendsOption,
    DiffOption,
    FolderOption,
    ForceOption,
    SetOption,
    SpecArgument,
)
from ranspec.cli.output import message, write


def build(
    spec: SpecArgument,
    backends: BackendsOption,
    overrides: SetOption,
    all_backends: Annotated[
        bool,
        typer.Option("--all-backends", help="Build for every backend that can write here."),
    ] = False,
    folder: FolderOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="CHECKPOINT",
            help="The checkpoint whose weights to write into the model, for backends that do so; "
            "by default the initial weights.",
        ),
    ] = None,
    force: ForceOption = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 if the folder is not up to date."),
    ] = False,
    diff: DiffOption = False,
) -> None:
    """Write the training code of a spec.

    Writes model.py, train.py and all that they need: the folder runs without ranspec, and its
    spec.yaml builds it again. Files that were edited by hand are not overwritten, and other files
    not touched. Where something cannot be written, for one backend of several, nothing is.
    """
    from ranspec.codegen.backend import NotInstalledError, available_backends, load_backend
    from ranspec.codegen.build import BuildFolderError, compare, default_folder, write_builds
    from ranspec.codegen.render import render_files
    from ranspec.codegen.weights import trained
    from ranspec.spec import load_spec

    names = list(available_backends()) if all_backends else backends
    if not names:
        installed = ", ".join(available_backends()) or "none is installed"
        raise typer.BadParameter(
            f"name a backend ({installed}) or give --all-backends", param_hint="--backend"
        )
    loaded = load_spec(spec, overrides)
    chosen = {backend.name: backend for backend in map(load_backend, names)}
    embedded = None if weights is None else trained(loaded, weights)
    several = all_backends or len(chosen) > 1
    builds = {}
    for name, backend in chosen.items():
        target = default_folder(loaded, name) if folder is None else folder
        target = target / name if folder is not None and several else target
        try:
            builds[target] = render_files(loaded, backend, weights=embedded)
        except NotInstalledError as error:
            if not all_backends:
                raise
            message(f"left out: {error}")
    if check:
        differences = compare(builds)
        for difference in differences:
            message(f"{difference.path} is not what ranspec build writes")
        if diff:
            write_differences(differences)
        raise typer.Exit(1 if differences else 0)
    try:
        write_builds(builds, force=force)
    except BuildFolderError:
        if diff:
            write_differences(compare(builds))
        raise
    for target in builds:
        write(str(target))
