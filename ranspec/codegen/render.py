"""What a build holds: the contents of every file, from a spec and a backend."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ranspec import __version__
from ranspec.analysis.count import network_card
from ranspec.codegen.backend import (
    Backend,
    Files,
    Request,
    UnsupportedError,
    Weights,
    require_installed,
)
from ranspec.codegen.code import LINE_LENGTH
from ranspec.codegen.imports import imported_modules
from ranspec.codegen.names import network_class
from ranspec.codegen.training import lacking, training_context
from ranspec.codegen.weights import initial
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph, unique_traces
from ranspec.ir.trace import BlockNode
from ranspec.runtime.identity import CARD, SPEC
from ranspec.spec import LoadedSpec, Problem, SpecError
from ranspec.spec.writer import write_spec

if TYPE_CHECKING:
    from jinja2 import Environment

MANIFEST = ".ranspec.json"
COMMON = "ranspec.codegen"
"""The package whose templates all backends share."""
REQUIREMENTS = {
    "PIL": "pillow>=10",
    "numpy": "numpy>=1.26",
    "safetensors": "safetensors>=0.4.5",
    "scipy": "scipy>=1.11",
    "sklearn": "scikit-learn>=1.4",
    "tqdm": "tqdm>=4.66",
}
"""What to install for each module that the copied runtime modules import."""


def render_files(
    loaded: LoadedSpec,
    backend: Backend,
    *,
    weights: Weights | None = None,
    dtype: str = "float32",
    graph: Graph | None = None,
) -> dict[str, str | bytes]:
    """Return every file of a build by name, the manifest last; the same for the same spec.

    `weights` are for a backend that embeds them, by default the initial ones; `graph` is another
    network than the spec's, to be trained by its recipe. Raises `SpecError`
    where the backend reserves the name of a stage, `UnsupportedError` where it cannot write the
    network or is given weights and embeds none, `NotInstalledError` where it lacks a module to
    write with.
    """
    require_installed(backend, backend.writes_with)
    graph = graph or compile_spec(loaded)
    refuse_reserved_names(loaded, graph, [backend])
    if backend.embeds_weights:
        weights = weights or initial(loaded, graph)
    elif weights is not None:
        raise UnsupportedError(
            f"{backend.title} code holds no weights: its train.py takes a checkpoint when it runs"
        )
    if backend.trains and (keys := lacking(loaded.spec.train, backend.lacks)):
        raise UnsupportedError(f"{backend.title} code has no train.{keys[0]} yet")
    card = network_card(graph)
    context = {
        "spec": loaded.spec,
        "source": loaded.source,
        "digest": loaded.digest,
        "spec_name": loaded.spec.name,
        "backend": backend,
        "training": training_context(
            loaded.spec, digest=loaded.digest, model_class=network_class(graph, backend)
        ),
        "weights": weights,
        "parameters": card["parameters"],
        "macs": card["macs"],
        "input": "x".join(str(size) for size in card["input"]),
    }
    rendered = dict(backend.write(Request(loaded, graph, weights, dtype, context)))
    context["requirements"] = requirements(rendered, backend)
    environment = template_environment(backend.package)
    for template in _templates(COMMON):
        if template.endswith(".py.j2"):
            continue
        rendered[template.removesuffix(".j2")] = environment.get_template(template).render(context)
    rendered[SPEC] = write_spec(loaded)
    rendered[CARD] = json.dumps(card, indent=2) + "\n"
    rendered = {name: content for name, content in sorted(rendered.items()) if content}
    rendered[MANIFEST] = _manifest(loaded, backend, rendered)
    return rendered


def own_templates(package: str) -> list[str]:
    """Return the templates of a backend's package but for those that it shares with others."""
    return [name for name in _templates(package) if name not in _templates(COMMON)]


def _templates(package: str) -> list[str]:
    folder = files(package) / "templates"
    names = [item.name for item in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if name.endswith(".j2"))


def refuse_reserved_names(loaded: LoadedSpec, graph: Graph, backends: Iterable[Backend]) -> None:
    """Raise `SpecError` where a part of a network has a name that a backend reserves."""
    problems = [item for backend in backends for item in _reserved_names(loaded, graph, backend)]
    if problems:
        raise SpecError(problems)


def _reserved_names(loaded: LoadedSpec, graph: Graph, backend: Backend) -> Iterator[Problem]:
    for name in loaded.spec.stages:
        if name in backend.reserved:
            message = f"{name!r} means something in {backend.title}; choose another name"
            yield loaded.problem(("stages", name), message)
    for trace in unique_traces(graph.root):
        for node in trace.nodes:
            owns = isinstance(node, BlockNode) or node.operation.parameters()
            if owns and node.name in backend.reserved and node.name not in loaded.spec.stages:
                where = f"{trace.class_name}.{node.name}"
                message = f"{where}: {node.name!r} means something in {backend.title}"
                yield loaded.problem((), message)


def requirements(rendered: Files, backend: Backend) -> list[str]:
    """Return what to install for the modules that the Python files of a build import."""
    table = REQUIREMENTS | dict(backend.requirements)
    own = {Path(name).stem for name in rendered}
    imported = {
        module
        for name, text in rendered.items()
        if name.endswith(".py")
        for module in imported_modules(str(text))
    }
    return sorted(table[module] for module in imported - own - sys.stdlib_module_names)


@cache
def template_environment(package: str) -> Environment:
    """Return the environment that a package's templates are rendered in.

    What all backends share is found there too, and under `ranspec/` where the package's own
    template of that name extends it.
    """
    from jinja2 import (
        ChoiceLoader,
        Environment,
        FunctionLoader,
        PackageLoader,
        PrefixLoader,
        StrictUndefined,
    )

    common = PackageLoader(COMMON)
    own = PackageLoader(package) if _templates(package) else FunctionLoader(lambda name: None)
    environment = Environment(
        loader=ChoiceLoader([own, common, PrefixLoader({"ranspec": common})]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"import_from": _import_from, "markdown": _markdown}
    return environment


def _import_from(names: list[str], module: str) -> str:
    """Write an import, sorted and wrapped as formatters do."""
    names = sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def _markdown(text: str) -> str:
    """Write a text as one line of Markdown that means no more than the text."""
    line = re.sub(r"([\\`*\[\]<>&|~])", r"\\\1", " ".join(text.split()))
    line = re.sub(r"^(\d+)([.)])", r"\1\\\2", line)
    return re.sub(r"^([-+#=_])", r"\\\1", line)


def _manifest(loaded: LoadedSpec, backend: Backend, rendered: Files) -> str:
    content = {
        "ranspec": __version__,
        "spec": loaded.source.name,
        "overrides": loaded.source.overrides,
        "spec_sha256": loaded.digest,
        "backend": backend.name,
        "files": {name: file_hash(content) for name, content in sorted(rendered.items())},
    }
    return json.dumps(content, indent=2) + "\n"


def file_hash(content: str | bytes) -> str:
    """Return the SHA-256 by which the manifest knows a file."""
    return hashlib.sha256(as_bytes(content)).hexdigest()


def as_bytes(content: str | bytes) -> bytes:
    """Return what a file holds on disk."""
    return content.encode() if isinstance(content, str) else content
