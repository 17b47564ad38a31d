"""The JSON Schema of the language, by which editors complete and check specs.

`python -m ranspec.spec.schema` rewrites the shipped file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from keyword import kwlist
from pathlib import Path
from typing import Any, cast

from ranspec.spec.alternatives import NETWORK_KEYS
from ranspec.spec.base import IDENTIFIER, Model
from ranspec.spec.families import STAGE_PARTS
from ranspec.spec.language import Place, models
from ranspec.spec.model import PARTS, Spec

TITLE = "ranspec network"
FILE = Path(__file__).with_name("schema.json")
EXTENDS = {
    "type": "string",
    "minLength": 1,
    "description": "Another spec: its name, or a file relative to this one. Mappings merge, "
    "everything else replaces.",
}
NOT_SAID = {
    what: re.compile(pattern)
    for what, pattern in {
        "the keys of a stage's own `unit` or `attention`, whose kind may be the network's":
            r"^stages\.\w+\.(unit|attention)\b.*(unknown key|required key is missing)",
        "`mask_depth`, which a stage with an encoder-decoder mask needs": "mask_depth is missing",
        "that a stage has a unit or a module": "are all 0",
        "that a layer of a branch has either `channels` or `pool`, and a pool one size":
            "a branch's layer needs|a pooling window is square",
        "that a pool's `padding` is at most half of its kernel": "is more than half of the kernel",
        "that `at` rises, and `area` and `ratio` have their least value first":
            "expected rising iterations|expected the least",
        "that `pad` is 0 beside what takes its place": "which take the place of pad-and-crop",
        "that an image has mixup or cutmix, not both": "an image has one of them",
        "that a schedule's `least` is not above its initial rate": "more than the initial rate",
        "how many images there are: to count epochs by, to hold out, in a batch and its parts":
            "counted in epochs|are known|images in all|images to train on|the batch size|pairs of",
        "that ten crops are smaller than the image": "crops of the whole image",
        "that early stopping and a plateau need `validation`": "needs? validation",
        "whether the values under `alternatives` may stand at their keys": r"^alternatives\.",
        "that texts are printable": "cannot be printed",
    }.items()
}  # fmt: skip
"""What the loader refuses and a JSON Schema of draft 7 cannot, by words for it; beside them what
only the whole network shows, such as shapes, and what was inherited."""

_PARTIAL = "Partial"
_NAME = IDENTIFIER.replace("^", f"^(?!(?:{'|'.join(kwlist)})$)")

Schema = dict[str, Any]
NumberKeys = Mapping[str, tuple[str, ...]]
"""By the name of a model, the keys that a bare number stands for."""


def json_schema() -> Schema:
    """Return the JSON Schema of a spec file.

    A spec that extends another may leave out what is required of a whole one, at any depth.
    """
    schema = _simplified(Spec.model_json_schema())
    parts: dict[str, Schema] = schema.pop("$defs")
    parts["Spec"] = schema
    _describe_kinds(parts)
    names = parts["Spec"]["properties"]["stages"]["propertyNames"]
    names["not"] = {"enum": sorted(PARTS)}
    for choices in parts["Spec"]["properties"]["alternatives"]["anyOf"]:
        if "propertyNames" in choices:
            choices["propertyNames"]["pattern"] = rf"^({'|'.join(NETWORK_KEYS)})(\.|$)"
    incomplete = _can_be_incomplete(parts)
    keys = _number_keys(Spec)
    loose = _with_all_short_forms(parts, keys, complete=False)
    partial = {_PARTIAL + name: _partial(loose[name], incomplete) for name in incomplete}
    parts = _with_all_short_forms(parts, keys, complete=True)
    for key in STAGE_PARTS:
        parts["Stage"]["properties"][key] = partial[_PARTIAL + "Stage"]["properties"][key]
    root = partial[_PARTIAL + "Spec"]
    root["properties"] = {"extends": EXTENDS, **root["properties"]}
    stages = root["properties"]["stages"]["patternProperties"]
    for pattern, stage in stages.items():
        stages[pattern] = {"anyOf": [stage, {"type": "null"}]}
    for choices in root["properties"]["alternatives"]["anyOf"]:
        if "additionalProperties" in choices:
            values = choices["additionalProperties"]
            choices["additionalProperties"] = {"anyOf": [values, {"type": "null"}]}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "description": schema["description"],
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"#/definitions/{_PARTIAL}Spec"},
        "else": {"$ref": "#/definitions/Spec"},
        "definitions": dict(sorted({**parts, **partial}.items())),
    }
    return cast(Schema, _without_keywords(schema))


def schema_of(model: type[Model], title: str) -> Schema:
    """Return the JSON Schema of files that hold a whole model, as those of a study do."""
    schema = _simplified(model.model_json_schema())
    parts: dict[str, Schema] = {**schema.pop("$defs"), model.__name__: schema}
    _describe_kinds(parts)
    whole = _with_all_short_forms(parts, _number_keys(model), complete=True)
    root = whole.pop(model.__name__)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        **root,
        "definitions": dict(sorted(whole.items())),
    }
    return cast(Schema, _without_keywords(schema))


def render() -> str:
    """Return the text of the shipped file."""
    return as_text(json_schema())


def as_text(schema: Schema) -> str:
    """Return a schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=True) + "\n"


