"""From plain values to a Spec, or to problems in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import ValidationError

from ranspec.spec.base import IDENTIFIER, Model
from ranspec.spec.errors import (
    Origin,
    Problem,
    SpecError,
    did_you_mean,
    either,
    nearest,
    show,
    show_with_type,
)
from ranspec.spec.hints import elsewhere, instead
from ranspec.spec.language import Place
from ranspec.spec.model import Spec
from ranspec.spec.yaml_source import Unusable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Path = tuple[str, ...]
M = TypeVar("M", bound=Model)


class _Told(NamedTuple):
    path: Path
    is_key: bool
    """Whether the key is meant, not its value."""
    message: str
    key: str | None = None
    """The key of the value at `path` that is meant, if one is."""


_WRONG_TYPE = frozenset(
    {
        "bool_type",
        "dict_type",
        "float_type",
        "int_from_float",
        "int_type",
        "literal_error",
        "model_attributes_type",
        "model_type",
        "none_required",
        "string_type",
        "tuple_type",
        "union_tag_not_found",
    }
)
_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "greater_than": lambda context: f"more than {context['gt']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "less_than": lambda context: f"less than {context['lt']}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "too_short": lambda context: f"at least {_entries(context['min_length'])}",
    "too_long": lambda context: f"at most {_entries(context['max_length'])}",
    "string_pattern_mismatch": lambda context: (
        "a name of lower-case letters, digits and underscores that begins with a letter"
    ),
}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One error of pydantic: the value found, what was expected there, and what is around it."""

    kind: str
    context: dict[str, Any]
    text: str
    path: Path
    value: Any
    place: Place
    around: Place
    enclosing: Any = None

    @property
    def is_mismatch(self) -> bool:
        """Tell whether the value is merely none of one alternative of several."""
        several = len(self.place.alternatives) > 1 and not self.place.models
        return several and self.kind in _WRONG_TYPE


def validate(data: Any, locate: Callable[[Path, bool], Origin]) -> Spec:
    """Read plain values as a Spec; raise SpecError with every problem found.

    `locate(path, is_key)` tells where a value, or its key, was written.
    """
    return validate_as(Spec, data, locate)


def validate_as(model: type[M], data: Any, locate: Callable[[Path, bool], Origin]) -> M:
    """Read plain values as a model, as `validate` does."""
    if not isinstance(data, dict):
        name = model.__name__.lower()
        raise SpecError([Problem.at(locate((), False), (), f"a {name} is a mapping of keys")])
    root = Place(model)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        findings = [_follow(detail, data, root) for detail in error.errors(include_url=False)]
        found = [told for finding in _nearest(findings) for told in _explain(finding, root)]
        network = {(told.path, told.message) for told in found}
        raise SpecError(
            Problem.at(_origin(told, locate), told.path, told.message)
            for told in found
            if not (told.path[:1] == ("stages",) and (told.path[2:], told.message) in network)
        ) from None


def _origin(told: _Told, locate: Callable[[Path, bool], Origin]) -> Origin:
    if told.key is not None:
        return locate((*told.path, told.key), True)
    return locate(told.path, told.is_key)


def _nearest(findings: list[_Finding]) -> Iterator[_Finding]:
    """Leave out what is wrong with one alternative where another comes nearer to the value.

    A key that is missing is left out too where it is there, but misspelt.
    """
    nearer = {
        finding.path[:length]
        for finding in findings
        if not finding.is_mismatch
        for length in range(len(finding.path) + 1)
    }
    misspelt = {
        (*finding.path[:-1], key)
        for finding in findings
        if finding.kind == "extra_forbidden"
        for key in nearest(finding.path[-1], _keys(finding))
    }
    for finding in findings:
        alike = finding.kind == "missing" and finding.path in misspelt
        if not alike and not (finding.is_mismatch and finding.path in nearer):
            yield finding


