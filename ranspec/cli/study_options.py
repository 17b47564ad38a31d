"""Options of the commands for studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.completion import complete_backend, complete_study


def split(text: str | None) -> list[str]:
    """Return the parts of a list such as `torch,jax`."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def parse_seeds(text: str | None) -> list[int]:
    """Read `0,1,2`; raise BadParameter for anything else."""
    parts = split(text)
    known = [part for part in parts if part.isascii() and part.isdecimal() and len(part) < 11]
    seeds = [int(part) for part in known]
    none = text is not None and not parts
    if none or len(seeds) != len(parts) or any(seed >= 2**31 for seed in seeds):
        raise typer.BadParameter(
            f"found {text!r}, expected whole numbers below 2^31 such as 0,1,2",
            param_hint="--seeds",
        )
    return seeds


StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Name in `ranspec study list`, or path of a study.",
        autocompletion=complete_study,
    ),
]
ScaleOption = Annotated[
    str,
    typer.Option("--scale", metavar="FRACTION", help="Shorten every recipe in proportion: 1/50."),
]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", metavar="N,N", help="By default the study's.")
]
StudyBackendsOption = Annotated[
    str | None,
    typer.Option(
        "--backends",
        metavar="NAME,NAME",
        help="Such as torch,jax; by default the study's.",
        autocompletion=complete_backend,
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="LABEL", help="A row or column of the table alone; may be repeated."
    ),
]


def result_folders(study: str | None) -> list[Path]:
    """Return the folders of results that are meant; raise BadParameter where there is none."""
    from ranspec.studies.results import JOBS, STUDY

    if study is not None and (Path(study) / JOBS).is_dir():
        return [Path(study)]
    home = Path("studies")
    there = sorted(path.parent for path in home.glob(f"**/{STUDY}") if JOBS not in path.parts)
    names = {path.relative_to(home).as_posix(): path for path in there}
    found = [
        path
        for name, path in names.items()
        if study is None or name == study or name.startswith(f"{study}-scale-")
    ]
    if found:
        return found
    known = f"there are {', '.join(names)}" if names else "none was run in this folder"
    what = "studies" if study is None else f"{study!r} is no folder with results"
    raise typer.BadParameter(f"{what}: {known}", param_hint="STUDY")
