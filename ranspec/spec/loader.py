"""From a path or a name to a checked spec that knows where each of its values was written."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ranspec.spec.alternatives import checked_alternatives
from ranspec.spec.attention import Mask
from ranspec.spec.errors import DEFAULT, Origin, Problem, SpecError
from ranspec.spec.families import Library, inherit, merge, no_such_name, read_family
from ranspec.spec.model import Spec, Stage
from ranspec.spec.overrides import canonical_override, parse_override
from ranspec.spec.validation import validate
from ranspec.spec.yaml_source import MAX_BYTES, Node

KeyPath = tuple[str, ...]

_CLEAN_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")

STDIN = "-"
"""The source that is read from standard input."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a spec was resolved from, the same on every machine.

    `name` is as `ranspec list` has it, or the name of the file without its suffix; `overrides` are
    as `--set` takes them. A `spec.yaml` that a build wrote has the source of that build.
    """

    name: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A spec with its sources.

    `origins` has every key of the resolved spec, DEFAULT for those written nowhere; `files` are
    those read, the one asked for first; `digest` identifies the resolved spec.
    """

    spec: Spec
    origins: Mapping[KeyPath, Origin]
    files: tuple[Path, ...]
    digest: str
    source: Source

    def __repr__(self) -> str:
        written = ", ".join(map(str, self.files))
        return f"<LoadedSpec {self.spec.name} from {written}>"

    def locate(self, *path: str) -> Origin:
        """Return where the value at `path` was written, or the nearest key around it."""
        for length in range(len(path), -1, -1):
            origin = self.origins.get(path[:length], DEFAULT)
            if origin != DEFAULT:
                return origin
        return DEFAULT

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Describe a problem with the value at `path`."""
        return Problem.at(self.locate(*path), path, message)

    def resolved(self) -> dict[str, Any]:
        """Return the whole spec, defaults included, as plain data."""
        return self.spec.model_dump(mode="json")


def load_spec(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    search: Sequence[Path] | None = None,
    allow_outside: bool = False,
) -> LoadedSpec:
    """Load the spec at a path, of a name such as `baselines/resnet164_cifar`, or `-` from stdin.

    Names are looked up in the folders of `search` (default: `search_folders()`). What a spec
    extends by file name must lie in the search folder it is in, or else in its own, unless
    `allow_outside`.
    Raises SpecError, and nothing else, for anything wrong with the spec.
    """
    library = Library(search_folders() if search is None else tuple(search), allow_outside)
    data = sys.stdin.buffer.read(MAX_BYTES + 1) if source == STDIN else None
    path = Path("<stdin>") if source == STDIN else _find(source, library)
    family = read_family(path, library, data)
    changes, problems = _parse_overrides(overrides)
    node = inherit(reduce(merge, changes, family.node))
    problems = (*family.problems, *problems)

    def locate(key_path: KeyPath, is_key: bool) -> Origin:
        return node.locate(key_path, is_key)

    def locate_alternative(key: str, index: int) -> Origin:
        return locate(("alternatives", key, str(index)), False)

    def is_own(key: str) -> bool:
        written = node.locate(("alternatives", key), True).file == str(path)
        return written and not changes

    try:
        spec = validate(node.plain(), locate)
        spec, more = checked_alternatives(spec, locate_alternative, is_own)
    except SpecError as error:
        raise _sorted_error((*problems, *error.problems), family.files) from None
    problems = (*problems, *more)
    if problems:
        raise _sorted_error(problems, family.files)
    ignored = tuple(_ignored_depths(spec, locate, family.files))
    if ignored and not spec.built_from:
        raise _sorted_error(ignored, family.files)
    spec = _without_idle_depths(spec)
    resolved = spec.model_dump(mode="json")
    origins = MappingProxyType(dict(_origins(resolved, node, ())))
    digest = _digest(resolved)
    written = tuple(map(canonical_override, overrides))
    resolved_from = Source(_name(path) or spec.name, written)
    if built := spec.built_from:
        unchanged = _digest_of(inherit(family.node)) if changes else digest
        if built.digest == unchanged:
            resolved_from = Source(built.spec, (*built.overrides, *written))
    return LoadedSpec(spec, origins, family.files, digest, resolved_from)


def _ignored_depths(
    spec: Spec, locate: Callable[[KeyPath, bool], Origin], files: Sequence[Path]
) -> Iterator[Problem]:
    """Find depths that were written for masks without one.

    A parent may have written them before its masks were replaced by others.
    """
    ages = {str(file): age for age, file in enumerate(files)}
    for name, stage in spec.stages.items():
        if stage.mask_depth is None or _mask(spec, stage).has_depth:
            continue
        owner = ("stages", name) if stage.attention else ()
        depth = locate(("stages", name, "mask_depth"), False)
        kind = locate((*owner, "attention", "mask", "kind"), False)
        if ages.get(depth.file, -1) <= ages.get(kind.file, -1):
            message = f"a mask of kind {_mask(spec, stage).kind} has no depth; leave it out"
            yield Problem.at(depth, ("stages", name, "mask_depth"), message)


def _without_idle_depths(spec: Spec) -> Spec:
    stages = {
        name: stage
        if _mask(spec, stage).has_depth
        else stage.model_copy(update={"mask_depth": None})
        for name, stage in spec.stages.items()
    }
    return spec if stages == spec.stages else spec.model_copy(update={"stages": stages})


def _mask(spec: Spec, stage: Stage) -> Mask:
    return (stage.attention or spec.attention).mask


def search_folders() -> tuple[Path, ...]:
    """Return where names are looked up: `./specs`, then the specs that come with ranspec."""
    return Path("specs"), packaged_specs()


def packaged_specs() -> Path:
    """Return the folder of the specs that come with ranspec, installed or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "specs"
    return installed if installed.is_dir() else package.parent / "specs"


