"""The shipped JSON Schema says what the models say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator

from ranspec.spec import available_specs, packaged_specs
from ranspec.spec.schema import FILE, json_schema, render
from ranspec.spec.yaml_source import parse

from .conftest import BASE

VALIDATOR = Draft7Validator(json_schema())


def mistakes(text: str) -> list[str]:
    data: Any = json.loads(json.dumps(parse(text, "a.yaml")[0].plain()))
    return [error.message for error in VALIDATOR.iter_errors(data)]


def test_the_shipped_schema_is_fresh() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m ranspec.spec.schema"


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(json_schema())


def test_every_key_is_described() -> None:
    silent = [
        f"{name}.{key}"
        for name, part in json_schema()["definitions"].items()
        for key, value in part["properties"].items()
        if not value.get("description")
    ]
    assert silent == []


@pytest.mark.parametrize("name", available_specs([packaged_specs()]))
def test_every_spec_conforms(name: str) -> None:
    file = packaged_specs() / f"{name}.yaml"
    assert mistakes(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        BASE,
        "extends: a.yaml",
        "extends: a.yaml\nstages: {stage1: {modules: 2}, stage2: null}\nstem: {kernel: 5}",
        BASE + "  optimizer: {momentum: 0.5}\n",
        BASE + "  optimizer: adam\n  learning_rate: 0.05\n  iterations: 1e5\nunit: basic\n",
        BASE + "  validation: 9\n  early_stopping: 5\nattention: {mask: local_convolution}\n",
        BASE.replace("{height: 32, width: 32}", "32"),
        "extends: a.yaml\nunit: inception\nstages: {stage1: {unit: {branches: [[]]}}}\n",
    ],
)
def test_what_may_be_written_conforms(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    "text",
    [
        BASE + "clases: 3\n",
        BASE + "attention: {mask: {dept: 3}}\n",
        BASE.replace("stage2:", "Stage2:"),
        BASE.replace("classes: 10", ""),
        BASE.replace("channels: 128, ", ""),
        BASE + "extends: 3\n",
        "extends: a.yaml\nstages: {stage1: {modles: 2}}",
        "extends: a.yaml\ntrain: {optimizer: {kind: adam, momentum: 0.9}}",
        BASE + "unit: basik\n",
        BASE + "unit: inception\n",
        BASE + "unit: 3\n",
        BASE + "  learning_rate: 0\n",
        BASE + "  optimizer: {beta1: 0.9}\n",
        BASE.replace("stage2:", "class:"),
        BASE + "alternatives: {train.seed: [1]}\n",
    ],
)
def test_what_may_not_be_written_does_not_conform(text: str) -> None:
    assert mistakes(text) != []
