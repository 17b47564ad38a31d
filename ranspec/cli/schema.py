"""`ranspec schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ranspec.cli.files import refuse_existing, write_whole
from ranspec.cli.options import OverwriteOption, file_option
from ranspec.cli.output import write


def schema(
    kind: Annotated[
        Literal["spec", "study"],
        typer.Argument(metavar="[spec|study]", help="Of which files; of specs if left out."),
    ] = "spec",
    output: Annotated[
        Path | None,
        file_option("Where to write it; a schema that is there already is replaced."),
    ] = None,
    force: OverwriteOption = False,
) -> None:
    """Print the JSON Schema of specs or studies, for editors."""
    from ranspec.spec.schema import TITLE, is_schema, render

    text, title = render, TITLE
    if kind == "study":
        from ranspec.studies import schema as studies

        text, title = studies.render, studies.TITLE
    if output is None:
        return write(text().rstrip("\n"))
    refuse_existing(output, force=force or is_schema(output, title))
    write_whole(output, text())
    write(str(output))