def available_specs(search: Sequence[Path] | None = None) -> list[str]:
    """List the names that `load_spec` knows; files that begin with `_` are bases, not listed."""
    return Library(search_folders() if search is None else search).names()


def _find(source: str | Path, library: Library) -> Path:
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")):
        return Path(source)
    if file := library.find(source):
        return file
    if Path(source).suffix or source.startswith((".", "/")):
        return Path(source)
    raise SpecError([Problem(source, 0, 0, "", no_such_name(source, library))])


def _name(file: Path) -> str | None:
    """Return what a file is called wherever it lies; None where it has no such name."""
    packaged, file = packaged_specs().resolve(), file.resolve()
    shipped = file.is_relative_to(packaged)
    name = file.relative_to(packaged).with_suffix("").as_posix() if shipped else file.stem
    return name if _CLEAN_NAME.fullmatch(name) else None


def _parse_overrides(texts: Sequence[str]) -> tuple[list[Node], tuple[Problem, ...]]:
    nodes: list[Node] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            nodes.append(parse_override(text))
        except SpecError as error:
            problems += error.problems
    return nodes, tuple(problems)


def _origins(value: Any, node: Node, path: KeyPath) -> list[tuple[KeyPath, Origin]]:
    found = node.descend(path)
    origins = [(path, found.place if found else DEFAULT)]
    parts: Mapping[str, Any] = {}
    if isinstance(value, dict):
        parts = value
    elif isinstance(value, list):
        parts = {str(index): item for index, item in enumerate(value)}
    for key, item in parts.items():
        origins += _origins(item, node, (*path, key))
    return origins


def _digest_of(node: Node) -> str | None:
    """Return the digest of the spec that a node describes; None where it describes none."""
    try:
        return _digest(validate(node.plain(), lambda path, is_key: DEFAULT).model_dump(mode="json"))
    except SpecError:
        return None


def _digest(resolved: dict[str, Any]) -> str:
    # The order of keys means nothing, but for that of the stages.
    ordered = {**resolved, "stages": list(resolved["stages"].items())}
    canonical = json.dumps(ordered, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _sorted_error(problems: Sequence[Problem], files: Sequence[Path]) -> SpecError:
    ages = {str(file): age for age, file in enumerate(files)}
    return SpecError(
        sorted(
            problems,
            key=lambda problem: (ages.get(problem.file, -1), problem.line, problem.column),
        )
    )
