"""`ranspec schema`."""

from __future__ import annotations

from importlib.resources import files

from ranspec.cli.output import write


def schema() -> None:
    """Print the JSON Schema of specs, for editors."""
    write(files("ranspec").joinpath("spec/schema.json").read_text(encoding="utf-8").rstrip("\n"))
