"""From the nodes of a trace to the statements of a forward method.

Cheap operations are nested into the expression that uses them, as people write
`self.conv1(F.relu(self.norm1(x)))`; what is used twice, or is worth a line, becomes a variable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ranspec.codegen.code import Call, Code, Infix, Variable, render, rewrite, walk
from ranspec.ir import operations as ops
from ranspec.ir.trace import BlockNode, Node, OperationNode, Trace

MAX_NESTING = 3
MAX_NESTED_LENGTH = 76
HEAVY = (ops.Convolution, ops.Linear)
ALONE = (ops.Resize,)
"""Worth a line of their own, however short they are."""


@dataclass(frozen=True)
class Statement:
    """`value = expression`, or `return expression` for the last."""

    value: int
    expression: Code


def arrange(trace: Trace, expression_of: Mapping[int, Code]) -> list[Statement]:
    """Arrange a trace's nodes into statements; `expression_of` gives each in terms of values."""
    return _Arranger(trace, expression_of).run()


def computed_nodes(trace: Trace, statements: Sequence[Statement]) -> tuple[tuple[str, ...], ...]:
    """Return, for each statement, the names of the nodes that it computes, in their order."""
    place: dict[int, int] = {}
    for index, statement in enumerate(statements):
        place.setdefault(statement.value, index)  # The last may return what an earlier one made.
    for node in reversed(trace.nodes):  # What is no statement is nested in its consumer's.
        for value in node.inputs:
            if node.output in place:
                place.setdefault(value, place[node.output])
    names: list[list[str]] = [[] for _ in statements]
    for node in trace.nodes:
        if node.output in place:
            names[place[node.output]].append(node.name)
    return tuple(map(tuple, names))


def name_variables(
    trace: Trace, statements: Sequence[Statement], *, taken: Collection[str] = ()
) -> dict[int, str]:
    """Choose a variable for every value that statements use, as a person would; none of `taken`.

    A value takes over the variable of an operand that is not used again, unless the block's author
    names one; else `y`.
    """
    chosen = {node.output: node.variable for node in trace.nodes if node.variable}
    makers = {node.output: node for node in trace.nodes}
    names = dict(enumerate(trace.inputs))
    last_use = {
        value: position
        for position, statement in enumerate(statements)
        for value in _operands(statement.expression)
    }
    for position, statement in enumerate(statements[:-1]):
        live = {names[v] for v, last in last_use.items() if v in names and last > position}
        dying = [v for v in _operands(statement.expression) if last_use[v] == position]
        inherited = [names[v] for v in dying if v not in chosen]
        wanted = [
            *filter(None, [chosen.get(statement.value)]),
            *inherited,
            "y",
            _fallback(makers[statement.value]),
        ]
        free = (name for name in wanted if name not in live and name not in taken)
        names[statement.value] = next(free, f"{wanted[-1]}_{position}")
    return names


class _Arranger:
    def __init__(self, trace: Trace, expression_of: Mapping[int, Code]) -> None:
        self._trace = trace
        self._expression_of = expression_of
        self._uses = Counter(index for node in trace.nodes for index in node.inputs)
        self._consumers = {index: node for node in trace.nodes for index in node.inputs}
        self._pending: dict[int, Code] = {}
        self._statements: list[Statement] = []

    def run(self) -> list[Statement]:
        for node in self._trace.nodes:
            expression = self._nested(node)
            if node is not self._trace.nodes[-1] and self._may_nest(node, expression):
                self._pending[node.output] = expression
            else:
                self._statements.append(Statement(node.output, expression))
        output = self._trace.output
        if not self._statements or self._statements[-1].value != output:
            self._statements.append(Statement(output, Variable(output)))
        return self._statements

    def _nested(self, node: Node) -> Code:
        """Write a node over its operands' pending expressions, hoisting what gets too long."""
        pending = [index for index in dict.fromkeys(node.inputs) if index in self._pending]
        while True:
            parts = {index: self._pending[index] for index in pending}
            expression = _replace(self._expression_of[node.output], parts)
            if not pending or (_fits(expression) and _depth(expression) <= MAX_NESTING):
                break
            longest = max(pending, key=lambda index: len(_text(self._pending[index])))
            self._statements.append(Statement(longest, self._pending.pop(longest)))
            pending.remove(longest)
        for index in pending:
            del self._pending[index]
        return expression

    def _may_nest(self, node: Node, expression: Code) -> bool:
        if self._uses[node.output] != 1 or node.variable or not _fits(expression):
            return False
        if isinstance(node, OperationNode) and not isinstance(node.operation, HEAVY):
            return not isinstance(node.operation, ALONE)
        consumer = self._consumers[node.output]
        if not isinstance(consumer, OperationNode) or _depth(expression) > 1:
            return False
        if isinstance(consumer.operation, ops.BatchNorm):
            return consumer.name in (node.name.replace("conv", "norm"), f"{node.name}_norm")
        return isinstance(consumer.operation, ops.Add | ops.Multiply | ops.Concatenate)


def _operands(expression: Code) -> list[int]:
    return [piece.index for piece in walk(expression) if isinstance(piece, Variable)]


def _fallback(node: Node) -> str:
    return node.name if isinstance(node, BlockNode) else node.operation.label


def _fits(expression: Code) -> bool:
    return len(_text(expression)) <= MAX_NESTED_LENGTH


def _text(expression: Code) -> str:
    return render(expression, lambda _: "value")


def _depth(expression: Code) -> int:
    match expression:
        case Call(_, arguments, keywords):
            inner = [*arguments, *(value for _, value in keywords)]
            return 1 + max((_depth(part) for part in inner), default=0)
        case Infix(_, left, right):
            return max(_depth(left), _depth(right))
        case _:
            return max((_depth(part) for part in list(walk(expression))[1:]), default=0)


def _replace(expression: Code, parts: Mapping[int, Code]) -> Code:
    return rewrite(
        expression, lambda piece: parts.get(piece.index) if isinstance(piece, Variable) else None
    )
