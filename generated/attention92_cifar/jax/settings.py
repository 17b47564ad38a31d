"""A command line over a frozen dataclass of settings.

    @dataclass(frozen=True)
    class Settings:
        batch_size: Annotated[Positive, "images per step"] = 64

is `--batch-size N   images per step (default: 64)`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """The finite numbers from `least` on that are below `limit`."""

    least: float = -math.inf
    limit: float = math.inf


ANY = Range()
Count = Annotated[int, Range(0, 2**31)]
Positive = Annotated[int, Range(1, 2**31)]
Rate = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]


def parse_settings(
    kind: type[T], description: str | None, arguments: Sequence[str] | None = None
) -> T:
    """Read settings from the command line; the text in a field's `Annotated` is its help.

    A field is a number, str, bool (`--flip`, `--no-flip`), Path, Literal, a tuple of one of these
    (any number, or as many as the type says), or one of these or None.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    hints = get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        help = next(text for text in get_args(hints[field.name]) if isinstance(text, str))
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            default=argparse.SUPPRESS,
            help=(help + _default(field.default)).replace("%", "%%"),
            **_options(hints[field.name]),
        )
    return kind(**vars(parser.parse_args(arguments)))


def fail(message: object) -> NoReturn:
    """Say what is wrong on stderr and exit with status 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


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
        ranges = (extra for extra in arguments[1:] if isinstance(extra, Range))
        return _options(arguments[0], next(ranges, allowed))
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
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, tuple(values or ()))


def _number(kind: type[int] | type[float], allowed: Range) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and allowed.least <= value < allowed.limit:
            return value
        noun = "a whole number" if kind is int else "a number"
        least = "" if allowed.least == -math.inf else f", {allowed.least} or more"
        limit = "" if allowed.limit == math.inf else f", below {allowed.limit}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {noun}{least}{limit}")

    return parse
