"""Traced blocks: what a block did when it was run with one set of numbers and input shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import overload

from ranspec.ir.dimension import Dimension, Expression, substitute
from ranspec.ir.operation import Operation, Shape, Sizes


@dataclass(frozen=True, eq=False)
class OperationNode:
    """A primitive operation; values are numbered in the order in which the trace made them."""

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    output: int
    variable: str | None = None
    """The variable a person would keep the result in, where that does not follow from the code."""
    again: str | None = None
    """The name of the node whose layer is used again here, with its weights."""

    @property
    def layer(self) -> str:
        """The name of the layer that is used."""
        return self.again or self.name


@dataclass(frozen=True, eq=False)
class Instance:
    """A child block with the numbers it is given, written in the parent's arguments."""

    trace: Trace
    arguments: Mapping[str, Dimension]


@dataclass(frozen=True, eq=False)
class BlockNode:
    """One child block, or a sequence of them, each fed by the one before."""

    name: str
    instances: tuple[Instance, ...]
    inputs: tuple[int, ...]
    output: int
    variable: str | None = None
    again: str | None = None
    """The name of the node whose blocks are used again here, with their weights."""

    @property
    def layer(self) -> str:
        """The name of the blocks that are used."""
        return self.again or self.name

    def children(self) -> Iterator[tuple[str, Instance]]:
        """Yield each child with its path below the parent: `name`, or `name.0`, `name.1`, ..."""
        return self._below(self.name)

    def owners(self) -> Iterator[tuple[str, Instance]]:
        """Yield each child with the path of the one that owns its weights."""
        return self._below(self.layer)

    def _below(self, name: str) -> Iterator[tuple[str, Instance]]:
        if len(self.instances) == 1:
            yield name, self.instances[0]
        else:
            for position, instance in enumerate(self.instances):
                yield f"{name}.{position}", instance


Node = OperationNode | BlockNode


@dataclass(frozen=True, eq=False)
class Trace:
    """A block as run once: concrete sizes, and the expressions behind them.

    Two traces with the same structure and expressions are one class; see `ranspec.ir.graph`.
    """

    class_name: str
    description: str
    arguments: Mapping[str, int]
    """What each number was, in constructor order: those of the inputs, then those declared."""
    inputs: tuple[str, ...]
    """Names of the inputs; they are values 0, 1, ..."""
    nodes: tuple[Node, ...]
    sizes: tuple[Sizes, ...]
    """The concrete shape of every value."""
    output: int
    output_shape: Shape
    """The output's shape, in terms of this block's arguments."""
    settings: frozenset[str] = frozenset()
    """The arguments that are constants of the class where all its instances agree."""

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.sizes[: len(self.inputs)]))
        return f"<Trace {self.class_name}: {inputs} -> {self.sizes[self.output]}>"

    def with_nodes(self, nodes: Sequence[Node]) -> Trace:
        """Return the same trace with its nodes written otherwise."""
        return replace(self, nodes=tuple(nodes))


@overload
def rewritten(node: OperationNode, replacements: Mapping[str, Expression]) -> OperationNode: ...
@overload
def rewritten(node: BlockNode, replacements: Mapping[str, Expression]) -> BlockNode: ...
def rewritten(node: Node, replacements: Mapping[str, Expression]) -> Node:
    """Write a node's numbers with expressions in place of arguments."""

    def written(number: Dimension) -> Dimension:
        return Dimension(number.value, substitute(number.expression, replacements))

    if isinstance(node, OperationNode):
        changes = {
            item.name: written(value)
            for item in fields(node.operation)
            if isinstance(value := getattr(node.operation, item.name), Dimension)
        }
        return replace(node, operation=replace(node.operation, **changes))
    instances = tuple(
        Instance(
            instance.trace,
            {name: written(number) for name, number in instance.arguments.items()},
        )
        for instance in node.instances
    )
    return replace(node, instances=instances)
