"""What a build holds: the text of every file, from a spec and a backend."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from math import prod
from typing import TYPE_CHECKING, Any

from ranspec import __version__
from ranspec.codegen.backend import Backend
from ranspec.codegen.classes import ClassText, docstring, write_classes
from ranspec.codegen.code import LINE_LENGTH
from ranspec.codegen.training import training_context
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.spec import LoadedSpec

if TYPE_CHECKING:
    from jinja2 import Environment

MANIFEST = ".ranspec.json"
RUNTIME_REQUIREMENTS = (
    "numpy>=1.26",
    "pillow>=10",
    "safetensors>=0.4.5",
    "scikit-learn>=1.4",
    "tqdm>=4.66",
)
"""What the copied runtime modules import."""


def render_files(loaded: LoadedSpec, backend: Backend) -> dict[str, str]:
    """Return every file of a build by name, the manifest last; the same for the same spec."""
    graph = compile_spec(loaded)
    classes = write_classes(graph, backend)
    training = training_context(loaded.spec, model_class=classes[-1].name)
    environment = template_environment(backend.package)
    shared: dict[str, Any] = {
        "spec": loaded.spec,
        "spec_name": loaded.spec.name,
        "backend": backend,
        "training": training,
        "network": classes[-1],
        "parameters": _trainable(graph),
        "macs": sum(layer.operation.macs(layer.output) for layer in graph.layers),
        "requirements": sorted({*backend.requirements, *RUNTIME_REQUIREMENTS}),
        "input": "x".join(str(size) for size in graph.input),
    }
    rendered = {"model.py": _render_model(environment, backend, classes, shared)}
    for template in sorted(environment.list_templates()):
        if template.endswith(".j2") and template != "model.py.j2":
            rendered[template.removesuffix(".j2")] = environment.get_template(template).render(
                shared
            )
    shared_environment = template_environment("ranspec.codegen")
    for template in sorted(shared_environment.list_templates()):
        rendered.setdefault(
            template.removesuffix(".j2"), shared_environment.get_template(template).render(shared)
        )
    rendered |= _runtime_files("ranspec.runtime") | _runtime_files(f"{backend.package}.runtime")
    for module, user in (("layers", "model"), ("progress", "train"), ("schedule", "train")):
        if f"from {module} import" not in rendered[f"{user}.py"]:
            rendered.pop(f"{module}.py", None)
    rendered = dict(sorted(rendered.items()))
    rendered[MANIFEST] = _manifest(loaded, backend, rendered)
    return rendered


def _render_model(
    environment: Environment,
    backend: Backend,
    classes: list[ClassText],
    shared: Mapping[str, Any],
) -> str:
    code = "\n".join(line for text in classes for line in (*text.assignments, *text.statements))
    imports = [line for name, line in backend.imports.items() if _mentions(code, name)]
    layers = sorted(name for name in backend.layers_module if _mentions(code, name))
    return environment.get_template("model.py.j2").render(
        **shared,
        classes=classes,
        imports=imports,
        layers=layers,
        docstring=docstring(_model_description(shared), 0),
    )


def _import_from(names: list[str], module: str) -> str:
    """Write an import, sorted and wrapped as formatters do."""
    names = sorted(names)
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LENGTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def _model_description(shared: Mapping[str, Any]) -> str:
    spec, backend = shared["spec"], shared["backend"]
    return f"{spec.name} in {backend.title}: {spec.source.rstrip('.')}."


def _mentions(code: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", code) is not None


def _trainable(graph: Graph) -> int:
    return sum(prod(tensor.shape) for tensor in graph.tensors.values() if tensor.trainable)


@cache
def template_environment(package: str) -> Environment:
    """Return the environment that a package's templates are rendered in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"import_from": _import_from, "markdown": _markdown}
    return environment


def _markdown(text: str) -> str:
    """Write a text as one line of Markdown that means no more than the text."""
    line = re.sub(r"([\\`*\[\]<>&|~])", r"\\\1", " ".join(text.split()))
    line = re.sub(r"^(\d+)([.)])", r"\1\\\2", line)
    return re.sub(r"^([-+#=_])", r"\\\1", line)


def _runtime_files(package: str) -> dict[str, str]:
    return {
        item.name: item.read_text(encoding="utf-8")
        for item in files(package).iterdir()
        if item.name.endswith(".py") and item.name != "__init__.py"
    }


def _manifest(loaded: LoadedSpec, backend: Backend, rendered: Mapping[str, str]) -> str:
    content = {
        "ranspec": __version__,
        "spec": loaded.spec.name,
        "spec_sha256": loaded.digest,
        "backend": backend.name,
        "files": {name: file_hash(text) for name, text in sorted(rendered.items())},
    }
    return json.dumps(content, indent=2) + "\n"


def file_hash(text: str) -> str:
    """Return the SHA-256 by which the manifest knows a file."""
    return hashlib.sha256(text.encode()).hexdigest()
