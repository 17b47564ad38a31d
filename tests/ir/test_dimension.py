"""Dimensions know their value and where it comes from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranspec.ir.dimension import (
    Argument,
    Arithmetic,
    Constant,
    Dimension,
    Expression,
    Named,
    arguments_of,
    combine,
    evaluate,
    substitute,
)

A, B = Argument("a"), Argument("b")


def test_a_plain_number_is_a_constant() -> None:
    assert Dimension(3).expression == Constant(3)


def test_arithmetic_keeps_value_and_expression() -> None:
    a = Dimension(8, A)
    result = 2 * (a + 1) // 3 - a
    assert result.value == 2 * 9 // 3 - 8
    assert evaluate(result.expression, {"a": 8}) == result.value
    assert evaluate(result.expression, {"a": 20}) == 2 * 21 // 3 - 20


def test_dimensions_are_not_compared() -> None:
    with pytest.raises(TypeError, match="all_equal"):
        assert Dimension(1) == Dimension(1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Dimension(1))


@pytest.mark.parametrize(
    ("operator", "left", "right", "result"),
    [
        ("+", Constant(2), Constant(3), Constant(5)),
        ("+", A, Constant(0), A),
        ("+", Constant(0), A, A),
        ("*", A, Constant(1), A),
        ("*", Constant(1), A, A),
        ("//", A, Constant(1), A),
        ("-", A, Constant(0), A),
        ("+", A, Constant(-1), Arithmetic("-", A, Constant(1))),
        ("+", Arithmetic("-", A, Constant(1)), Constant(1), A),
        ("-", Arithmetic("+", A, Constant(1)), Constant(3), Arithmetic("-", A, Constant(2))),
        ("//", Arithmetic("//", A, Constant(2)), Constant(2), Arithmetic("//", A, Constant(4))),
        ("-", A, B, Arithmetic("-", A, B)),
    ],
)
def test_what_is_constant_or_neutral_is_folded(
    operator: str, left: Expression, right: Expression, result: Expression
) -> None:
    assert combine(operator, left, right) == result  # type: ignore[arg-type]


steps = st.lists(
    st.tuples(st.sampled_from(["+", "-", "*", "//"]), st.integers(-5, 5)), min_size=1, max_size=8
)


@given(steps, st.integers(-50, 50))
def test_folding_never_changes_a_value(steps: list[tuple[str, int]], start: int) -> None:
    expression: Expression = A
    value = start
    for operator, number in steps:
        if operator == "//" and number == 0:
            continue
        expression = combine(operator, expression, Constant(number))  # type: ignore[arg-type]
        value = {
            "+": value + number,
            "-": value - number,
            "*": value * number,
            "//": value // (number or 1),
        }[operator]
    assert evaluate(expression, {"a": start}) == value


def test_substitution_reaches_into_names_and_folds() -> None:
    width = Named("width", Arithmetic("//", A, Constant(4)))
    assert substitute(width, {"a": B}) == Named("width", Arithmetic("//", B, Constant(4)))
    assert substitute(width, {"a": Constant(64)}) == Constant(16)


def test_parameters_come_in_order_of_appearance() -> None:
    assert list(arguments_of(Arithmetic("+", Named("n", B), Arithmetic("*", A, B)))) == [
        "b",
        "a",
        "b",
    ]
