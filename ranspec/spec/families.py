"""`extends`: a spec that says only how it differs from another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ranspec.spec.errors import (
    DEFAULT,
    Problem,
    SpecError,
    did_you_mean,
    either,
    nearest,
    show_with_type,
)
from ranspec.spec.language import ROOT, Place
from ranspec.spec.short_forms import in_full
from ranspec.spec.yaml_source import MAX_BYTES, Node, Unusable, parse

MAX_GENERATIONS = 20
STUDIES = "studies"
"""The folder of a library that holds no specs but studies."""
STAGE_PARTS = frozenset({"unit", "attention"})
"""The parts of the network that a stage may change for itself."""

_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Family:
    """The merged values of a file and those it extends, and what was wrong in them."""

    node: Node
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """The folders in which specs are found by name, and which a family of specs stays in."""

    folders: Sequence[Path]
    allow_outside: bool = False

    def find(self, name: str) -> Path | None:
        """Return the first file of a name."""
        return next(self._files(name, self.folders), None)

    def find_beside(self, name: str, path: Path) -> Path | None:
        """Return the file of a name that is not `path`, from the library that `path` is of first.

        A spec outside all libraries looks in its own folder first.
        """
        home = self.home(path) or path.parent
        found = list(self._files(name, (home, *self.folders)))
        others = (file for file in found if file.resolve() != path.resolve())
        return next(others, found[0] if found else None)

    def home(self, path: Path) -> Path | None:
        """Return the folder of the library that `path` lies in, if any."""
        file = path.resolve()
        return next((home for home in self.folders if file.is_relative_to(home.resolve())), None)

    def tree(self, path: Path) -> Path | None:
        """Return the folder that what `path` extends by file name must lie in, if any."""
        if self.allow_outside:
            return None
        try:
            return (self.home(path) or path.parent).resolve()
        except (OSError, ValueError, RuntimeError):
            return path.parent

    def names(self, folders: Iterable[Path] = ()) -> list[str]:
        """List the names of all specs, but for bases, which begin with `_`, and for studies."""
        files = {
            file.relative_to(folder).with_suffix("")
            for folder in (*folders, *self.folders)
            for file in folder.rglob("*.yaml")
        }
        return sorted(
            file.as_posix()
            for file in files
            if not file.name.startswith("_") and file.parts[0] != STUDIES
        )

    def _files(self, name: str, folders: Iterable[Path]) -> Iterator[Path]:
        if not _NAME.fullmatch(name):
            return iter(())
        files = (folder / f"{name}.yaml" for folder in folders)
        return (file for file in files if file.is_file())


def no_such_name(name: str, library: Library, what: str = "spec") -> str:
    """Say that no spec has a name, and which are near."""
    near = nearest(name, library.names(), 3)
    return f"no {what} of this name" + (f"; did you mean {either(near)}?" if near else "")


def read_family(path: Path, library: Library, data: bytes | None = None) -> Family:
    """Read a file, or `data` in its place, and all that it extends.

    Raises SpecError for what cannot be read at all, cycles and files outside their folder.
    """
    return _read(path, library, (), Problem(str(path), 0, 0, "", ""), data)


def _read(
    path: Path, library: Library, younger: tuple[Path, ...], blame: Problem, data: bytes | None
) -> Family:
    node, problems = parse(read_bytes(path, blame) if data is None else data, str(path))
    if not isinstance(node.value, dict):
        found = show_with_type(node.plain())
        message = f"a spec is a mapping of keys; found {found}"
        raise SpecError([*problems, Problem.at(node.origin, (), message)])
    files = (*younger, path)
    entries = dict(node.value)
    extends = entries.pop("extends", None)
    own = in_full(replace(node, value=entries))
    if extends is None or isinstance(extends.value, Unusable):
        return Family(own, files, problems)
    try:
        parent = _parent(extends, path, library, files)
        blame = Problem.at(extends.origin, ("extends",), "")
        family = _read(parent, library, files, blame, None)
    except SpecError as error:
        raise SpecError([*problems, *error.problems]) from None
    return Family(merge(family.node, own), family.files, (*problems, *family.problems))


def _parent(extends: Node, path: Path, library: Library, files: tuple[Path, ...]) -> Path:
    def refusal(message: str) -> SpecError:
        return SpecError([Problem.at(extends.origin, ("extends",), message)])

    name = extends.value
    if not isinstance(name, str):
        found = show_with_type(extends.plain())
        raise refusal(f"found {found}, expected the name of a spec or of a file")
    try:
        named = library.find_beside(name, path)
        parent = named or Path(os.path.normpath(path.parent / name))
        resolved = parent.resolve()
        tree = library.tree(path)
        if not named and tree is not None and not resolved.is_relative_to(tree):
            raise refusal(f"{name!r} lies outside the spec's own folder {str(tree)!r}")
        seen = [file.resolve() for file in files]
    except (OSError, ValueError, RuntimeError):
        raise refusal(f"{name!r} is not a usable path") from None
    if resolved in seen:
        chain = " -> ".join(str(file) for file in (*files[seen.index(resolved) :], parent))
        raise refusal(f"cycle: {chain}")
    if len(files) >= MAX_GENERATIONS:
        raise refusal(f"more than {MAX_GENERATIONS} files extend one another")
    if not named and _NAME.fullmatch(name) and not parent.exists():
        raise refusal(f"{name!r}: {no_such_name(name, library)}")
    return parent


def read_bytes(path: Path, blame: Problem) -> bytes:
    """Read at most one byte more than is allowed, from regular files alone.

    Raises SpecError, with what is wrong in the place of `blame`, for what cannot be read.
    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        message = "not a file" if path.exists() else "no such file"
        near = did_you_mean(path.name, _siblings(path))
    except (OSError, ValueError) as error:
        message, near = f"cannot be read ({type(error).__name__})", ""
    subject = f"{str(path)!r}: " if blame.key else ""
    raise SpecError([replace(blame, message=f"{subject}{message}{near}")])