def is_schema(path: Path, title: str = TITLE) -> bool:
    """Tell whether a file holds a schema of a title, of this version or another."""
    try:
        return bool(json.loads(path.read_bytes())["title"] == title)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


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
    if "prefixItems" in result:
        result["items"] = result.pop("prefixItems")
    if "oneOf" in result:
        result["anyOf"] = result.pop("oneOf")
    if "$ref" in result:
        reference = {"$ref": result.pop("$ref").replace("#/$defs/", "#/definitions/")}
        result = {"allOf": [reference], **result} if result else reference
    if isinstance(result.get("title"), str):
        del result["title"]
    return result


def _describe_kinds(parts: Mapping[str, Schema]) -> None:
    for part in parts.values():
        if "const" in (kind := part["properties"].get("kind", {})):
            kind["description"] = part["description"].partition("\n\n")[0]


def _number_keys(model: type[Model]) -> NumberKeys:
    return {part.__name__: part.number_keys for part in models(Place(model))}


def _with_all_short_forms(
    parts: Mapping[str, Schema], keys: NumberKeys, *, complete: bool
) -> dict[str, Schema]:
    return {
        name: _with_short_forms(part, parts, keys, complete=complete)
        for name, part in parts.items()
    }


def _with_short_forms(
    value: Any, parts: Mapping[str, Schema], keys: NumberKeys, *, complete: bool
) -> Any:
    """Let a bare kind, or a bare number, stand where a mapping does (`ranspec.spec.short_forms`).

    A complete part of another kind than its default says so; elsewhere the kind may be inherited.
    """
    if isinstance(value, list):
        return [_with_short_forms(item, parts, keys, complete=complete) for item in value]
    if not isinstance(value, dict):
        return value
    choices = list(_choices(value))
    named = [choice for choice in choices if "$ref" in choice]
    if not named:
        return {
            key: _with_short_forms(item, parts, keys, complete=complete)
            for key, item in value.items()
        }
    rest = {key: item for key, item in value.items() if key not in ("$ref", "allOf", "anyOf")}
    default = (rest.get("default") or {}).get("kind")
    names = [_name(choice) for choice in named]
    short = list(_short_forms(names, parts, keys, complete=complete))
    if complete and len(named) > 1:
        choices = [_of_its_kind(choice, parts, default) for choice in choices]
    every = [*choices, *short]
    return {**rest, "anyOf": every} if len(every) > 1 else value


def _choices(value: Schema) -> Iterator[Schema]:
    """Yield the alternatives of a value that may be a part of a spec."""
    if "$ref" in value:
        yield {"$ref": value["$ref"]}
    for choice in (*value.get("allOf", ()), *value.get("anyOf", ())):
        yield from _choices(choice) if {"$ref", "anyOf"} & choice.keys() else (choice,)


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[1]


def _of_its_kind(choice: Schema, parts: Mapping[str, Schema], default: str | None) -> Schema:
    if "$ref" not in choice or default in _kinds(parts[_name(choice)]):
        return choice
    return {"allOf": [choice, {"required": ["kind"]}]}


def _kinds(part: Schema) -> tuple[str, ...]:
    kind = part["properties"].get("kind", {})
    return (kind["const"],) if "const" in kind else tuple(kind.get("enum", ()))


def _short_forms(
    names: Sequence[str], parts: Mapping[str, Schema], keys: NumberKeys, *, complete: bool
) -> Iterator[Schema]:
    def enough(part: Schema, *given: str) -> bool:
        return not complete or set(part.get("required", ())) <= {"kind", *given}

    found = [parts[name] for name in names]
    if kinds := [kind for part in found if enough(part) for kind in _kinds(part)]:
        yield {"enum": kinds}
    number_keys = keys[names[0]]
    if number_keys and enough(found[0], *number_keys):
        number = found[0]["properties"][number_keys[0]]
        yield {key: item for key, item in number.items() if key not in ("default", "description")}


def _without_keywords(value: Any) -> Any:
    """Refuse Python's keywords wherever a name is expected."""
    match value:
        case dict():
            return {
                _NAME if key == IDENTIFIER else key: _without_keywords(item)
                for key, item in value.items()
            }
        case list():
            return [_without_keywords(item) for item in value]
        case str() if value == IDENTIFIER:
            return _NAME
        case _:
            return value


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
