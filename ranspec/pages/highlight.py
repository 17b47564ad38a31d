"""Code as HTML, coloured when the page is made: a reader's browser has nothing to do."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any, Literal

_LOOKS = (
    ("Token.Literal.String", "s"),
    ("Token.Comment", "c"),
    ("Token.Keyword.Constant", "m"),
    ("Token.Keyword", "k"),
    ("Token.Operator.Word", "k"),
    ("Token.Literal.Number", "m"),
    ("Token.Literal.Scalar", "s"),
    ("Token.Name.Class", "n"),
    ("Token.Name.Function", "n"),
    ("Token.Name.Tag", "n"),
    ("Token.Name.Builtin.Pseudo", "b"),
)
"""The CSS class of each kind of token; what is not listed is plain text."""


def highlighted(code: str, language: Literal["python", "yaml"]) -> str:
    """Return code as HTML, each line in an element of class `l`."""
    from pygments.lexers import PythonLexer, YamlLexer

    lexer = PythonLexer(stripnl=False) if language == "python" else YamlLexer(stripnl=False)
    lines: list[list[str]] = [[]]
    for kind, text in lexer.get_tokens(code):
        look = _look(kind)
        first, *others = text.split("\n")
        for number, part in enumerate((first, *others)):
            if number:
                lines.append([])
            if part:
                written = escape(part, quote=False)
                plain = look is None or part.isspace()
                lines[-1].append(written if plain else f"<i class={look}>{written}</i>")
    while lines and not lines[-1]:
        lines.pop()
    return "".join(f"<span class=l>{''.join(line)}\n</span>" for line in lines)


@cache
def _look(kind: Any) -> str | None:
    """Return the CSS class of a kind of token."""
    return next((look for prefix, look in _LOOKS if str(kind).startswith(prefix)), None)
