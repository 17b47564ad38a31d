"""`extends`: a spec that says only how it differs from another."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ranspec.spec.errors import Problem, SpecError, did_you_mean, show_with_type
from ranspec.spec.language import ROOT, Place
from ranspec.spec.yaml_source import MAX_BYTES, Node, Unusable, parse

MAX_GENERATIONS = 20


@dataclass(frozen=True, slots=True)
class Family:
    """The merged values of a file and those it extends, and what was wrong in them."""

    node: Node
    files: tuple[Path, ...]
    problems: tuple[Problem, ...]


def read_family(path: Path, tree: Path | None) -> Family:
    """Read a file and all that it extends; `tree` is the folder they must lie in, if any.

    Raises SpecError for what cannot be read at all, cycles and files outside the tree.
    """
    return _read(path, tree, (), Problem(str(path), 0, 0, "", ""))


def _read(path: Path, tree: Path | None, younger: tuple[Path, ...], blame: Problem) -> Family:
    data = _bytes(path, blame)
    node, problems = parse(data, str(path))
    if not isinstance(node.value, dict):
        found = show_with_type(node.plain())
        message = f"a spec is a mapping of keys; found {found}"
        raise SpecError([*problems, Problem.at(node.origin, (), message)])
    files = (*younger, path)
    entries = dict(node.value)
    extends = entries.pop("extends", None)
    own = replace(node, value=entries)
    if extends is None or isinstance(extends.value, Unusable):
        return Family(own, files, problems)
    try:
        parent = _parent(extends, path, tree, files)
        blame = Problem.at(extends.origin, ("extends",), "")
        family = _read(parent, tree, files, blame)
    except SpecError as error:
        raise SpecError([*problems, *error.problems]) from None
    return Family(merge(family.node, own), family.files, (*problems, *family.problems))


def _parent(extends: Node, path: Path, tree: Path | None, files: tuple[Path, ...]) -> Path:
    def refusal(message: str) -> SpecError:
        return SpecError([Problem.at(extends.origin, ("extends",), message)])

    name = extends.value
    if not isinstance(name, str):
        raise refusal(f"found {show_with_type(extends.plain())}, expected a file name")
    parent = Path(os.path.normpath(path.parent / name))
    try:
        resolved = parent.resolve()
        if tree is not None and not resolved.is_relative_to(tree):
            raise refusal(f"{name!r} lies outside the spec's own folder {str(tree)!r}")
        seen = [file.resolve() for file in files]
    except (OSError, ValueError, RuntimeError):
        raise refusal(f"{name!r} is not a usable path") from None
    if resolved in seen:
        chain = " -> ".join(str(file) for file in (*files[seen.index(resolved) :], parent))
        raise refusal(f"cycle: {chain}")
    if len(files) >= MAX_GENERATIONS:
        raise refusal(f"more than {MAX_GENERATIONS} files extend one another")
    return parent


def _bytes(path: Path, blame: Problem) -> bytes:
    """Read at most one byte more than is allowed, from regular files alone."""
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
