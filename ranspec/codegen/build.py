"""From a spec to a folder of code: rendering, the manifest, and writing with care."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec import __version__
from ranspec.codegen.backend import Backend, load_backend
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

_FILE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")


class BuildFolderError(Exception):
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
    rendered = render_files(loaded, load_backend(backend))
    target = folder or default_folder(loaded, backend)
    if not force:
        _refuse_edited(target, rendered)
    stale = set(_recorded(target, strict=not force)) - set(rendered)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in sorted(stale):
            (target / name).unlink(missing_ok=True)
        for name, text in rendered.items():
            _replace(target / name, text)
    except OSError as error:
        raise BuildFolderError(f"cannot write {error.filename}: {error.strerror}") from error
    return BuildResult(target, tuple(rendered))


def check_build(loaded: LoadedSpec, backend: str, folder: Path | None = None) -> list[str]:
    """Return the files of a folder that `build` would write differently or remove."""
    rendered = render_files(loaded, load_backend(backend))
    target = folder or default_folder(loaded, backend)
    stale = sorted(set(_recorded(target, strict=False)) - set(rendered))
    present = [name for name in stale if _read(target / name) is not None]
    return [name for name, text in rendered.items() if _read(target / name) != text] + present


def default_folder(loaded: LoadedSpec, backend: str) -> Path:
    """Return the folder that a build writes unless told otherwise, below the current one."""
    return Path("generated") / loaded.spec.name / backend


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
        "files": {name: _hash(text) for name, text in sorted(rendered.items())},
    }
    return json.dumps(content, indent=2) + "\n"


def _refuse_edited(folder: Path, rendered: Mapping[str, str]) -> None:
    recorded = _recorded(folder, strict=True)
    for name in sorted({*rendered, *recorded} - {MANIFEST}):
        text = _read(folder / name)
        if text is None or text == rendered.get(name) or _hash(text) == recorded.get(name):
            continue
        origin = "was edited since it was built" if name in recorded else "was not built by ranspec"
        raise BuildFolderError(f"{folder / name} {origin}; use --force to overwrite it")


def _recorded(folder: Path, *, strict: bool) -> dict[str, str]:
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
    return {name: str(digest) for name, digest in recorded.items() if _FILE_NAME.fullmatch(name)}


def _read(path: Path) -> str | None:
    """Return a file's text; None where there is no file; what is not text has no known one."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return "not text"
    except OSError as error:
        raise BuildFolderError(f"cannot read {path}: {error.strerror}") from error


def _replace(path: Path, text: str) -> None:
    """Write a file in one step, in place of whatever has its name: a link is not followed."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with temporary.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
    temporary.replace(path)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
