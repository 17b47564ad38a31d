"""How files of a folder differ from what a build writes, line by line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import typer

from ranspec.cli.output import styled, write

if TYPE_CHECKING:
    from ranspec.codegen.build import Difference

_COLORS = {"-": typer.colors.RED, "+": typer.colors.GREEN, "@": typer.colors.CYAN}


def write_differences(differences: Iterable[Difference]) -> None:
    """Write differences as `diff -u` does, in colour where a person reads."""
    colored = styled(sys.stdout)
    for difference in differences:
        for line in unified(difference):
            color = _COLORS.get(line[0]) if colored and line else None
            write(typer.style(line, fg=color) if color else line)


def unified(difference: Difference) -> Iterator[str]:
    """Yield the lines of a difference, with what cannot be printed as escapes."""
    before, after = difference.found or b"", difference.expected or b""
    path = _printable(str(difference.path))
    try:
        old, new = (content.decode().splitlines() for content in (before, after))
    except UnicodeDecodeError:
        yield f"{path} differs in bytes that are no text"
        return
    here = "/dev/null" if difference.found is None else path
    built = "/dev/null" if difference.expected is None else f"{path} (as built)"
    for line in difflib.unified_diff(old, new, here, built, lineterm=""):
        yield _printable(line)


def _printable(text: str) -> str:
    return "".join(
        character
        if character.isprintable() or character == "\t"
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
