"""`ranspec card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.files import refuse_existing, require_suffix, write_whole
from ranspec.cli.options import OverwriteOption, SetOption, SpecArgument, file_option
from ranspec.cli.output import message

STUDIES = Path("studies")


StudiesOption = Annotated[
    Path | None,
    typer.Option(
        "--studies",
        metavar="FOLDER",
        file_okay=False,
        exists=True,
        show_default=False,
        help="Show results of the studies in a folder, by default those in ./studies if it exists.",
    ),
]


def card(
    spec: SpecArgument,
    overrides: SetOption,
    output: Annotated[
        Path | None,
        file_option(
            "The .html file to write, by default SPEC.html here; a card that is there already "
            "and was not edited is replaced."
        ),
    ] = None,
    studies: StudiesOption = None,
    force: OverwriteOption = False,
) -> None:
    """Show a network on one HTML page, which asks nothing of any other.

    Its blocks open and close, with their shapes, parameters and MACs; its code in each framework
    stands beside, with the block under the pointer marked in all of them; then what the paper
    prints, how the frameworks were compared, what studies gave, notes and sources.
    """
    from ranspec.codegen.build import default_folder
    from ranspec.pages.card import card as page
    from ranspec.pages.document import is_own
    from ranspec.spec import load_spec

    loaded = load_spec(spec, overrides)
    path = output or Path(f"{default_folder(loaded, 'card').parent.name}.html")
    require_suffix(path, ".html", ".htm")
    refuse_existing(path, force=force or is_own(path))
    folder = studies or STUDIES
    results = []
    if folder.is_dir():
        from ranspec.pages.studies import jobs_by_spec, trained

        results = trained(loaded, jobs_by_spec(folder))
    write_whole(path, page(loaded, results=results))
    message(f"wrote {path}")
