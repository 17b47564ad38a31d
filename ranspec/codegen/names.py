"""Names that a backend's files use: classes make way for them, numbers and inputs cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from ranspec.codegen.backend import Backend, CodeBackend, UnsupportedError
from ranspec.ir.definitions import Definition
from ranspec.ir.graph import Graph

MODEL = "model.py.j2"


def class_names(graph: Graph, backend: Backend) -> dict[Definition, str]:
    """Name every class, with a suffix where the backend's files use its name already."""
    own = {definition.class_name for definition in graph.definitions}
    of_model = _capitalised(backend.package, MODEL)
    of_model |= bound_names(backend) if isinstance(backend, CodeBackend) else set()
    of_all = of_model | _capitalised(backend.package) | _capitalised(__package__)
    names = {}
    for definition in graph.definitions:
        is_network = definition.trace is graph.root
        taken, suffix = (of_all, "Network") if is_network else (of_model, "Block")
        name = definition.class_name
        while name in taken or (name != definition.class_name and name in own):
            name += suffix
        names[definition] = name
    return names


def network_class(graph: Graph, backend: Backend) -> str:
    """Return the name of the class that is the whole network."""
    return class_names(graph, backend)[graph.definition_of[graph.root]]


def check_names(
    where: str, backend: CodeBackend, *, numbers: Iterable[str], inputs: Iterable[str]
) -> None:
    """Raise `UnsupportedError` where a number or an input of a class hides a name in use."""
    numbers, bound = tuple(numbers), bound_names(backend)
    taken = [name for name in numbers if name in backend.reserved]
    taken += [name for name in (*numbers, *inputs) if name in bound]
    for name in taken:
        raise UnsupportedError(
            f"{where}: {name!r} means something in {backend.title}; choose another name"
        )


def bound_names(backend: CodeBackend) -> frozenset[str]:
    """Return what the imports of a backend's model.py may bind."""
    return frozenset({*_imported(backend.package), *backend.imports, *backend.layers})


@cache
def _imported(package: str) -> frozenset[str]:
    """Return what the template of a package's model.py imports whatever the network."""
    fixed = re.findall(
        r"^(?:from \S+ )?import (.+)$", _templates(package).get(MODEL, ""), re.MULTILINE
    )
    return frozenset(part.split()[-1] for line in fixed for part in line.split(","))


@cache
def _capitalised(package: str, *templates: str) -> frozenset[str]:
    """Return the words of a package's templates, or of some, that may be classes.

    To take a word of a comment for one does no harm.
    """
    sources = _templates(package)
    return frozenset(
        word
        for name in templates or sources
        for word in re.findall(r"\b[A-Z]\w*", sources.get(name, ""))
    )


def _templates(package: str) -> dict[str, str]:
    folder = files(package) / "templates"
    return {
        item.name: item.read_text(encoding="utf-8")
        for item in (folder.iterdir() if folder.is_dir() else ())
        if item.name.endswith(".py.j2")
    }
