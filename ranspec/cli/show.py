"""`ranspec show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer

from ranspec.cli.options import SetOption, SpecArgument
from ranspec.cli.output import write, write_json

Line = tuple[str, tuple[str, ...] | None]
"""A line of YAML, and the path of the value that it gives if it gives one."""


def show(
    spec: SpecArgument,
    overrides: SetOption,
    origins: Annotated[
        bool, typer.Option("--origins", help="Say where each value was written.")
    ] = False,
    output_format: Annotated[
        Literal["yaml", "json"], typer.Option("--format", help="How to write the result.")
    ] = "yaml",
) -> None:
    """Print a spec with all that it extends and every default."""
    from ranspec.spec import load_spec

    loaded = load_spec(spec, overrides)
    resolved = loaded.resolved()
    if output_format == "json":
        places = {".".join(path): str(place) for path, place in loaded.origins.items() if path}
        return write_json({"spec": resolved, "origins": places} if origins else resolved)
    lines = list(yaml_lines(resolved))
    if not origins:
        return write("\n".join(line for line, _ in lines))
    width = max(len(line) for line, path in lines if path and len(line) <= 60)
    for line, path in lines:
        place = f"  # {loaded.origins[path]}" if path else ""
        write(f"{line:{width}}{place}" if place else line)


def yaml_lines(mapping: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[Line]:
    """Yield the lines of a mapping in block style, lists of numbers in one line."""
    indent = "  " * len(path)
    for key, value in mapping.items():
        inner = (*path, key)
        if isinstance(value, dict) and value:
            yield f"{indent}{key}:", None
            yield from yaml_lines(value, inner)
        elif isinstance(value, list) and any(isinstance(item, str) for item in value):
            yield f"{indent}{key}:", None
            for index, item in enumerate(value):
                yield f"{indent}  - {scalar(item)}", (*inner, str(index))
        elif isinstance(value, list):
            yield f"{indent}{key}: [{', '.join(map(scalar, value))}]", inner
        else:
            yield f"{indent}{key}: {'{}' if value == {} else scalar(value)}", inner


def scalar(value: Any) -> str:
    """Write a scalar as YAML; text that could be read as anything else, in quotes."""
    if isinstance(value, str) and not (value.isidentifier() and value.lower() not in _WORDS):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    if isinstance(value, float) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return value if isinstance(value, str) else json.dumps(value)


_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
