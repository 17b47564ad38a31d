"""A command line over a frozen dataclass of settings, which may be composed by inheritance.

    @dataclass(frozen=True)
    class Recipe:
        "The recipe."

        batch_size: Annotated[Positive, "images per step"] = 64

    @dataclass(frozen=True)
    class Settings(RunOptions, Recipe): ...

is `--batch-size N   images per step (default: 64)`, in a part of the help that is called after the
first line of the class. Each of the classes may check its own in `__post_init__`: it raises
ValueError with a message that begins with the setting's name.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import math
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` to `most`; those above `above` and those below `below`."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        within = self.least <= value <= self.most and self.above < value < self.below
        return math.isfinite(value) and within

    def __str__(self) -> str:
        words = (
            (self.least, f"{self.least:,.12g} or more"),
            (self.above, f"above {self.above:,.12g}"),
            (self.most, f"at most {self.most:,.12g}"),
            (self.below, f"below {self.below:,.12g}"),
        )
        return ", ".join(word for limit, word in words if math.isfinite(limit))


@dataclass(frozen=True)
class Rising:
    """The entries of a tuple rise from one to the next, or may be equal."""

    strictly: bool = True

    def __contains__(self, values: Sequence[float]) -> bool:
        return all(
            earlier < later or (earlier == later and not self.strictly)
            for earlier, later in pairwise(values)
        )

    def __str__(self) -> str:
        return "rising" if self.strictly else "the least, then the largest"


ANY = Range()
RISING, ORDERED = Rising(), Rising(strictly=False)

Count = Annotated[int, Range(0, 2**31 - 1)]
Positive = Annotated[int, Range(1, 2**31 - 1)]
Amount = Annotated[float, Range(0)]

# What recipes have, with the limits of the spec language.
Angle = Annotated[float, Range(0, 180)]
BatchSize = Annotated[int, Range(1, 65_536)]
Concentration = Annotated[float, Range(above=0, most=16)]
Fraction = Annotated[float, Range(0, below=1)]
LowestRate = Annotated[float, Range(0, 1000)]
Padding = Annotated[int, Range(0, 64)]
Patience = Annotated[int, Range(1, 10_000)]
Penalty = Annotated[float, Range(0, 1)]
Rate = Annotated[float, Range(above=0, most=1000)]
Ratio = Annotated[float, Range(0.01, 100)]
Share = Annotated[float, Range(above=0, most=1)]
Steps = Annotated[int, Range(1, 100_000_000)]


def parse_settings(
    kind: type[T], description: str | None, arguments: Sequence[str] | None = None
) -> T:
    """Read settings from the command line; the text in a field's `Annotated` is its help.

    A field is a number, str, bool (`--flip`, `--no-flip`), Path, Literal, a tuple of one of these
    (any number, or as many as the type says), or one of these or None. What is wrong is told, and
    ends the program with status 2.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    hints = get_type_hints(kind, include_extras=True)
    groups: dict[type, argparse._ArgumentGroup] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        owner = next(part for part in kind.__mro__ if field.name in inspect.get_annotations(part))
        if owner not in groups:
            groups[owner] = parser.add_argument_group(_title(owner))
        help = next(text for text in get_args(hints[field.name]) if isinstance(text, str))
        groups[owner].add_argument(
            _option(field.name),
            default=argparse.SUPPRESS,
            help=(help + _default(field.default)).replace("%", "%%"),
            **_options(hints[field.name]),
        )
    try:
        settings = kind(**vars(parser.parse_args(arguments)))
        _check(settings)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        parser.error(f"argument {_option(name)}: {rest}" if name in hints else str(error))
    return settings


def fail(message: object) -> NoReturn:
    """Say what is wrong on stderr and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _title(part: type) -> str:
    return (inspect.getdoc(part) or part.__name__).partition("\n")[0].rstrip(".")


def _check(settings: object) -> None:
    """Let each class that settings are composed of check its own: only one is called otherwise."""
    for part in type(settings).__mro__:
        if check := vars(part).get("__post_init__"):
            check(settings)


def _default(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f" (default: {'yes' if value else 'no'})"
    if isinstance(value, tuple):
        return f" (default: {' '.join(map(str, value)) or 'none'})"
    return f" (default: {value})"


def _options(hint: Any, allowed: Range = ANY) -> dict[str, Any]:
    """Return the arguments of `add_argument` for a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        extras = arguments[1:]
        allowed = next((extra for extra in extras if isinstance(extra, Range)), allowed)
        options = _options(arguments[0], allowed)
        if order := next((extra for extra in extras if isinstance(extra, Rising)), None):
            options["action"] = partial(_StoreTuple, order=order)
        return options
    if origin in (Union, types.UnionType):
        return _options(next(a for a in arguments if a is not type(None)), allowed)
    if origin is tuple:
        count = "*" if arguments[-1] is Ellipsis else len(arguments)
        return {"nargs": count, "action": _StoreTuple, **_options(arguments[0], allowed)}
    if origin is Literal:
        return {"choices": arguments}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint is int or hint is float:
        return {"type": _number(hint, allowed), "metavar": "N" if hint is int else "X"}
    return {"type": hint, "metavar": "PATH" if hint is Path else "TEXT"}


class _StoreTuple(argparse.Action):
    def __init__(self, *arguments: Any, order: Rising | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.order = order

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        stored = tuple(values or ())
        if self.order is not None and stored not in self.order:
            found = " ".join(map(str, stored))
            raise argparse.ArgumentError(self, f"found {found}, expected {self.order}")
        setattr(namespace, self.dest, stored)


def _number(kind: type[int] | type[float], allowed: Range) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if value in allowed:
            return value
        noun = "a whole number" if kind is int else "a number"
        limits = f", {allowed}" if allowed != ANY else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not {noun}{limits}")

    return parse
