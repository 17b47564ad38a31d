"""From a spec to a folder of code, written with care."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ranspec.codegen.backend import Files, load_backend
from ranspec.codegen.render import MANIFEST, as_bytes, file_hash, render_files
from ranspec.errors import RanspecError
from ranspec.spec import LoadedSpec

_FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")


class BuildFolderError(RanspecError):
    """The output folder is not in the state that was asked for; the message says what to do."""


@dataclass(frozen=True)
class BuildResult:
    """What a build wrote."""

    folder: Path
    files: tuple[str, ...]


def build(
    loaded: LoadedSpec, backend: str, folder: Path | None = None, *, force: bool = False
) -> BuildResult:
    """Write the code of a spec for a backend, by default to `generated/NAME/BACKEND`.

    Raises `SpecError`, `UnknownBackendError`, or `BuildFolderError` where the folder holds files
    edited by hand or not written by a build, unless `force` is given.
    """
    chosen = load_backend(backend)
    rendered = render_files(loaded, chosen)
    target = folder or default_folder(loaded, chosen.name)
    if not force:
        _refuse_edited(target, rendered)
    stale = set(_recorded(target, strict=not force)) - set(rendered)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted(stale):
            (target / name).unlink(missing_ok=True)
        for name, content in rendered.items():
            _replace(target / name, as_bytes(content))
    except OSError as error:
        raise BuildFolderError(f"cannot write {error.filename}: {error.strerror}") from error
    return BuildResult(target, tuple(rendered))


def check_build(loaded: LoadedSpec, backend: str, folder: Path | None = None) -> list[str]:
    """Return the files of a folder that `build` would write differently or remove."""
    chosen = load_backend(backend)
    rendered = render_files(loaded, chosen)
    target = folder or default_folder(loaded, chosen.name)
    stale = sorted(set(_recorded(target, strict=False)) - set(rendered))
    present = [name for name in stale if _read(target / name) is not None]
    differing = [
        name for name, content in rendered.items() if _read(target / name) != as_bytes(content)
    ]
    return differing + present


def default_folder(loaded: LoadedSpec, backend: str) -> Path:
    """Return the folder that a build writes unless told otherwise, below the current one."""
    return Path("generated") / loaded.spec.name / backend


def _refuse_edited(folder: Path, rendered: Files) -> None:
    recorded = _recorded(folder, strict=True)
    for name in sorted({*rendered, *recorded} - {MANIFEST}):
        content = _read(folder / name)
        if content is None or file_hash(content) == recorded.get(name):
            continue
        if name in rendered and content == as_bytes(rendered[name]):
            continue
        origin = "was edited since it was built" if name in recorded else "was not built by ranspec"
        raise BuildFolderError(f"{folder / name} {origin}; use --force to overwrite it")


def _recorded(folder: Path, *, strict: bool) -> dict[str, str]:
    """Return the files of the last build; raise `BuildFolderError` if strict and it is damaged."""
    content = _read(folder / MANIFEST)
    if content is None:
        return {}
    try:
        recorded = dict(json.loads(content)["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if not strict:
            return {}
        raise BuildFolderError(
            f"{folder / MANIFEST} is damaged; delete it or use --force"
        ) from error
    # A manifest is data from outside: no name in it may lead out of the folder.
    return {name: str(digest) for name, digest in recorded.items() if _FILE_NAME.fullmatch(name)}


def _read(path: Path) -> bytes | None:
    """Return what a file holds; None where there is no file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BuildFolderError(f"cannot read {path}: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, in place of whatever has its name: a link is not followed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        file.write(content)
    temporary.replace(path)
