"""A resolved spec as YAML text that is read back as the same spec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranspec.spec.loader import LoadedSpec

Line = tuple[str, tuple[str, ...] | None]
"""A line of YAML, and the path of the value that it gives if it gives one."""


def write_spec(loaded: LoadedSpec) -> str:
    """Return a file that holds every value of a spec, and what it was resolved from."""
    values = loaded.resolved()
    if loaded.spec.alternatives:
        values["alternatives"] = loaded.spec.alternatives
    overrides = {"overrides": loaded.source.overrides} if loaded.source.overrides else {}
    values["built_from"] = {"spec": loaded.source.name, **overrides, "digest": loaded.digest}
    return "".join(f"{line}\n" for line, _ in yaml_lines(values))


def yaml_lines(mapping: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Line]:
    """Yield the lines of a mapping in block style, lists of anything but text in one line."""
    indent = "  " * len(path)
    for key, value in mapping.items():
        inner, start = (*path, key), f"{indent}{scalar(key)}:"
        if isinstance(value, dict) and value:
            yield start, None
            yield from yaml_lines(value, inner)
        elif isinstance(value, list | tuple) and any(isinstance(item, str) for item in value):
            yield start, None
            for index, item in enumerate(value):
                yield f"{indent}  - {flow(item)}", (*inner, str(index))
        else:
            yield f"{start} {flow(value)}", inner


def flow(value: Any) -> str:
    """Write a value as YAML in one line."""
    match value:
        case dict():
            entries = (f"{scalar(key)}: {flow(item)}" for key, item in value.items())
            return f"{{{', '.join(entries)}}}"
        case list() | tuple():
            return f"[{', '.join(map(flow, value))}]"
        case _:
            return scalar(value)


def scalar(value: Any) -> str:
    """Write a scalar as YAML; text that could be read as anything else, in quotes."""
    if isinstance(value, str):
        plain = value.isascii() and value.isidentifier() and value.lower() not in _WORDS
        return value if plain else _quoted(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    if isinstance(value, float) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Write text in double quotes, on one line, with what cannot be printed as escapes."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
