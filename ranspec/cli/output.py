"""Results to stdout, messages to stderr, tables for people and for Markdown."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any, TextIO

import typer

from ranspec.errors import printable
from ranspec.numbers import integer as integer
from ranspec.numbers import megabytes as megabytes
from ranspec.numbers import percent as percent
from ranspec.numbers import scaled as scaled
from ranspec.numbers import shape as shape


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; numbers stand to the right."""

    title: str
    right: bool = True


def examples(*lines: str) -> str:
    """Write the examples of a help page, which are not to be wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def message(text: str) -> None:
    """Tell the user something that is not the result."""
    typer.echo(text, err=True)


def write(text: str) -> None:
    """Write a result."""
    typer.echo(text)


def write_json(value: Any) -> None:
    """Write a result for programs."""
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
    write(json.dumps(finite(value), indent=2, ensure_ascii=ascii_only, allow_nan=False))


def finite(value: Any) -> Any:
    """Return data with null for numbers that JSON has no word for: infinities and NaN."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


def write_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, markdown: bool = False
) -> None:
    """Write a table, its cells as given but for what a terminal might act on."""
    cells = [[printable(cell) for cell in row] for row in rows]
    write(_markdown(columns, cells) if markdown else _aligned(columns, cells))


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    titles = [column.title for column in columns]
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    header = line(titles)
    if styled(sys.stdout):
        header = typer.style(header, bold=True)
    return "\n".join([header, *map(line, rows)])


def _markdown(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join("---:" if column.right else "---" for column in columns) + "|"
    return "\n".join([line([column.title for column in columns]), rule, *map(line, rows)])


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """Yield a function to call with the amount done: a bar in a terminal, nothing elsewhere."""
    if not styled(sys.stderr):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def styled(stream: TextIO) -> bool:
    """Tell whether what is written to a stream may have colours."""
    import os

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


def size(number: float) -> str:
    """Write a number of bytes."""
    for limit, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if number >= limit:
            return f"{number / limit:,.1f} {unit}"
    return f"{number / 2**10:,.1f} KiB"


def seconds(number: float) -> str:
    """Write a short time."""
    if number >= 1:
        return f"{number:.2f} s"
    return f"{1e3 * number:.2f} ms" if number else ""


def duration(number: float) -> str:
    """Write a long time."""
    for limit, unit in ((2 * 86400, "days"), (2 * 3600, "hours"), (120, "minutes")):
        if number >= limit:
            return f"{number * 2 / limit:.1f} {unit}"
    return f"{number:.1f} s"
