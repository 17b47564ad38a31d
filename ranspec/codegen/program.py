"""A network as a Python program: `model.py`, the files around it, and the modules it copies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ranspec.codegen.backend import CodeBackend, Request
from ranspec.codegen.classes import ClassText, docstring, write_classes
from ranspec.codegen.imports import imported_modules
from ranspec.codegen.render import own_templates, template_environment
from ranspec.ir.graph import Graph

MODEL, RECIPE = "model.py.j2", "recipe.py"


def write_program(backend: CodeBackend, request: Request) -> dict[str, str]:
    """Return the files of a backend that writes Python."""
    context = request.context
    environment = template_environment(backend.package)
    model, _ = write_model(backend, request.graph, context)
    rendered = {MODEL.removesuffix(".j2"): model}
    for template in own_templates(backend.package):
        if template != MODEL:
            text = environment.get_template(template).render(**context)
            rendered[template.removesuffix(".j2")] = text
    rendered[RECIPE] = environment.get_template(f"{RECIPE}.j2").render(**context)
    modules = _runtime_files("ranspec.runtime") | _runtime_files(f"{backend.package}.runtime")
    return _reached(rendered, modules)


def write_model(
    backend: CodeBackend, graph: Graph, context: Mapping[str, Any]
) -> tuple[str, list[ClassText]]:
    """Return `model.py` alone, and its classes; of a template's context it needs `spec`."""
    classes = write_classes(graph, backend)
    template = template_environment(backend.package).get_template(MODEL)
    return template.render(**context, **_model(backend, classes, context)), classes


def _reached(rendered: Mapping[str, str], modules: Mapping[str, str]) -> dict[str, str]:
    """Return the files of a program with those modules that they import, and these import."""
    files = dict(rendered)
    pending = list(rendered.values())
    while pending:
        names = {f"{name}.py" for name in imported_modules(pending.pop())}
        found = {name: modules[name] for name in names & modules.keys() - files.keys()}
        files |= found
        pending += found.values()
    return files


def _model(
    backend: CodeBackend, classes: list[ClassText], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the template of model.py is given beside the context."""
    code = "\n".join(line for text in classes for line in (*text.assignments, *text.statements))
    spec = context["spec"]
    return {
        "classes": classes,
        "imports": [line for name, line in backend.imports.items() if _mentions(code, name)],
        "layers": sorted(name for name in backend.layers if _mentions(code, name)),
        "docstring": docstring(f"{spec.name} in {backend.title}: {spec.source.rstrip('.')}.", 0),
    }


def _mentions(code: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", code) is not None


def _runtime_files(package: str) -> dict[str, str]:
    """Return a package's modules, which import one another without its name in a built folder."""
    return {
        item.name: _as_neighbours(item.read_text(encoding="utf-8"))
        for item in files(package).iterdir()
        if item.name.endswith(".py") and item.name != "__init__.py"
    }


def _as_neighbours(module: str) -> str:
    """Take packages off the imports of runtime modules, and sort those as formatters do."""
    package = r"from (?:ranspec|\w+)\.runtime\.(?=\w+ import )"
    statement = rf"{package}(?:[^\n(]+|[^\n]+\([^)]*\))\n"

    def block(found: re.Match[str]) -> str:
        statements = re.findall(statement, found[0])
        return "".join(sorted(re.sub(package, "from ", text) for text in statements))

    module = re.sub(rf"^(?:{statement})+", block, module, flags=re.MULTILINE)
    return re.sub(rf"^( +){package}", r"\1from ", module, flags=re.MULTILINE)
