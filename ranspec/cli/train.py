"""`ranspec train`."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from ranspec.cli.completion import complete_backend
from ranspec.cli.options import FolderOption, ForceOption, SetOption, SpecArgument
from ranspec.cli.output import message


def train(
    spec: SpecArgument,
    overrides: SetOption,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            metavar="NAME",
            help="A backend, such as torch, tensorflow or jax.",
            autocompletion=complete_backend,
        ),
    ],
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[-- ARGUMENTS...]",
            default_factory=list,
            show_default=False,
            help="Arguments of the generated train.py; `-- --help` lists them.",
        ),
    ],
    folder: FolderOption = None,
    force: ForceOption = False,
) -> None:
    """Build a spec, then run its train.py.

    Exits as train.py does.
    """
    from ranspec.codegen.backend import load_backend, require_installed, require_training
    from ranspec.codegen.build import build
    from ranspec.spec import load_spec

    chosen = load_backend(backend)
    require_training(chosen)
    require_installed(chosen)
    built = build(load_spec(spec, overrides), backend, folder, force=force)
    message(f"built {built.folder}; running its train.py")
    raise typer.Exit(run([sys.executable, str(built.folder / "train.py"), *arguments]))


def run(command: list[str]) -> int:
    """Run a program to its end, also when interrupted, and return its exit code."""
    sys.stdout.flush()
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                # The terminal has interrupted the program too: let it end in its own way.
                continue
            return code if code >= 0 else 128 - code
