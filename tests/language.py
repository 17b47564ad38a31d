"""docs/language.md: an introduction by hand, and every key of the models."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from typer.testing import CliRunner

from ranspec.analysis.count import count
from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.spec import available_specs, load_spec, packaged_specs
from ranspec.spec.base import Model
from ranspec.spec.language import ROOT, Place, kinds_of, models
from ranspec.spec.schema import NOT_SAID, json_schema
from ranspec.spec.yaml_source import parse

DOCS = Path(__file__).parents[1] / "docs"
FILE = DOCS / "language.md"
RESNET18 = """\
name: resnet18
source: He et al., CVPR 2016, Table 1
input: 224
classes: 1000
stem: {channels: 64, kernel: 7, stride: 2, pool: {kernel: 3, stride: 2, padding: 1}}
unit: basic
stages:
  conv2: {channels: 64, units: 2}
  conv3: {channels: 128, units: 2, stride: 2}
  conv4: {channels: 256, units: 2, stride: 2}
  conv5: {channels: 512, units: 2, stride: 2}
train: {data: imagenet}
paper: {macs: 1.8e9}
"""
AMENDED = RESNET18.replace("train:", "head: {normalization: false}\ntrain:")
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A section: a mapping of the language and its keys."""

    title: str
    description: str
    short: str
    rows: tuple[tuple[str, ...], ...]


