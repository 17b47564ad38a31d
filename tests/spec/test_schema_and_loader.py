"""The schema refuses nothing that loads, and misses only what a JSON Schema cannot say.

Specs are changed at random, from one seed, in one to three places, by values and keys that are
likely to be mistaken for right ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from jsonschema import Draft7Validator

from ranspec.spec import SpecError, load_spec, packaged_specs
from ranspec.spec.language import ROOT, Place, kinds_of, models
from ranspec.spec.schema import NOT_SAID, json_schema
from ranspec.spec.yaml_source import parse

from .conftest import BASE, Write

VALIDATOR = Draft7Validator(json_schema())
MODELS = tuple(models())
KEYS = sorted({key for model in MODELS for key in model.model_fields})
KINDS = sorted({kind for model in MODELS for kind in kinds_of(model)})
VALUES = (
    None, True, False, -1, 0, 1, 2, 3, 4, 9, 64, 101, 1000, 70_000, 10**9, 0.0, 0.5, 1.0, 1.5, 2.0,
    1e5, 1e-4, "", "x", "class", "stage1", "A b", "10", "é" * 70, [], [1], [1, 2], [2.0, 3], [8, 4],
    [1, 2, 3], ["a"], [[]], {}, {"kind": "x"}, {"kind": 3}, {"x": 1}, {"channels": 8},
)  # fmt: skip


def sources() -> Iterator[dict[str, Any]]:
    """Yield whole specs: the test's own, and shipped ones with and without their defaults."""
    yield parse(BASE, "a.yaml")[0].plain()
    names = ("attention56_cifar", "attention_digits", "baselines/inception_resnet_v1_imagenet")
    for name in (*names, "baselines/resnext101_imagenet", "attention56_imagenet"):
        yield parse((packaged_specs() / f"{name}.yaml").read_bytes(), name)[0].plain()
        yield load_spec(name).resolved()


SOURCES = [json.loads(json.dumps(source)) for source in sources()]


def mappings(value: Any, place: Place | None) -> Iterator[tuple[dict[str, Any], Place | None]]:
    """Yield every mapping and list of a spec, as something to change."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from mappings(item, place and place.inside(str(index), tuple(value)))
    if isinstance(value, dict):
        yield value, place
        for key, item in value.items():
            yield from mappings(item, place and place.inside(key, value))


def change(spec: dict[str, Any], random: Random) -> None:
    """Change one entry of a spec."""
    mapping, place = random.choice(list(mappings(spec, ROOT)))
    model = place.model(mapping) if place else None
    own = sorted(model.model_fields) if model else sorted(mapping) or KEYS
    key = random.choice(KEYS if random.random() < 0.1 else own)
    inner = place.inside(key, mapping) if place else None
    here = (*inner.literals, *inner.kinds()) if inner else ()
    match random.randrange(12):
        case 0 | 1:
            mapping.pop(key, None)
        case 2:
            mapping[key] = random.choice(KINDS)
        case 3:
            mapping[key] = {
                "kind": random.choice(KINDS),
                random.choice(KEYS): random.choice(VALUES),
            }
        case 4 if mapping:
            mapping[random.choice(KEYS)] = mapping.pop(random.choice(sorted(mapping)))
        case 5 | 6 | 7 if isinstance(number := mapping.get(key), int | float):
            mapping[key] = random.choice((number + 1, number * 2, number / 2, float(number)))
        case 8 | 9 | 10 if here:
            mapping[key] = random.choice(here)
        case _:
            mapping[key] = random.choice(VALUES)


def changed(seed: int) -> dict[str, Any]:
    random = Random(seed)
    spec = deepcopy(random.choice(SOURCES))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        change(spec, random)
    return spec


def problems(write: Write, spec: dict[str, Any]) -> list[str]:
    try:
        load_spec(write(json.dumps(spec, ensure_ascii=False)))
    except SpecError as error:
        return [f"{problem.key}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize("start", range(0, 600, 200))
def test_schema_and_loader_agree_but_for_what_is_listed(write: Write, start: int) -> None:
    verdicts = Counter[tuple[bool, bool]]()
    for seed in range(start, start + 200):
        spec = changed(seed)
        refused = [error.message for error in VALIDATOR.iter_errors(spec)]
        told = problems(write, spec)
        assert not refused or told, (seed, refused)
        missed = [text for text in told if not any(rule.search(text) for rule in NOT_SAID.values())]
        assert refused or not missed or "extends" in spec, (seed, missed)
        verdicts[bool(refused), bool(told)] += 1
    assert verdicts[False, False] > 30
    assert verdicts[True, True] > 100


@pytest.mark.parametrize("start", range(0, 300, 150))
def test_the_schema_refuses_no_spec_that_extends_another_and_loads(
    write: Write, start: int
) -> None:
    write()
    loaded = 0
    for seed in range(start, start + 150):
        random = Random(10_000 + seed)
        whole = parse(BASE, "a.yaml")[0].plain()
        change(whole, random)
        kept = random.sample(sorted(whole), k=min(3, len(whole)))
        spec = {"extends": "a.yaml", **{key: whole[key] for key in kept}}
        spec = json.loads(json.dumps(spec))
        change(spec, random)
        spec["extends"] = "a.yaml"
        try:
            load_spec(write(json.dumps(spec), "b.yaml"))
        except SpecError:
            continue
        loaded += 1
        assert [error.message for error in VALIDATOR.iter_errors(spec)] == [], seed
    assert loaded > 15
