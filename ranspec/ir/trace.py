"""Traced blocks: what a block did when it was run with one set of numbers and input shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import Operation, Shape, Sizes


@dataclass(frozen=True, eq=False)
class OperationNode:
    """A primitive operation; values are numbered in the order in which the trace made them."""

    name: str
    operation: Operation
    inputs: tuple[int, ...]
    output: int
    label: str | None = None
    """What a person would call the result, where its name does not follow from the code."""


@dataclass(frozen=True, eq=False)
class Call:
    """A child block with the numbers it is given, written in the parent's parameters."""

    trace: Trace
    arguments: Mapping[str, Dimension]


@dataclass(frozen=True, eq=False)
class CallNode:
    """One child block, or a sequence of them, each fed by the one before."""

    name: str
    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    output: int
    label: str | None = None

    def children(self) -> Iterator[tuple[str, Call]]:
        """Yield each child with its path below the parent: `name`, or `name.0`, `name.1`, ..."""
        if len(self.calls) == 1:
            yield self.name, self.calls[0]
        else:
            for position, call in enumerate(self.calls):
                yield f"{self.name}.{position}", call


Node = OperationNode | CallNode


@dataclass(frozen=True, eq=False)
class Trace:
    """A block as run once: concrete sizes, and the expressions behind them.

    Two traces with the same structure and expressions are one class; see `ranspec.ir.graph`.
    """

    class_name: str
    description: str
    parameters: tuple[str, ...]
    """Numeric parameters in constructor order: those of the inputs, then those declared."""
    values: Mapping[str, int]
    """What each numeric parameter was."""
    inputs: tuple[str, ...]
    """Names of the inputs; they are values 0, 1, ..."""
    nodes: tuple[Node, ...]
    sizes: tuple[Sizes, ...]
    """The concrete shape of every value."""
    output: int
    output_shape: Shape
    """The output's shape, in terms of this block's parameters."""
