"""How the shell completes arguments. Nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ranspec.spec.language import Place


def complete_spec(incomplete: str) -> list[str]:
    """Complete the name of a known spec, or the path of a spec file."""
    from ranspec.spec import available_specs

    names = [name for name in available_specs() if name.startswith(incomplete)]
    return names + _paths(incomplete)


def _paths(incomplete: str) -> list[str]:
    """Complete the path of a YAML file."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    try:
        paths = [
            f"{path}/" if path.is_dir() else str(path)
            for path in sorted(folder.iterdir())
            if path.is_dir() or path.suffix in (".yaml", ".yml")
        ]
    except OSError:
        return []
    return [path for path in paths if path.startswith(incomplete)]


def complete_study(incomplete: str) -> list[str]:
    """Complete the name of a known study, or the path of a study's file."""
    from ranspec.studies.loader import available_studies

    names = [name for name in available_studies() if name.startswith(incomplete)]
    return names + _paths(incomplete)


def complete_backend(incomplete: str) -> list[str]:
    """Complete the name of an installed backend."""
    from ranspec.codegen.backend import available_backends

    return [name for name in available_backends() if name.startswith(incomplete)]


def complete_module(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the path of an attention module of the spec given."""
    from ranspec.compile import compile_spec
    from ranspec.pictures.modules import attention_modules
    from ranspec.spec import SpecError, load_spec

    name = _given(context)
    if name == "-":
        return []
    try:
        modules = attention_modules(compile_spec(load_spec(name))).values()
    except SpecError:
        return []
    return [module for module in modules if module.startswith(incomplete)]


def complete_override(context: typer.Context, incomplete: str) -> list[str]:
    """Complete `key.path=value` for the spec given, with values where a key has a list of them."""
    from ranspec.spec.language import ROOT

    written = _resolved(context)
    settings = (
        f"{'.'.join(path)}={value}"
        for path, place in _settings(ROOT, written, ())
        for value in _values(place)
    )
    return [setting for setting in settings if setting.startswith(incomplete)]


def _resolved(context: typer.Context) -> dict[str, Any]:
    """Return the spec on the command line; nothing where there is none that can be loaded."""
    from ranspec.spec import SpecError, load_spec

    name = _given(context)
    if name == "-":
        return {}
    try:
        return load_spec(name).resolved()
    except SpecError:
        return {}


def _given(context: typer.Context) -> str:
    """Return the spec on the command line, `-` where there is none."""
    # An option without its value leaves the arguments before it unread.
    given = context.params.get("spec") or context.params.get("specs") or context.args
    return given if isinstance(given, str) else next(iter(given), "-")


def _settings(
    place: Place, written: Any, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Place]]:
    """Yield every key below a place that holds a value, not a mapping."""
    entries = written if isinstance(written, dict) else {}
    model = place.model(entries)
    for key in model.model_fields if model else entries if place.is_open else ():
        inner = place.inside(key, entries)
        if inner is None:
            continue
        if inner.models or inner.is_open:
            yield from _settings(inner, entries.get(key), (*path, key))
        if not inner.models or inner.kinds():
            yield (*path, key), inner


def _values(place: Place) -> tuple[str, ...]:
    if place.kinds():
        return tuple(place.kinds())
    if bool in place.alternatives:
        return "true", "false"
    return tuple(map(str, place.names)) or ("",)
