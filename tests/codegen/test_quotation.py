"""Operations are quoted as framework code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ranspec.codegen.backend import CodeBackend, installed_backends
from ranspec.codegen.code import Code, Name, Variable, render
from ranspec.codegen.quotation import COMMON, quote
from ranspec.ir.dimension import Argument, Dimension

EXAMPLE = SimpleNamespace(
    size=Dimension(4, Argument("size")),
    two=Dimension(2),
    pair=(1, 2),
    rate=0.5,
    one=1.0,
    kind="max",
    flag=True,
)


def text(piece: Code) -> str:
    return render(piece, lambda index: "ab"[index])


OPERANDS = (Variable(0), Variable(1))


@pytest.mark.parametrize(
    ("quoted", "written"),
    [
        ("F.relu(x)", "F.relu(a)"),
        ("x + y", "a + b"),
        ("op.one + x * y", "1 + a * b"),
        ("op.rate * x", "0.5 * a"),
        ("torch.cat([*xs], dim=-1)", "torch.cat([a, b], dim=-1)"),
        ("x.mean(dim=(2, 3))", "a.mean(dim=(2, 3))"),
        ("resize(x, y.shape[-2:])", "resize(a, b.shape[-2:])"),
        ("layer(op.size, op.two, op.pair)", "layer(size, 2, (1, 2))"),
        ("f(x, mode=op.kind, flag=op.flag, other='b')", 'f(a, mode="max", flag=True, other="b")'),
        ("f((op.size, 1))", "f((size, 1))"),
        ("g(f(x), y)", "g(f(a), b)"),
    ],
)
def test_quoted_code_is_written_over_operands_and_attributes(quoted: str, written: str) -> None:
    assert text(quote(quoted)(EXAMPLE, *OPERANDS)) == written


def test_arguments_that_are_always_the_default_are_left_out() -> None:
    quoted = quote("f(stride=op.size, groups=op.two, bias=op.flag)", stride=4, groups=2, bias=True)
    # A number that is an argument may be another in the next instance.
    assert text(quoted(EXAMPLE)) == "f(stride=size)"


def test_further_names_are_given_when_it_is_written() -> None:
    quoted = quote("layer(padding=padding)", padding=0)
    assert text(quoted(EXAMPLE, layer=Name("nn.Conv2d"), padding=1)) == "nn.Conv2d(padding=1)"
    assert text(quoted(EXAMPLE, layer=Name("nn.Conv2d"), padding=0)) == "nn.Conv2d()"


def test_what_cannot_be_quoted_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot quote lambda"):
        quote("f(lambda: 1)")(EXAMPLE)


def test_what_is_common_stands_in_every_backend_as_it_is() -> None:
    for backend in installed_backends():
        if isinstance(backend, CodeBackend):
            assert COMMON.items() <= dict(backend.operations).items()
            assert {"channel_normalize", "pad_channels"} <= set(backend.layers)
