"""Files that commands write: whole or not at all, and never over another unless told to."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def parse_folder(text: str) -> Path:
    """Read the name of a folder; raise BadParameter for none."""
    if not text.strip():
        raise typer.BadParameter("the name of the folder is empty; for the current one give .")
    return Path(text)


def parse_file(text: str) -> Path:
    """Read the name of a file; raise BadParameter for none."""
    if not text.strip():
        raise typer.BadParameter("the name of the file is empty")
    return Path(text)


def require_suffix(path: Path, *suffixes: str) -> None:
    """Raise BadParameter for the name of another kind of file."""
    if path.suffix not in suffixes:
        raise typer.BadParameter(
            f"{str(path)!r} does not end in {' or '.join(suffixes)}", param_hint="--output"
        )


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise BadParameter where a file would be overwritten that is not to be, or is none."""
    from ranspec.codegen.folder import kind

    found = kind(path)
    if found not in (None, "file"):
        raise typer.BadParameter(f"{path} is a {found}, not a file", param_hint="--output")
    if found and not force:
        raise typer.BadParameter(
            f"{path} exists; --force overwrites it, -o names another file", param_hint="--output"
        )


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file in one step: there is the whole new one or what was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
