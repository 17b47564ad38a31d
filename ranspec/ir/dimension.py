"""Integers that know both their value and the expression they came from.

A block is traced with concrete numbers, so shapes are known at once and wrong ones are found where
they arise; beside each number runs the expression over the block's arguments that gave it, so
that one trace can become one class with constructor arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NoReturn


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal integer."""

    value: int


@dataclass(frozen=True, slots=True)
class Argument:
    """A numeric argument of the block being traced."""

    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """A derived number that the block gives a name, such as a bottleneck's width."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A sum, difference, product or floor quotient of two expressions."""

    operator: Literal["+", "-", "*", "//"]
    left: Expression
    right: Expression


Expression = Constant | Argument | Named | Arithmetic


def combine(
    operator: Literal["+", "-", "*", "//"], left: Expression, right: Expression
) -> Expression:
    """Build `left operator right`, folding what is constant or neutral."""
    match operator, left, right:
        case _, Constant(a), Constant(b):
            return Constant(_apply(operator, a, b))
        case (("+" | "-"), _, Constant(0)):
            return left
        case "+", Constant(0), _:
            return right
        case (("*" | "//"), _, Constant(1)):
            return left
        case "*", Constant(1), _:
            return right
        case "+", _, Constant(value) if value < 0:
            return combine("-", left, Constant(-value))
        case (("+" | "-"), Arithmetic(("+" | "-") as inner, rest, Constant(first)), Constant(then)):
            total = (first if inner == "+" else -first) + (then if operator == "+" else -then)
            return combine("+", rest, Constant(total))
        case "//", Arithmetic("//", rest, Constant(first)), Constant(then) if min(first, then) > 0:
            return combine("//", rest, Constant(first * then))
        case _:
            return Arithmetic(operator, left, right)


def evaluate(expression: Expression, values: Mapping[str, int]) -> int:
    """Return the value of an expression; `KeyError` where an argument has none."""
    match expression:
        case Constant(value):
            return value
        case Argument(name):
            return values[name]
        case Named(_, inner):
            return evaluate(inner, values)
        case Arithmetic(operator, left, right):
            return _apply(operator, evaluate(left, values), evaluate(right, values))


def substitute(expression: Expression, replacements: Mapping[str, Expression]) -> Expression:
    """Replace arguments by expressions."""
    match expression:
        case Constant():
            return expression
        case Argument(name):
            return replacements.get(name, expression)
        case Named(name, inner):
            replaced = substitute(inner, replacements)
            return replaced if isinstance(replaced, Constant) else Named(name, replaced)
        case Arithmetic(operator, left, right):
            return combine(
                operator, substitute(left, replacements), substitute(right, replacements)
            )


def arguments_of(expression: Expression) -> Iterator[str]:
    """Yield the names of the arguments an expression uses, in order of appearance."""
    match expression:
        case Constant():
            return
        case Argument(name):
            yield name
        case Named(_, inner):
            yield from arguments_of(inner)
        case Arithmetic(_, left, right):
            yield from arguments_of(left)
            yield from arguments_of(right)


def _apply(operator: str, left: int, right: int) -> int:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left // right


class Dimension:
    """An integer with the expression that gave it.

    Comparison is not defined on purpose: whether two dimensions are the same is a decision about
    the structure of a block, taken with `Builder.all_equal`, which records it.
    """

    __slots__ = ("expression", "value")

    def __init__(self, value: int, expression: Expression | None = None) -> None:
        self.value = value
        self.expression = Constant(value) if expression is None else expression

    def __add__(self, other: Dimension | int) -> Dimension:
        return self._with("+", other)

    def __sub__(self, other: Dimension | int) -> Dimension:
        return self._with("-", other)

    def __mul__(self, other: Dimension | int) -> Dimension:
        return self._with("*", other)

    def __rmul__(self, other: int) -> Dimension:
        return dimension(other)._with("*", self)

    def __floordiv__(self, other: Dimension | int) -> Dimension:
        return self._with("//", other)

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"Dimension({self.value}, {self.expression})"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("compare dimensions with Builder.all_equal, or their values")

    __hash__ = None  # type: ignore[assignment]

    def _with(self, operator: Literal["+", "-", "*", "//"], other: Dimension | int) -> Dimension:
        right = dimension(other)
        return Dimension(
            _apply(operator, self.value, right.value),
            combine(operator, self.expression, right.expression),
        )


def dimension(value: Dimension | int) -> Dimension:
    """Return a dimension, making a constant of a plain integer."""
    return value if isinstance(value, Dimension) else Dimension(value)


Setting = Annotated[Dimension, "a constant of the class where all its instances agree"]
"""The type of a block's number that is rather a property of the network, such as `reduction`."""
