"""The folder that pictures are written to, with care for what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ranspec.codegen.build import BuildFolderError, write_builds
from ranspec.codegen.render import MANIFEST, file_hash

KIND = "pictures"


def write_pictures(
    folder: Path, network: str, files: Mapping[str, str | bytes], *, force: bool
) -> None:
    """Write pictures into a folder: all of them, or none; those of an earlier time are replaced.

    Raises `BuildFolderError` where the folder is one of code, cannot be written, or holds files of
    these names that were edited or made by others, unless `force` is given.
    """
    check_folder(folder)
    hashes = {name: file_hash(content) for name, content in files.items()}
    manifest = json.dumps({KIND: network, "files": hashes}, indent=2) + "\n"
    content = {**files, MANIFEST: manifest}
    write_builds({folder: content}, force=force, remedy="--force overwrites")


def check_folder(folder: Path) -> None:
    """Raise `BuildFolderError` for a folder of generated code, which is not to be replaced."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(found, dict) or KIND not in found:
        raise BuildFolderError(f"{folder} holds generated code; choose another folder with -o")
