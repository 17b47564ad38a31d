"""Options that several commands take, and how the shell completes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def complete_spec(incomplete: str) -> list[str]:
    """Complete the name of a known spec, or the path of a spec file."""
    from ranspec.spec import available_specs

    names = [name for name in available_specs() if name.startswith(incomplete)]
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    try:
        paths = [
            f"{path}/" if path.is_dir() else str(path)
            for path in sorted(folder.iterdir())
            if path.is_dir() or path.suffix in (".yaml", ".yml")
        ]
    except OSError:
        paths = []
    return names + [path for path in paths if path.startswith(incomplete)]


def complete_backend(incomplete: str) -> list[str]:
    """Complete the name of an installed backend."""
    from ranspec.codegen.backend import available_backends

    return [name for name in available_backends() if name.startswith(incomplete)]


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
        autocompletion=complete_backend,
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Overwrite files that were edited since they were built.")
]