def render() -> str:
    """Return the text of docs/language.md."""
    environment = Environment(
        loader=FileSystemLoader(DOCS), undefined=StrictUndefined, keep_trailing_newline=False
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet18.yaml"
        file.write_text(AMENDED, encoding="utf-8")
        counted = count(compile_spec(load_spec(file)))
    text = environment.get_template("language.md.j2").render(
        first=RESNET18,
        second=AMENDED,
        check=checked,
        parameters=f"{counted.trainable_parameters:,}",
        macs=f"{counted.macs:,}",
        not_said=tuple(NOT_SAID),
        parts=tuple(map(part, models())),
    )
    return text.rstrip() + "\n"


def checked(text: str) -> str:
    """Return what `ranspec check resnet18.yaml` prints of a spec."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("resnet18.yaml").write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, ["check", "resnet18.yaml"])
    return result.stderr + result.stdout


def part(model: type[Model]) -> Part:
    """Describe a model."""
    definition = json_schema()["definitions"][model.__name__]
    path = paths()[model]
    kinds = kinds_of(model)
    title = f"`{path}`" if path else "The spec"
    title += f" of kind `{kinds[0]}`" if len(kinds) == 1 and path != "stem" else ""
    description = "\n\n".join(
        " ".join(paragraph.split()) for paragraph in definition["description"].split("\n\n")
    )
    rows = [
        (
            f"`{key}`",
            "As above." if "const" in value else escape(value["description"]),
            escape(written(value)),
            default(value, key in definition.get("required", ())),
            example(model, key, value),
        )
        for key, value in definition["properties"].items()
    ]
    if not path:
        rows.insert(0, extends())
    short = f"A number alone is its {both(model.number_keys)}." if model.number_keys else ""
    return Part(title, description, short, tuple(rows))


def extends() -> tuple[str, ...]:
    """Describe the one key that is no part of the models."""
    description = json_schema()["definitions"]["PartialSpec"]["properties"]["extends"]
    link = f"[`extends: attention56_cifar`]({link_to('attention92_cifar')})"
    return "`extends`", description["description"], "text", "none", link


@cache
def paths() -> dict[type[Model], str]:
    """Return where each model stands first, as a dotted key."""
    found: dict[type[Model], str] = {}

    def walk(place: Place, path: str) -> None:
        for model in place.models:
            if model in found:
                continue
            found[model] = path
            for key, field in model.model_fields.items():
                walk_field(Place(field.annotation), f"{path}.{key}" if path else key)

    def walk_field(place: Place, path: str) -> None:
        if place.is_open:
            walk(place.entries, f"{path}.NAME")
        inner = place.inside("0", ()) if place.is_list else None
        if inner is not None:
            walk_field(inner, f"{path}[]")
        walk(place, path)

    walk(ROOT, "")
    return found


def written(value: Schema) -> str:
    """Say what may be written for a key."""
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{name}`" for name in value["enum"])
    choices = [*value.get("anyOf", ()), *value.get("allOf", ())]
    if "$ref" in value:
        choices = [value]
    if choices:
        named = [choice for choice in choices if "$ref" in str(choice)]
        others = [choice for choice in choices if choice not in named]
        words = ["a mapping"] if named else []
        words += [written(choice) for choice in others if choice.get("type") != "null"]
        return " or ".join(words)
    match value.get("type"):
        case "integer" | "number" as kind:
            word = {"integer": "whole number", "number": "number"}[kind]
            return " ".join([word, *limits(value)])
        case "boolean":
            return "true or false"
        case "string" if "examples" in value:
            return f"`{value['examples'][0]}`"
        case "string":
            return "a name" if "pattern" in value else "text"
        case "array" if isinstance(items := value.get("items"), list):
            return f"list of {len(items)}, each {written(items[0])}"
        case "array":
            return f"list: {written(items)}" if items else "list"
        case _:
            return "a mapping" if value.get("type") == "object" else "anything"


def limits(value: Schema) -> Iterator[str]:
    """Yield the limits of a number."""
    if "exclusiveMinimum" in value:
        yield f"above {value['exclusiveMinimum']:g}"
    if "minimum" in value:
        yield f"from {value['minimum']:,.12g}"
    if "exclusiveMaximum" in value:
        yield f"below {value['exclusiveMaximum']:g}"
    if "maximum" in value:
        yield f"to {value['maximum']:,.12g}"


def default(value: Schema, required: bool) -> str:
    """Say what a key is where it is not written."""
    if required or "default" not in value:
        return "" if required or "const" not in value else f"`{value['const']}`"
    match value["default"]:
        case None:
            return "none"
        case {"kind": kind} if "anyOf" in value or "allOf" in value:
            return f"`{kind}`"
        case dict():
            return "its defaults"
        case other:
            return f"`{flow(other)}`"


@cache
def sources() -> dict[tuple[type[Model], str], tuple[str, Any]]:
    """Return the shortest value that a shipped spec has for each key, and the spec's name."""
    found: dict[tuple[type[Model], str], tuple[str, Any]] = {}

    def walk(value: Any, place: Place | None, name: str) -> None:
        if isinstance(value, tuple) and place:
            for index, item in enumerate(value):
                walk(item, place.inside(str(index), value), name)
        if not isinstance(value, dict) or place is None:
            return
        model = place.model(value)
        for key, item in value.items():
            if model and key in model.model_fields:
                usual = item == model.model_fields[key].default
                known = found.get((model, key))
                rank = (usual, len(flow(item)))
                if known is None or rank < (
                    known[1] == model.model_fields[key].default,
                    len(flow(known[1])),
                ):
                    found[model, key] = name, item
            walk(item, place.inside(key, value), name)

    for name in available_specs([packaged_specs()]):
        data = (packaged_specs() / f"{name}.yaml").read_bytes()
        walk(parse(data, name)[0].plain(), ROOT, name)
    return found


def example(model: type[Model], key: str, value: Schema) -> str:
    """Return a key as a shipped spec has it, or with another value than its default."""
    if (model, key) in sources():
        name, item = sources()[model, key]
        text = flow(item)
        text = text if len(text) <= 60 else text[:50].rstrip() + " ..."
        return f"[`{escape(f'{key}: {text}')}`]({link_to(name)})"
    others = [item for item in possible(value) if item != value.get("default")]
    return f"`{key}: {flow(others[0])}`" if others else ""


def possible(value: Schema) -> Iterator[Any]:
    """Yield values that a key may have."""
    if "const" in value:
        yield value["const"]
    yield from value.get("enum", ())
    if value.get("type") == "boolean":
        yield from (True, False)
    if value.get("type") in ("integer", "number"):
        least = value.get("minimum", value.get("exclusiveMinimum", 0))
        yield from (least + 1, least + 2) if value["type"] == "integer" else (0.5, 0.25)
    for choice in value.get("anyOf", ()):
        yield from possible(choice)


def flow(value: Any) -> str:
    """Write a value in YAML's flow style."""
    match value:
        case dict():
            return f"{{{', '.join(f'{key}: {flow(item)}' for key, item in value.items())}}}"
        case tuple() | list():
            return f"[{', '.join(map(flow, value))}]"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def link_to(name: str) -> str:
    return os.path.relpath(packaged_specs() / f"{name}.yaml", DOCS)


def both(names: tuple[str, ...]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def escape(text: str) -> str:
    return text.replace("|", "\\|")
