"""`ranspec schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ranspec.cli.files import refuse_existing, write_whole
from ranspec.cli.options import OverwriteOption, file_option
from ranspec.cli.output import write


def schema(
    output: Annotated[
        Path | None,
        file_option("Where to write it; a schema that is there already is replaced."),
    ] = None,
    force: OverwriteOption = False,
) -> None:
    """Print the JSON Schema of specs, for editors."""
    from ranspec.spec.schema import is_schema, render

    if output is None:
        return write(render().rstrip("\n"))
    refuse_existing(output, force=force or is_schema(output))
    write_whole(output, render())
    write(str(output))
