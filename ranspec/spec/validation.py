"""From plain values to a Spec, or to problems in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ranspec.spec.errors import (
    Origin,
    Problem,
    SpecError,
    did_you_mean,
    either,
    show,
    show_with_type,
)
from ranspec.spec.language import ROOT, Place
from ranspec.spec.model import Spec
from ranspec.spec.yaml_source import Unusable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Path = tuple[str, ...]
Details = dict[str, Any]

_WRONG_TYPE = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "union_tag_not_found": "a mapping",
    "tuple_type": "a list",
    "none_required": "null",
}
_EXPECTED: dict[str, Callable[[Details], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "greater_than": lambda context: f"more than {context['gt']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "less_than": lambda context: f"less than {context['lt']}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "too_short": lambda context: f"at least {context['min_length']} entries",
    "too_long": lambda context: f"at most {context['max_length']} entries",
    "string_pattern_mismatch": lambda context: (
        "a name of lower-case letters, digits and underscores that begins with a letter"
    ),
}


def validate(data: Any, locate: Callable[[Path, bool], Origin]) -> Spec:
    """Read plain values as a Spec; raise SpecError with every problem found.

    `locate(path, is_key)` tells where a value, or its key, was written.
    """
    if not isinstance(data, dict):
        raise SpecError([Problem.at(locate((), False), (), "a spec is a mapping of keys")])
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        found = [finding for detail in details for finding in _explain(detail, data)]
        raise SpecError(
            Problem.at(locate(path, is_key), path, message) for path, is_key, message in found
        ) from None


def _explain(detail: ErrorDetails, data: Any) -> Iterator[tuple[Path, bool, str]]:
    """Yield path, whether its key is meant, and message of one pydantic error."""
    context = detail.get("ctx", {})
    if detail["type"] == "spec_problems":
        yield from ((path, True, message) for path, message in context["problems"])
        return
    path, place, value, found = _follow(detail["loc"], data)
    if isinstance(found, Unusable) and detail["type"] != "extra_forbidden":
        return
    match detail["type"]:
        case "missing":
            yield path, False, "required key is missing"
        case "extra_forbidden":
            model = place.model(value)
            names = tuple(model.model_fields) if model else ()
            near = did_you_mean(path[-1], names) or f"; the keys here are {', '.join(names)}"
            yield path, True, f"unknown key{near}"
        case "union_tag_invalid":
            yield from _wrong_kind(path, found["kind"], tuple(place.kinds()))
        case "union_tag_not_found" if isinstance(found, dict):
            kinds = either(tuple(place.kinds()))
            yield (*path, "kind"), False, f"required key is missing; expected {kinds}"
        case "literal_error":
            message = f"found {show_with_type(found)}"
            if isinstance(found, str):
                message = f"found {show(found)}"
            near = did_you_mean(found, place.names) if isinstance(found, str) else ""
            yield path, False, f"{message}, expected {either(place.names)}{near}"
        case "value_error":
            yield path, False, str(context["error"])
        case kind if kind in _WRONG_TYPE:
            yield path, False, f"found {show_with_type(found)}, expected {_WRONG_TYPE[kind]}"
        case kind if kind in _EXPECTED:
            subject = show(found)
            if kind in ("too_short", "too_long"):
                subject = f"{len(found)} entries"
            yield path, False, f"found {subject}, expected {_EXPECTED[kind](context)}"
        case _:
            yield path, False, f"found {show(found)}: {detail['msg']}"


def _wrong_kind(
    path: Path, kind: object, kinds: tuple[str, ...]
) -> Iterator[tuple[Path, bool, str]]:
    if isinstance(kind, Unusable):
        return
    near = did_you_mean(kind, kinds) if isinstance(kind, str) else ""
    yield (*path, "kind"), False, f"found {show(kind)}, expected {either(kinds)}{near}"


def _follow(location: Iterable[int | str], data: Any) -> tuple[Path, Place, Any, Any]:
    """Follow pydantic's location through the data.

    Returns the path without union tags, the place to ask about the last key (the enclosing one
    for an unknown key), the enclosing value and the value itself.
    """
    path: list[str] = []
    place: Place = ROOT
    enclosing: Any = None
    value = data
    keys = list(location)
    if keys and keys[-1] == "[key]":
        return (*map(str, keys[:-1]),), ROOT, None, keys[-2]
    skip = False
    for key in keys:
        if skip:
            skip = False
            continue
        name = str(key)
        path.append(name)
        inner = place.inside(name, value)
        enclosing = value
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, tuple) and isinstance(key, int) and key < len(value):
            value = value[key]
        if inner is None:
            break
        place = inner
        skip = len(place.models) > 1
    return tuple(path), place, enclosing, value