def _explain(finding: _Finding, root: Place) -> Iterator[_Told]:
    path, place, value = finding.path, finding.place, finding.value
    if finding.kind == "spec_problems":
        yield from (_Told(at, True, message) for at, message in finding.context["problems"])
        return
    if isinstance(value, Unusable) and finding.kind != "extra_forbidden":
        return
    match finding.kind:
        case "missing" if isinstance(finding.enclosing, tuple):
            found = _entries(len(finding.enclosing))
            yield _Told(path[:-1], False, f"found {found}, expected {finding.around.description}")
        case "missing":
            yield _Told(path, False, "required key is missing")
        case "extra_forbidden":
            yield _Told(path, True, f"unknown key{_known(finding, root)}")
        case "union_tag_invalid":
            yield from _wrong_kind(path, value["kind"], tuple(place.kinds()))
        case "union_tag_not_found" if isinstance(value, dict):
            kinds = either(tuple(place.kinds()))
            yield _Told((*path, "kind"), False, f"required key is missing; expected {kinds}")
        case "value_error":
            # What a part says of itself begins with the key it is about.
            message = str(finding.context["error"])
            word = message.split()[0].rstrip(",")
            key = word if isinstance(value, dict) and word in _keys_of(place, value) else None
            yield _Told(path, False, message, key)
        case kind if kind in _WRONG_TYPE:
            found = show(value) if place.names and isinstance(value, str) else show_with_type(value)
            hint = instead(value, place)
            yield _Told(path, False, f"found {found}, expected {place.description}{hint}")
        case kind if kind in _EXPECTED:
            found = _entries(len(value)) if kind in ("too_short", "too_long") else show(value)
            hint = _as_name(value) if kind == "string_pattern_mismatch" else ""
            expected = f"{_EXPECTED[kind](finding.context)}{hint}"
            yield _Told(path, False, f"found {found}, expected {expected}")
        case _:
            yield _Told(path, False, f"found {show(value)}: {finding.text}")


def _wrong_kind(path: Path, kind: object, kinds: tuple[str, ...]) -> Iterator[_Told]:
    if isinstance(kind, Unusable):
        return
    near = did_you_mean(kind, kinds) if isinstance(kind, str) else ""
    yield _Told((*path, "kind"), False, f"found {show(kind)}, expected {either(kinds)}{near}")


def _known(finding: _Finding, root: Place) -> str:
    """Say which key may be meant by an unknown one, or which there are."""
    names = _keys(finding)
    *around, key = finding.path
    known = elsewhere(key, tuple(around), finding.around, root) or did_you_mean(key, names)
    return known or f"; the keys here are {', '.join(names)}"


def _keys(finding: _Finding) -> tuple[str, ...]:
    """Return the keys that may stand beside a finding's."""
    return _keys_of(finding.around, finding.enclosing)


def _keys_of(place: Place, value: Any) -> tuple[str, ...]:
    model = place.model(value)
    return tuple(model.model_fields) if model else ()


def _as_name(text: str) -> str:
    """Return `; write x` with the name that is most like a text."""
    name = re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"; write {name}" if re.fullmatch(IDENTIFIER, name) else ""


def _entries(count: int) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


def _follow(detail: ErrorDetails, data: Any, root: Place) -> _Finding:
    """Find the value that an error of pydantic is about, and what was expected there.

    Pydantic's location has a label wherever one alternative of several was tried: no key.
    """
    kind, context, text = detail["type"], detail.get("ctx", {}), detail["msg"]
    keys = list(detail["loc"])
    if keys and keys[-1] == "[key]":
        path = tuple(map(str, keys[:-1]))
        return _Finding(kind, context, text, path, path[-1], root, root)
    names: list[str] = []
    place = around = root
    enclosing, value = None, data
    labelled = False
    for key in keys:
        if labelled:
            labelled = False
            continue
        name = str(key)
        names.append(name)
        enclosing, around = value, place
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, tuple) and isinstance(key, int):
            value = value[key] if key < len(value) else None
        place = around.inside(name, enclosing) or Place(Any)
        labelled = len(place.alternatives) > 1
    return _Finding(kind, context, text, tuple(names), value, place, around, enclosing)
