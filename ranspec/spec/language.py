"""What the models say about a place in a spec, found by walking their annotations."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ranspec.spec.base import Model
from ranspec.spec.errors import either
from ranspec.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Place:
    """The type expected somewhere in a spec, and the kind a mapping there has unless it says."""

    annotation: Any
    default_kind: str | None = None

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """Return the members of a union, without None; a type alone is its only member."""
        return _members(self.annotation)

    @property
    def models(self) -> tuple[type[Model], ...]:
        """Return the models that a mapping here may be."""
        return _models(self.annotation)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the values allowed here, where the type lists them."""
        return tuple(map(str, self.literals))

    @property
    def literals(self) -> tuple[str | int, ...]:
        """Return these values as they are."""
        return tuple(
            value
            for member in self.alternatives
            if get_origin(member) is Literal
            for value in get_args(member)
        )

    @property
    def is_open(self) -> bool:
        """Tell whether keys here are the author's own."""
        return any(get_origin(member) is dict for member in self.alternatives)

    @property
    def is_whole(self) -> bool:
        """Tell whether a number here is a whole one."""
        whole = int in self.alternatives or any(isinstance(value, int) for value in self.literals)
        return whole and float not in self.alternatives

    @property
    def number_keys(self) -> tuple[str, ...]:
        """Return the keys of a mapping that a bare number here stands for."""
        return self.models[0].number_keys if self.models else ()

    @property
    def is_list(self) -> bool:
        """Tell whether a list may stand here."""
        return any(get_origin(member) is tuple for member in self.alternatives)

    @property
    def entries(self) -> Place:
        """Return the place of an entry, where keys are the author's own."""
        (mapping,) = (member for member in self.alternatives if get_origin(member) is dict)
        return Place(get_args(mapping)[1])

    @property
    def description(self) -> str:
        """Say in words what may stand here."""
        words = [word for member in self.alternatives if (word := _word(member))]
        if self.models:
            words = ["a mapping", *words]
            if self.number_keys:
                words.append("a number")
            if self.kinds():
                words.append(f"one of {', '.join(self.kinds())}")
        return either([*dict.fromkeys([*words, *self.names])] or ["something else"])

    def kinds(self) -> dict[str, type[Model]]:
        """Return the models by kind; empty when they have none."""
        return {kind: model for model in self.models for kind in kinds_of(model)}

    def model(self, value: Any) -> type[Model] | None:
        """Return the model that the mapping `value` is read as, if that can be told."""
        if len(self.models) == 1:
            return self.models[0]
        kind = value.get("kind", self.default_kind) if isinstance(value, dict) else None
        return self.kinds().get(kind) if isinstance(kind, str) else None

    def inside(self, key: str, value: Any) -> Place | None:
        """Return the place at `key` of the mapping or list `value` found here."""
        for member in self.alternatives:
            if get_origin(member) is dict:
                return Place(get_args(member)[1])
            if get_origin(member) is tuple:
                return Place(get_args(member)[0])
        model = self.model(value)
        field = model.model_fields.get(key) if model else None
        if field is None:
            return None
        return Place(field.annotation, getattr(field.default, "kind", None))


ROOT = Place(Spec)

_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping",
}


def _word(member: Any) -> str | None:
    if get_origin(member) is tuple:
        entries = get_args(member)
        return "a list" if Ellipsis in entries else f"a list of {len(entries)}"
    return _WORDS.get(get_origin(member) or member)


def models(place: Place = ROOT) -> Iterator[type[Model]]:
    """Yield every model of the language once, each before those within it."""
    return iter(dict.fromkeys(_walk(place.annotation)))


def _walk(annotation: Any) -> Iterator[type[Model]]:
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, Model):
            yield member
            for field in member.model_fields.values():
                yield from _walk(field.annotation)
        for argument in get_args(member) if get_origin(member) in (dict, tuple) else ():
            yield from _walk(argument)


@cache
def _members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(inner for member in get_args(annotation) for inner in _members(member))
    return () if annotation is type(None) else (annotation,)


@cache
def _models(annotation: Any) -> tuple[type[Model], ...]:
    return tuple(
        member
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, Model)
    )


@cache
def kinds_of(model: type[Model]) -> tuple[str, ...]:
    """Return the kinds of a model; none for one that is the only choice wherever it stands."""
    field = model.model_fields.get("kind")
    return Place(field.annotation).names if field else ()
