"""A network as nested parts: each distinct one once, however often it is used.

The network, its stages, modules, units and operations are all parts. Those that are the same in
everything shown are one `Part`, so that the 3,364 layers of Attention-452 are some fifty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from ranspec.analysis.count import Cost, contents, operation_cost
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.ir.operation import Operation, Sizes
from ranspec.ir.trace import BlockNode, Instance, OperationNode, Trace

Kind = Literal["block", "sequence", "operation"]


@dataclass(frozen=True)
class Child:
    """A part at its place in another."""

    name: str
    """Below the parent: the name of a node, or a position in a sequence."""
    part: int
    """Its number in the pool."""
    again: str | None = None
    """The name of the node whose weights are used again here."""


@dataclass(frozen=True)
class Part:
    """A block, a sequence of blocks, or an operation."""

    kind: Kind
    title: str
    """The name of a block's class, an operation's label, or what a sequence holds."""
    description: str
    """What a block's docstring says, or an operation's attributes."""
    output: Sizes
    cost: Cost
    arrays: tuple[tuple[str, Sizes], ...] = ()
    """The arrays that an operation owns, by their leaf names, in canonical layout."""
    children: tuple[Child, ...] = ()


class Pool:
    """Parts by number, children before parents; equal ones have one number, in all networks."""

    def __init__(self) -> None:
        self._numbers: dict[Part, int] = {}

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return every part in the order of their numbers."""
        return tuple(self._numbers)

    def add(self, part: Part) -> int:
        """Return the number of a part, a new one if there is no equal part yet."""
        return self._numbers.setdefault(part, len(self._numbers))

    def add_network(self, graph: Graph) -> int:
        """Add all parts of a network; return the number of the whole."""
        return _Reader(graph, self).block(graph.root)


class _Reader:
    def __init__(self, graph: Graph, pool: Pool) -> None:
        self._graph = graph
        self._pool = pool
        self._known: dict[Trace, int] = {}
        self._parts: dict[int, Part] = {}

    def block(self, trace: Trace) -> int:
        if trace not in self._known:
            children = tuple(self._child(trace, node) for node in trace.nodes)
            self._known[trace] = self._add(
                Part(
                    "block",
                    self._graph.definition_of[trace].class_name,
                    " ".join(trace.description.split()),
                    trace.sizes[trace.output],
                    self._cost(children),
                    children=children,
                )
            )
        return self._known[trace]

    def _child(self, trace: Trace, node: BlockNode | OperationNode) -> Child:
        if isinstance(node, OperationNode):
            inputs = tuple(trace.sizes[index] for index in node.inputs)
            number = self._operation(node.operation, inputs, trace.sizes[node.output])
        elif len(node.instances) == 1:
            number = self.block(node.instances[0].trace)
        else:
            number = self._sequence(node.instances)
        return Child(node.name, number, node.again)

    def _sequence(self, instances: tuple[Instance, ...]) -> int:
        children = tuple(
            Child(str(position), self.block(instance.trace))
            for position, instance in enumerate(instances)
        )
        last = self._parts[children[-1].part]
        title = contents([self._parts[child.part].title for child in children])
        cost = self._cost(children)
        return self._add(Part("sequence", title, "", last.output, cost, children=children))

    def _operation(self, operation: Operation, inputs: tuple[Sizes, ...], output: Sizes) -> int:
        arrays = tuple(
            (leaf, tuple(size.value for size in spec.shape))
            for leaf, spec in operation.parameters().items()
        )
        cost = operation_cost(operation, inputs, output)
        described = attributes(operation)
        title = operation.label.replace("_", " ")
        return self._add(Part("operation", title, described, output, cost, arrays))

    def _cost(self, children: tuple[Child, ...]) -> Cost:
        costs = ((child, self._parts[child.part].cost) for child in children)
        return sum((cost.again() if child.again else cost for child, cost in costs), Cost())

    def _add(self, part: Part) -> int:
        number = self._pool.add(part)
        self._parts[number] = part
        return number


def attributes(operation: Operation) -> str:
    """Write an operation's attributes: `kernel 3x3, stride 2, padding 1`."""
    written = (
        (item.name.replace("_", " "), getattr(operation, item.name)) for item in fields(operation)
    )
    return ", ".join(f"{name} {_value(value)}" for name, value in written)


def _value(value: Any) -> str:
    match value:
        case Dimension():
            return str(value.value)
        case bool():
            return "yes" if value else "no"
        case tuple() if value and all(isinstance(item, tuple) for item in value):
            sides = {side for item in value for side in item}
            return str(sides.pop()) if len(sides) == 1 else " ".join(map(_side, value))
        case tuple():
            return "x".join(map(_value, value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _side(pair: tuple[int, ...]) -> str:
    return "+".join(map(str, pair))


def operations(parts: tuple[Part, ...], root: int) -> Iterator[tuple[str, Part, bool]]:
    """Yield every operation of a network: its path, its part, and whether it owns its weights."""

    def below(number: int, path: str, owned: bool) -> Iterator[tuple[str, Part, bool]]:
        part = parts[number]
        if part.kind == "operation":
            yield path, part, owned
        for child in part.children:
            inner = f"{path}.{child.name}" if path else child.name
            yield from below(child.part, inner, owned and child.again is None)

    yield from below(root, "", True)
