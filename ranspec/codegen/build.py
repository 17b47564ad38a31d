"""From a spec to a folder of code, written with care."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ranspec.codegen import folder as folders
from ranspec.codegen.backend import Files, load_backend
from ranspec.codegen.render import MANIFEST, as_bytes, file_hash, render_files
from ranspec.codegen.weights import trained
from ranspec.errors import RanspecError
from ranspec.spec import LoadedSpec, search_folders

Recorded = Mapping[str, frozenset[str]]
"""The hashes that the files of a folder have, by name, as builds left them."""

REMEDY = "--diff shows what would change, --force overwrites"
_FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_LISTED = 3
_OVERRIDE_LENGTH = 40
_DIGEST_LENGTH = 8
_PORTABLE = re.compile(r"(?!(con|prn|aux|nul|com\d|lpt\d)$)[a-z0-9_][a-z0-9_-]{0,63}", re.I)
_LIKE_A_DIGEST = re.compile(rf"-[0-9a-f]{{{_DIGEST_LENGTH}}}")


class BuildFolderError(RanspecError):
    """The output folder is not in the state that was asked for; the message says what to do."""


@dataclass(frozen=True)
class BuildResult:
    """What a build wrote."""

    folder: Path
    files: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A file of a folder that is not what a build writes; None for one that is not there."""

    path: Path
    found: bytes | None
    expected: bytes | None


def build(
    loaded: LoadedSpec,
    backend: str,
    folder: Path | None = None,
    *,
    weights: Path | None = None,
    force: bool = False,
) -> BuildResult:
    """Write the code of a spec for a backend, by default to `default_folder`.

    `weights` is a checkpoint, for a backend that writes weights into what it builds. Raises
    `SpecError`, `UnknownBackendError`, `UnsupportedError`, `CheckpointError` where the checkpoint
    is damaged or another network's, or `BuildFolderError` where the folder cannot be written, or
    holds files edited by hand or not written by a build, unless `force` is given. Whatever is
    raised, the folder is as it was.
    """
    chosen = load_backend(backend)
    rendered = render_files(
        loaded, chosen, weights=None if weights is None else trained(loaded, weights)
    )
    target = folder or default_folder(loaded, chosen.name)
    write_builds({target: rendered}, force=force)
    return BuildResult(target, tuple(rendered))


def check_build(loaded: LoadedSpec, backend: str, folder: Path | None = None) -> list[str]:
    """Return the files of a folder that `build` would write differently or remove."""
    chosen = load_backend(backend)
    rendered = render_files(loaded, chosen)
    target = folder or default_folder(loaded, chosen.name)
    return [difference.path.name for difference in compare({target: rendered})]


def compare(builds: Mapping[Path, Files]) -> list[Difference]:
    """Return what builds, by folder, would write differently or remove."""
    return [
        difference
        for target, rendered in builds.items()
        for difference in _differences(target, rendered, _recorded(target, strict=False))
    ]


def default_folder(loaded: LoadedSpec, backend: str) -> Path:
    """Return the folder that a build writes unless told otherwise, below the current one.

    `generated/SPEC/BACKEND`: SPEC is the spec's name in `ranspec list`, or the path of its file
    from here, without `.yaml`. Overrides are appended to it, and part of the spec's digest, which
    also follows where another spec has the name already, where the file lies elsewhere, and for
    the `spec.yaml` of a build.
    """
    own = None if loaded.spec.built_from else _own_name(loaded.files[0])
    changes = "-".join(map(_short, loaded.source.overrides))[:_OVERRIDE_LENGTH].rstrip("-_")
    parts = [own or loaded.spec.name]
    if changes:
        parts.append(changes)
    if changes or own is None:
        parts.append(loaded.digest[:_DIGEST_LENGTH])
    return Path("generated", "-".join(parts), backend)


def write_builds(
    builds: Mapping[Path, Files], *, force: bool = False, remedy: str = REMEDY
) -> None:
    """Write the files of one build or several, by folder: all of them, or none.

    Raises `BuildFolderError` as `build` does; `remedy` says what to do about edited files.
    """
    try:
        with ExitStack() as claims:
            changes = []
            for target in sorted(builds):
                prepared = claims.enter_context(folders.claimed(target))
                changes.append(_change(target, prepared, builds[target], force, remedy))
            folders.apply(changes)
    except OSError as error:
        place = error.filename2 or error.filename or ", ".join(map(str, builds))
        raise BuildFolderError(f"cannot write {place}: {error.strerror}") from error


