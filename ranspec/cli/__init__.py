"""The command line: one file per command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of `ranspec` and of `python -m ranspec`."""
    from ranspec.cli.app import app

    app(prog_name="ranspec")