def _siblings(path: Path) -> Iterable[str]:
    return [file.name for file in path.parent.glob("*.yaml")] if path.parent.is_dir() else []


def inherit(node: Node) -> Node:
    """Lay each stage's own unit and attention over the network's, as `extends` does."""
    entries = node.value
    if not isinstance(entries, dict) or "stages" not in entries:
        return node
    stages = entries["stages"]
    if not isinstance(stages.value, dict):
        return node
    inherited = {name: _with_network(stage, entries) for name, stage in stages.value.items()}
    return replace(node, value={**entries, "stages": replace(stages, value=inherited)})


def _with_network(stage: Node, network: dict[str, Node]) -> Node:
    if not isinstance(stage.value, dict):
        return stage
    entries = dict(stage.value)
    for key in STAGE_PARTS & entries.keys():
        place = ROOT.inside(key, {})
        kind = place.default_kind if place else None
        default = {"kind": Node(kind, DEFAULT)} if kind else {}
        base = network.get(key)
        given = base.value if base and isinstance(base.value, dict) else {}
        entries[key] = merge(Node({**default, **given}, DEFAULT), entries[key], place)
    return replace(stage, value=entries)


def merge(base: Node, child: Node, place: Place | None = ROOT) -> Node:
    """Lay `child` over `base`: mappings of one kind merge, everything else replaces.

    A null replaces too, and removes an entry whose key is the author's own (a stage). The base's
    order stands, with new entries last, unless the child names all that the base has.
    """
    if not isinstance(base.value, dict) or not isinstance(child.value, dict):
        return child
    has_kinds = place is not None and len(place.models) > 1 and "kind" in child.value
    if place and has_kinds and _kind(base, place) != _kind(child, place):
        return child
    removable = place is not None and place.is_open
    plain = {name: node.value for name, node in {**base.value, **child.value}.items()}
    merged = dict(base.value)
    for name, node in child.value.items():
        if name not in merged:
            merged[name] = node
        elif removable and node.value is None:
            del merged[name]
        else:
            inner = place.inside(name, plain) if place else None
            merged[name] = merge(merged[name], node, inner)
    if child.value.keys() >= base.value.keys():
        merged = {name: merged[name] for name in child.value if name in merged}
    is_override = child.origin.line == 0
    written = base if is_override else child
    return replace(child, value=merged, origin=written.origin, key=written.key)


def _kind(node: Node, place: Place) -> object:
    entries = node.value if isinstance(node.value, dict) else {}
    return entries["kind"].value if "kind" in entries else place.default_kind
