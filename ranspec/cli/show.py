"""`ranspec show`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ranspec.cli.options import SetOption, SpecArgument
from ranspec.cli.output import write, write_json


def show(
    spec: SpecArgument,
    overrides: SetOption,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say where each value was written.")
    ] = False,
    output_format: Annotated[
        Literal["yaml", "json"], typer.Option("--format", help="How to write the result.")
    ] = "yaml",
) -> None:
    """Print a spec with all that it extends and every default."""
    from ranspec.spec import load_spec
    from ranspec.spec.writer import yaml_lines

    loaded = load_spec(spec, overrides)
    resolved = loaded.resolved()
    if output_format == "json":
        places = {".".join(path): str(place) for path, place in loaded.origins.items() if path}
        return write_json({"spec": resolved, "origins": places} if origins else resolved)
    lines = list(yaml_lines(resolved))
    if not origins:
        return write("\n".join(line for line, _ in lines))
    width = max(len(line) for line, path in lines if path and len(line) <= 60)
    for line, path in lines:
        place = f"  # {loaded.origins[path]}" if path else ""
        write(f"{line:{width}}{place}" if place else line)
