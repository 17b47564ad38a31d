"""What may be meant by a key or a value that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ranspec.errors import printable
from ranspec.spec.errors import did_you_mean, either, show
from ranspec.spec.language import Place
from ranspec.spec.yaml_source import resolve

_OTHER_WORDS = {
    "blocks": "units",
    "bn": "batch_norm",
    "epochs": "iterations",
    "filters": "channels",
    "lr": "learning_rate",
    "planes": "channels",
    "wd": "weight_decay",
}
"""What the keys of the language are called elsewhere."""

_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_AMOUNT = re.compile(
    r"([0-9]{1,3}(?:[,_][0-9]{3})+|[0-9]+)(?:([.,])([0-9]+))?\s*([kKmMgG%]?)", re.ASCII
)


def instead(value: object, place: Place) -> str:
    """Return `; write x` or `; did you mean x?` for a value that has an evident meaning here."""
    if meant := _meant(value, place):
        return f"; write {printable(meant)}"
    return did_you_mean(value, place.names) if isinstance(value, str) else ""


def _meant(value: object, place: Place) -> str | None:
    expected = place.alternatives
    numeric = int in expected or float in expected
    match value:
        case str() if bool in expected:
            word = value.strip().lower()
            return _TRUTH.get(word, word if word in ("true", "false") else None)
        case None if place.models:
            return "what belongs to it below, indented"
        case bool() | None:
            return None
        case int() if bool in expected and value in (0, 1):
            return "true" if value else "false"
        case str() if numeric:
            return _amount(value.strip(), whole=float not in expected)
        case int() | float() | str() if place.is_list:
            return f"[{value}]" if len(str(value)) < 20 else None
        case str() if place.models:
            return _setting(value, place)
        case int() | float() if str in expected:
            return f"'{value}'" if len(str(value)) < 20 else None
        case _:
            return None


def _amount(text: str, whole: bool) -> str | None:
    """Return a number that is written in quotes, with separators or with a unit, as YAML has it."""
    try:
        if isinstance(resolve(text), int | float):
            return f"{text} without quotes"
    except ValueError:
        return None
    found = _AMOUNT.fullmatch(text)
    if found is None:
        return None
    whole_part, _, decimals, unit = found.groups(default="")
    amount = float(f"{re.sub('[_,]', '', whole_part)}.{decimals}0")
    number = amount / 100 if unit == "%" else amount * _SCALES[unit.lower()]
    return None if whole and not number.is_integer() else f"{number:.12g}"


def _setting(value: str, place: Place) -> str | None:
    """Return the mapping with the one key that has this value."""
    for model in place.models:
        for key, field in model.model_fields.items():
            if value in Place(field.annotation).names:
                return f"{{{key}: {value}}}"
    return None


def elsewhere(key: str, path: tuple[str, ...], place: Place, root: Place) -> str:
    """Say where an unknown key belongs, if there is such a key in the language."""
    name = _OTHER_WORDS.get(key, key)
    kinds = [kind for kind, model in place.kinds().items() if name in model.model_fields]
    if kinds:
        own = " and ".join(kinds)
        return f"; it is a key of kind {own}" if name == key else f"; did you mean {name}?"
    here = [model for model in place.models if name in model.model_fields]
    if here:
        return f"; did you mean {name}?"
    found = sorted(set(_places(name, root, ())), key=lambda names: (_distance(names, path), names))
    if not found:
        return ""
    nearest = [names for names in found if _distance(names, path) == _distance(found[0], path)]
    return f"; {show(name)[1:-1]} belongs to {either(['.'.join(names) for names in nearest[:3]])}"


def _distance(names: tuple[str, ...], path: tuple[str, ...]) -> int:
    """Count the keys between two places, up to what is around both and down again."""
    common = 0
    for left, right in zip(names, path, strict=False):
        if left not in (right, "STAGE"):
            break
        common += 1
    return len(names) + len(path) - 2 * common


def _places(key: str, place: Place, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all mappings that have a key; STAGE stands for a stage's name."""
    for model in place.models:
        if key in model.model_fields:
            yield path
        for name in model.model_fields:
            inner = Place(model.model_fields[name].annotation)
            if inner.is_open and any(inner.entries.models):
                yield from _places(key, inner.entries, (*path, name, "STAGE"))
            elif inner.models:
                yield from _places(key, inner, (*path, name))
