"""Pieces of Python code, and how they are laid out on lines.

Backends describe what they want written as calls and operators over values; this module renders
them as `ruff format` would, so that generated files need no formatter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ranspec.ir.dimension import (
    Argument,
    Arithmetic,
    Constant,
    Dimension,
    Expression,
    Named,
)

LINE_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Name:
    """A name or other atom, written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """The variable that holds a value of the trace; its name is chosen later."""

    index: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number that follows from the class's constructor arguments."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A call `function(arguments, keywords)`."""

    function: Code
    arguments: tuple[Code, ...] = ()
    keywords: tuple[tuple[str, Code], ...] = ()


@dataclass(frozen=True, slots=True)
class Infix:
    """A binary operator."""

    operator: str
    left: Code
    right: Code


@dataclass(frozen=True, slots=True)
class Attribute:
    """`owner.suffix`, where the suffix may also index or call, such as `shape[-2:]`."""

    owner: Code
    suffix: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list or tuple display."""

    items: tuple[Code, ...]
    brackets: str = "[]"


@dataclass(frozen=True, slots=True)
class Repeated:
    """`*(item for _ in range(count))`: an argument that stands for several equal ones."""

    item: Code
    count: int


Code = Name | Variable | Number | Call | Infix | Attribute | Items | Repeated
Literal = Code | Dimension | bool | int | float | str | tuple[int, ...] | None
Namer = Callable[[int], str]

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "//": 2}
_ATOM = 9


def code(value: Literal) -> Code:
    """Make code of a dimension or of a Python value, which is written as a literal."""
    if isinstance(value, Dimension):
        return Number(value.expression)
    if isinstance(value, str):
        return Name('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
    if isinstance(value, bool | int | float | tuple) or value is None:
        return Name(repr(value))
    return value


def scalar(value: float) -> Code:
    """Write a factor or summand: `1` rather than `1.0`."""
    return Name(repr(int(value) if value == int(value) else value))


def walk(piece: Code) -> Iterator[Code]:
    """Yield a piece of code and all that it is made of."""
    yield piece
    match piece:
        case Call(function, arguments, keywords):
            children: Sequence[Code] = (function, *arguments, *(value for _, value in keywords))
        case Infix(_, left, right):
            children = (left, right)
        case Attribute(owner, _):
            children = (owner,)
        case Items(items):
            children = items
        case Repeated(item):
            children = (item,)
        case _:
            children = ()
    for child in children:
        yield from walk(child)


def rewrite(piece: Code, change: Callable[[Code], Code | None]) -> Code:
    """Replace the pieces for which `change` returns another, and not look inside those."""
    changed = change(piece)
    if changed is not None:
        return changed

    def inner(part: Code) -> Code:
        return rewrite(part, change)

    match piece:
        case Call(function, arguments, keywords):
            named_arguments = tuple((name, inner(value)) for name, value in keywords)
            return Call(inner(function), tuple(map(inner, arguments)), named_arguments)
        case Infix(operator, left, right):
            return Infix(operator, inner(left), inner(right))
        case Attribute(owner, suffix):
            return Attribute(inner(owner), suffix)
        case Items(items, brackets):
            return Items(tuple(map(inner, items)), brackets)
        case Repeated(item, count):
            return Repeated(inner(item), count)
        case _:
            return piece


def render(piece: Code, name_of: Namer) -> str:
    """Write code on one line."""
    match piece:
        case Name(text):
            return text
        case Variable(index):
            return name_of(index)
        case Number(expression):
            return _expression(expression)[0]
        case Attribute(owner, suffix):
            return f"{_wrapped(owner, _ATOM, name_of)}.{suffix}"
        case Infix(operator, left, right):
            level = _PRECEDENCE[operator]
            return (
                f"{_wrapped(left, level, name_of)} {operator} {_wrapped(right, level + 1, name_of)}"
            )
        case Call(function, _, _):
            inner = ", ".join(_arguments(piece, name_of))
            return f"{_wrapped(function, _ATOM, name_of)}({inner})"
        case Items((Repeated(item, count),), "[]"):
            return f"[{render(item, name_of)} for _ in range({count})]"
        case Items(items, brackets):
            inner = ", ".join(render(item, name_of) for item in items)
            comma = "," if brackets == "()" and len(items) == 1 else ""
            return f"{brackets[0]}{inner}{comma}{brackets[1]}"
        case Repeated(item, count):
            return f"*({render(item, name_of)} for _ in range({count}))"


def lay_out(prefix: str, piece: Code, name_of: Namer, indent: int, suffix: str = "") -> list[str]:
    """Write `prefix`, code and `suffix` on as many lines as the line length asks for."""
    space = " " * indent
    line = f"{space}{prefix}{render(piece, name_of)}{suffix}"
    if len(line) <= LINE_LENGTH or not isinstance(piece, Call | Items | Repeated):
        return [line]
    match piece:
        case Repeated(item, count):
            return _lay_out_loop(f"{prefix}*(", item, count, f"){suffix}", name_of, indent)
        case Items((Repeated(item, count),), "[]"):
            return _lay_out_loop(f"{prefix}[", item, count, f"]{suffix}", name_of, indent)
        case Items(items, brackets):
            opening, closing = brackets[0], f"{brackets[1]}{suffix}"
            parts: list[tuple[str, Code]] = [("", item) for item in items]
        case Call(function, arguments, keywords):
            opening, closing = f"{_wrapped(function, _ATOM, name_of)}(", f"){suffix}"
            parts = [("", argument) for argument in arguments]
            parts += [(f"{name}=", value) for name, value in keywords]
    inner = " " * (indent + 4)
    joined = inner + ", ".join(f"{keyword}{render(part, name_of)}" for keyword, part in parts)
    if len(joined) <= LINE_LENGTH and isinstance(piece, Call):
        return [f"{space}{prefix}{opening}", joined, f"{space}{closing}"]
    lines = [f"{space}{prefix}{opening}"]
    for keyword, part in parts:
        lines += lay_out(keyword, part, name_of, indent + 4, ",")
    return [*lines, f"{space}{closing}"]


def _lay_out_loop(
    opening: str, item: Code, count: int, closing: str, name_of: Namer, indent: int
) -> list[str]:
    space = " " * indent
    lines = lay_out("", item, name_of, indent + 4)
    return [f"{space}{opening}", *lines, f"{space}    for _ in range({count})", f"{space}{closing}"]


def expressions(piece: Code) -> Iterator[Expression]:
    """Yield the numeric expressions in a piece of code."""
    for part in walk(piece):
        if isinstance(part, Number):
            yield part.expression


def named(expression: Expression) -> Iterator[Named]:
    """Yield the named numbers in an expression, inner ones first."""
    match expression:
        case Named(_, inner):
            yield from named(inner)
            yield expression
        case Arithmetic(_, left, right):
            yield from named(left)
            yield from named(right)


def attributes(expression: Expression) -> Iterator[str]:
    """Yield the names by which `as_attributes` refers to the numbers of an instance."""
    match expression:
        case Argument(name) | Named(name, _):
            yield name
        case Arithmetic(_, left, right):
            yield from attributes(left)
            yield from attributes(right)


def as_attributes(expression: Expression) -> Expression:
    """Write an expression over the constructor's numbers in terms of the instance's own."""
    match expression:
        case Argument(name) | Named(name, _):
            return Argument(f"self.{name}")
        case Arithmetic(operator, left, right):
            return Arithmetic(operator, as_attributes(left), as_attributes(right))
        case _:
            return expression


def definition(number: Named) -> str:
    """Write what a named number is."""
    return f"{number.name} = {_expression(number.expression)[0]}"


def _arguments(piece: Call, name_of: Namer) -> list[str]:
    positional = [render(argument, name_of) for argument in piece.arguments]
    return positional + [f"{name}={render(value, name_of)}" for name, value in piece.keywords]


def _wrapped(piece: Code, level: int, name_of: Namer) -> str:
    text = render(piece, name_of)
    return f"({text})" if _precedence(piece) < level else text


def _precedence(piece: Code) -> int:
    match piece:
        case Infix(operator, _, _):
            return _PRECEDENCE[operator]
        case Number(expression):
            return _expression(expression)[1]
        case _:
            return _ATOM


def _expression(expression: Expression) -> tuple[str, int]:
    match expression:
        case Constant(value):
            return str(value), _ATOM
        case Argument(name) | Named(name, _):
            return name, _ATOM
        case Arithmetic(operator, left, right):
            level = _PRECEDENCE[operator]
            first, first_level = _expression(left)
            second, second_level = _expression(right)
            first = f"({first})" if first_level < level else first
            second = f"({second})" if second_level <= level else second
            return f"{first} {operator} {second}", level
