"""The JSON Schema of the language, by which editors complete and check specs.

`python -m ranspec.spec.schema` rewrites the shipped file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ranspec.spec.model import Spec

FILE = Path(__file__).with_name("schema.json")
EXTENDS = {
    "type": "string",
    "minLength": 1,
    "description": "Another spec, relative to this file: mappings merge, everything else replaces.",
}
_PARTIAL = "Partial"

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Return the JSON Schema of a spec file.

    A spec that extends another may leave out what is required of a whole one, at any depth.
    """
    schema = _simplified(Spec.model_json_schema())
    parts: dict[str, Schema] = schema.pop("$defs")
    parts["Spec"] = schema
    for part in parts.values():
        if "const" in (kind := part["properties"].get("kind", {})):
            kind["description"] = part["description"].partition("\n\n")[0]
    incomplete = _can_be_incomplete(parts)
    partial = {_PARTIAL + name: _partial(parts[name], incomplete) for name in incomplete}
    root = partial[_PARTIAL + "Spec"]
    root["properties"] = {"extends": EXTENDS, **root["properties"]}
    stages = root["properties"]["stages"]["patternProperties"]
    for pattern, stage in stages.items():
        stages[pattern] = {"anyOf": [stage, {"type": "null"}]}
    for choices in root["properties"]["alternatives"]["anyOf"]:
        if "additionalProperties" in choices:
            values = choices["additionalProperties"]
            choices["additionalProperties"] = {"anyOf": [values, {"type": "null"}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ranspec network",
        "description": schema["description"],
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"#/definitions/{_PARTIAL}Spec"},
        "else": {"$ref": "#/definitions/Spec"},
        "definitions": dict(sorted({**parts, **partial}.items())),
    }


def render() -> str:
    """Return the text of the shipped file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=True) + "\n"


def _simplified(value: Any) -> Any:
    """Say the same as pydantic in terms of draft 7, which all editors read.

    A part may leave out a `kind` that has a default, so several kinds may match: anyOf.
    """
    if isinstance(value, list):
        return [_simplified(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _simplified(item) for key, item in value.items() if key != "discriminator"}
    if "patternProperties" in result:
        result["additionalProperties"] = False
    if "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    if "$ref" in result:
        reference = {"$ref": result.pop("$ref").replace("#/$defs/", "#/definitions/")}
        result = {"allOf": [reference], **result} if result else reference
    if isinstance(result.get("title"), str):
        del result["title"]
    return result


def _references(value: Any) -> set[str]:
    match value:
        case {"$ref": str(reference)}:
            return {reference.rsplit("/", 1)[1]}
        case dict():
            return set().union(*(_references(item) for item in value.values()))
        case list():
            return set().union(*(_references(item) for item in value))
        case _:
            return set()


def _can_be_incomplete(parts: dict[str, Schema]) -> list[str]:
    """Return the parts with required keys, their own or of a part within."""
    found = {name for name, part in parts.items() if "required" in part}
    while more := {
        name for name, part in parts.items() if name not in found and _references(part) & found
    }:
        found |= more
    return sorted(found)


def _partial(value: Any, incomplete: list[str]) -> Any:
    """Drop the required keys of a part and of the parts it refers to."""
    match value:
        case {"$ref": str(reference)}:
            name = reference.rsplit("/", 1)[1]
            prefix = _PARTIAL if name in incomplete else ""
            return {"$ref": f"#/definitions/{prefix}{name}"}
        case dict():
            return {
                key: _partial(item, incomplete)
                for key, item in value.items()
                if not (key == "required" and isinstance(item, list))
            }
        case list():
            return [_partial(item, incomplete) for item in value]
        case _:
            return value


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
