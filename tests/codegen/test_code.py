"""Code is laid out exactly as `ruff format` would."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ranspec.codegen.classes import docstring
from ranspec.codegen.code import (
    Attribute,
    Call,
    Code,
    Infix,
    Items,
    Literal,
    Name,
    Number,
    Repeated,
    Variable,
    as_attributes,
    attributes,
    code,
    definition,
    lay_out,
    named,
    render,
    scalar,
)
from ranspec.ir.dimension import Argument, Arithmetic, Constant, Named
from tests.rendering import ROOT

LONG = "a_function_whose_name_is_rather_long"


def text(piece: Code) -> str:
    return render(piece, lambda index: f"v{index}")


def formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--no-cache", "--stdin-filename", "a.py"]
    command += ["--config", str(ROOT / "pyproject.toml"), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def call(function: str, *arguments: Literal, **keywords: Literal) -> Call:
    named = tuple((name, code(value)) for name, value in keywords.items())
    return Call(Name(function), tuple(map(code, arguments)), named)


def words(count: int) -> tuple[Code, ...]:
    return tuple(Name(f"argument_number_{index}") for index in range(count))


LAYOUTS: list[Code] = [
    call("f", 1),
    call(LONG, *words(4)),
    call(LONG, *words(5)),
    call(LONG, *words(8)),
    call(LONG, *words(3), keyword=call(LONG, *words(6), last=Variable(0))),
    call(LONG, Items(words(2)), dim=1),
    call(LONG, Items(words(6)), dim=1),
    call(LONG, Items(words(6))),
    call(LONG, Items(tuple(call(LONG, *words(3)) for _ in range(3)))),
    call(LONG, Items(tuple(call(LONG, *words(6)) for _ in range(3)))),
    Items(words(3)),
    Items(words(8)),
    call("nn.Sequential", Repeated(call(LONG, *words(1)), 3)),
    call("nn.Sequential", Repeated(call(LONG, *words(2)), 3)),
    call("nn.Sequential", *words(1), Repeated(call(LONG, *words(2)), 3)),
    call("nn.Sequential", Repeated(call(LONG, *words(5)), 3), *words(1)),
    *(call(LONG, Name("a" * length), call(LONG, Name("b" * 90))) for length in range(82, 90)),
    *(call(LONG, Items((Name("a" * length), Name("b" * 90)))) for length in range(82, 90)),
    *(call("f", Items((Name("a" * length),))) for length in range(60, 95)),
    call(LONG, Items((Repeated(Name("item"), 3),))),
    call(LONG, Items((Repeated(call(LONG, *words(2)), 3),))),
    call(LONG, Items((Repeated(call(LONG, *words(5)), 3),))),
    call(LONG, Items((Name("first"), Repeated(call(LONG, *words(2)), 3)))),
    call(LONG, "a string", (1, 2), True, None, 1e-5),
]


@pytest.mark.parametrize("brackets", ["[]", "()"])
@pytest.mark.parametrize("prefix", ["self.layer = ", "return "])
def test_code_is_laid_out_as_the_formatter_would(prefix: str, brackets: str) -> None:
    def lines(piece: Code) -> list[str]:
        if isinstance(piece, Items):
            piece = Items(piece.items, brackets)
        return lay_out(prefix, piece, "value{}".format, 8)

    body = "\n".join(line for piece in LAYOUTS for line in lines(piece))
    source = f"class C:\n    def f(self):\n{body}\n"
    assert formatted(source) == source


def test_operators_are_parenthesised_where_they_must_be() -> None:
    total = Infix("+", Variable(0), Variable(1))
    assert text(Infix("*", total, Variable(2))) == "(v0 + v1) * v2"
    assert text(Infix("+", total, Variable(2))) == "v0 + v1 + v2"
    assert text(Infix("+", Variable(2), total)) == "v2 + (v0 + v1)"
    assert text(Attribute(total, "mean")) == "(v0 + v1).mean"


def test_numbers_are_parenthesised_where_they_must_be() -> None:
    a, b = Argument("a"), Argument("b")
    half = Arithmetic("//", a, Constant(2))
    assert text(Number(Arithmetic("*", b, half))) == "b * (a // 2)"
    assert text(Number(Arithmetic("*", half, b))) == "a // 2 * b"
    assert text(Number(Arithmetic("-", a, Arithmetic("-", b, a)))) == "a - (b - a)"
    assert text(Attribute(Number(half), "real")) == "(a // 2).real"


def test_literals_are_written_as_python_reads_them() -> None:
    awkward = 'quote " backslash \\ brace {x}'
    assert eval(text(code(awkward))) == awkward
    assert text(code((1, 2))) == "(1, 2)"
    assert text(code(True)) == "True"
    assert text(scalar(1.0)) == "1"
    assert text(scalar(0.5)) == "0.5"


def test_a_method_refers_to_the_numbers_of_its_instance() -> None:
    width = Named("width", Arithmetic("//", Argument("channels"), Constant(4)))
    rest = Arithmetic("-", Argument("channels"), Arithmetic("*", width, Constant(2)))
    assert text(Number(as_attributes(rest))) == "self.channels - self.width * 2"
    assert list(attributes(rest)) == ["channels", "width"]


def test_a_named_number_is_defined_once_in_terms_of_others() -> None:
    width = Named("width", Arithmetic("//", Argument("channels"), Constant(4)))
    wide = Named("wide", Arithmetic("*", width, Constant(2)))
    assert [definition(number) for number in named(wide)] == [
        "width = channels // 4",
        "wide = width * 2",
    ]


DOCSTRINGS = [
    "Plain.",
    '"Quoted" at the start.',
    'At the end "quoted"',
    'Triple """ inside, and four """" more """',
    "A backslash \\ and one at the end \\",
    "Two\nlines.",
    "Long " + "words " * 30,
    *("Long " + "words " * 14 + "x" * length for length in range(12)),
    "x" * 150,
    "\\" * 120,
    '"' * 120,
    'a\\"""' * 40,
    "中文" * 30 + " " + "中文 " * 30,
    "{{ braces }} {% tags %} {format} %s",
]


@pytest.mark.parametrize("words", DOCSTRINGS)
def test_a_docstring_holds_any_text_and_nothing_else(words: str) -> None:
    source = f"class C:\n    {docstring(words, 4)}\n\n    x = 1\n"
    namespace: dict[str, type] = {}
    exec(compile(source, "c.py", "exec"), {"__name__": "c"}, namespace)
    found = namespace["C"].__doc__ or ""
    assert "".join(found.split()) == "".join(words.split())
    assert formatted(source) == source
