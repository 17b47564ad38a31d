"""Operations written as framework code: `function("F.relu(x)")`.

The code is an expression over the operands, `x` and `y` (or `*xs` for all), and over `op`, the
operation; every other name stands for itself.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ranspec.codegen.backend import Function, Member
from ranspec.codegen.code import Attribute, Call, Code, Infix, Items, Literal, Name, code, scalar
from ranspec.ir import operations as ops
from ranspec.ir.dimension import Constant, Dimension
from ranspec.ir.operation import Operation

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
}


@dataclass(frozen=True, eq=False)
class Quotation:
    """An expression of framework code with places for an operation and its operands."""

    expression: ast.expr
    defaults: Mapping[str, object]

    def __call__(self, op: object, *operands: Code, **others: Literal) -> Code:
        """Write it for an operation; `others` are what further names stand for."""
        names = {"op": op, **dict(zip("xy", operands, strict=False)), "xs": operands, **others}
        return code(_literal(self.expression, names, self.defaults))


def quote(text: str, **defaults: object) -> Quotation:
    """Quote code; keyword arguments in it that equal the framework's `defaults` are left out."""
    return Quotation(ast.parse(text, mode="eval").body, defaults)


def function(text: str, **defaults: object) -> Function:
    """Describe an operation that is written where it is used."""
    return Function(quote(text, **defaults))


def member(text: str, **defaults: object) -> Member:
    """Describe an operation that a class constructs so and keeps."""
    return Member(quote(text, **defaults))


COMMON: Mapping[type[Operation], Function | Member] = {
    ops.Add: function("x + y"),
    ops.AddScalar: function("op.value + x"),
    ops.ChannelNormalize: function(
        "channel_normalize(x, epsilon=op.epsilon, epsilon_use=op.epsilon_use)", epsilon_use="added"
    ),
    ops.ChannelStandardize: function("channel_standardize(x, epsilon=op.epsilon)"),
    ops.Multiply: function("x * y"),
    ops.PadChannels: function("pad_channels(x, op.channels)"),
    ops.Scale: function("op.factor * x"),
    ops.SpatialNormalize: function("spatial_normalize(x, epsilon=op.epsilon)"),
}
"""What is written alike in every framework of Python; the functions are those of its `layers`."""


def _literal(node: ast.expr, names: Mapping[str, Any], defaults: Mapping[str, object]) -> Literal:
    def inner(part: ast.expr) -> Literal:
        return _literal(part, names, defaults)

    match node:
        case ast.Constant() | ast.UnaryOp():
            return cast(Literal, ast.literal_eval(node))
        case ast.Name(name):
            return cast(Literal, names.get(name, Name(name)))
        case ast.Attribute(ast.Name("op"), name):
            return cast(Literal, getattr(names["op"], name))
        case ast.Attribute(owner, name):
            return _attribute(code(inner(owner)), name)
        case ast.Subscript(ast.Attribute(owner, name), index):
            return _attribute(code(inner(owner)), f"{name}[{ast.unparse(index)}]")
        case ast.BinOp(left, operator, right):
            return Infix(_OPERATORS[type(operator)], _operand(inner(left)), _operand(inner(right)))
        case ast.List([ast.Starred(ast.Name(name))]):
            return Items(names[name])
        case ast.Tuple(items):
            values = [inner(item) for item in items]
            if all(isinstance(value, int) for value in values):
                return tuple(values)  # type: ignore[arg-type]
            return Items(tuple(map(code, values)), "()")
        case ast.Call(called, arguments, keywords):
            given = {item.arg: inner(item.value) for item in keywords if item.arg}
            return Call(
                code(inner(called)),
                tuple(code(inner(argument)) for argument in arguments),
                tuple(
                    (name, code(value))
                    for name, value in given.items()
                    if name not in defaults or not _equal(value, defaults[name])
                ),
            )
    raise ValueError(f"cannot quote {ast.unparse(node)}")


def _attribute(owner: Code, suffix: str) -> Code:
    return Name(f"{owner.text}.{suffix}") if isinstance(owner, Name) else Attribute(owner, suffix)


def _operand(value: Literal) -> Code:
    return scalar(value) if isinstance(value, float) else code(value)


def _equal(value: Literal, default: object) -> bool:
    """Say whether a value is always the default."""
    if isinstance(value, Dimension):
        return isinstance(default, int) and value.expression == Constant(default)
    return value == default