def _change(
    target: Path, prepared: Path, rendered: Files, force: bool, remedy: str
) -> folders.Change:
    recorded = _recorded(target, strict=not force)
    # A build that was killed may have brought some of its files to their places.
    interrupted = _recorded(prepared, strict=False)
    known = {
        name: recorded.get(name, frozenset()) | interrupted.get(name, frozenset())
        for name in {*recorded, *interrupted}
    }
    differences = list(_differences(target, rendered, known))
    _refuse_obstacles((difference.path for difference in differences), force)
    if not force:
        _refuse_edited(differences, known, remedy)
    written = {
        difference.path.name: difference.expected
        for difference in differences
        if difference.expected is not None
    }
    removed = [difference.path.name for difference in differences if difference.expected is None]
    return folders.Change(target, prepared, written, removed)


def _differences(target: Path, rendered: Files, recorded: Recorded) -> Iterator[Difference]:
    for name, content in rendered.items():
        expected = as_bytes(content)
        if (found := _read(target / name)) != expected:
            yield Difference(target / name, found, expected)
    for name in sorted(recorded.keys() - rendered.keys()):
        if (found := _read(target / name)) is not None:
            yield Difference(target / name, found, None)


def _refuse_obstacles(paths: Iterable[Path], force: bool) -> None:
    for path in paths:
        kind = folders.kind(path)
        if kind not in (None, "file") and not (force and path.is_symlink()):
            raise BuildFolderError(f"{path} is a {kind}, not a file; move it away")


def _refuse_edited(differences: Iterable[Difference], known: Recorded, remedy: str) -> None:
    refused = [
        f"{path} {'was edited since it was built' if hashes else 'was not built by ranspec'}"
        for path, hashes, found in (
            (difference.path, known.get(difference.path.name), difference.found)
            for difference in differences
        )
        if found is not None and path.name != MANIFEST and file_hash(found) not in (hashes or ())
    ]
    if refused:
        more = f", and so {len(refused) - _LISTED} more" if len(refused) > _LISTED else ""
        raise BuildFolderError(f"{', '.join(refused[:_LISTED])}{more}; {remedy}")


def _recorded(folder: Path, *, strict: bool) -> Recorded:
    """Return the files of the last build; raise `BuildFolderError` if strict and it is damaged."""
    text = _read(folder / MANIFEST)
    if text is None:
        return {}
    try:
        recorded = dict(json.loads(text)["files"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if not strict:
            return {}
        raise BuildFolderError(
            f"{folder / MANIFEST} is damaged; delete it or use --force"
        ) from error
    # A manifest is data from outside: no name in it may lead out of the folder.
    return {
        name: frozenset([str(digest)])
        for name, digest in recorded.items()
        if _FILE_NAME.fullmatch(name)
    }


def _read(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none, or something that is no file."""
    try:
        return path.read_bytes() if folders.kind(path) == "file" else None
    except OSError as error:
        raise BuildFolderError(f"cannot read {path}: {error.strerror}") from error


def _own_name(file: Path) -> str | None:
    """Return the name under which a file alone is found from here; None where it has none."""
    homes = (*search_folders(), Path())
    home = next((home for home in homes if file.resolve().is_relative_to(home.resolve())), None)
    if home is None or not file.is_file():
        return None
    path = file.resolve().relative_to(home.resolve())
    name = path.with_suffix("").as_posix()
    found = (home / f"{name}{suffix}" for home in homes for suffix in (".yaml", ".yml"))
    first = next((path for path in found if path.is_file()), None)
    portable = all(map(_PORTABLE.fullmatch, path.with_suffix("").parts))
    if first is None or not first.samefile(file) or not portable or _LIKE_A_DIGEST.search(name):
        return None
    return name


def _short(override: str) -> str:
    """Write an override as a part of a folder's name: `activation_spatial`."""
    key, _, value = override.partition("=")
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{key.rpartition('.')[2]}_{value}").strip("_")
