"""Activation memory of training: what the forward pass keeps for the backward pass.

The model: every value that some operation's gradient needs is kept once, as float32, until the
backward pass; at the end of the forward pass all of them are held, which is the peak. Weights,
gradients, optimiser state and a framework's workspace come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from ranspec.ir.graph import Graph, unique_traces
from ranspec.ir.operation import Sizes, chosen
from ranspec.ir.trace import BlockNode, OperationNode, Trace

BYTES = 4
"""Size of a float32."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a block keeps: bytes of its inner values, and which of its ends."""

    inner: int
    inputs: frozenset[int]
    output: bool


def activation_bytes(graph: Graph) -> int:
    """Return the bytes per image that training keeps for the backward pass."""
    kept: dict[Trace, _Kept] = {}
    for trace in unique_traces(graph.root):
        kept[trace] = _keep(trace, kept)
    root, result = graph.root, kept[graph.root]
    ends = [root.sizes[index] for index in result.inputs]
    return result.inner + _bytes(*ends, *([root.sizes[root.output]] if result.output else []))


def _keep(trace: Trace, kept: dict[Trace, _Kept]) -> _Kept:
    values: set[int] = set()
    inner = 0
    for node in trace.nodes:
        if isinstance(node, OperationNode):
            values.update(_kept_by_operation(node))
            continue
        first, last = kept[node.instances[0].trace], kept[node.instances[-1].trace]
        values.update(node.inputs[position] for position in first.inputs)
        if last.output:
            values.add(node.output)
        inner += sum(kept[instance.trace].inner for instance in node.instances)
        inner += _bytes(*_kept_between(node, kept))
    inputs = frozenset(value for value in values if value < len(trace.inputs))
    inner += _bytes(*(trace.sizes[value] for value in values - inputs - {trace.output}))
    return _Kept(inner, inputs, trace.output in values - inputs)


def _kept_by_operation(node: OperationNode) -> tuple[int, ...]:
    keeps = node.operation.keeps
    return chosen(keeps.inputs, node.inputs) + ((node.output,) if keeps.output else ())


def _kept_between(node: BlockNode, kept: dict[Trace, _Kept]) -> Iterator[Sizes]:
    """Yield the shapes of the kept values between the blocks of a sequence."""
    for before, after in zip(node.instances, node.instances[1:], strict=False):
        if kept[before.trace].output or kept[after.trace].inputs:
            yield before.trace.sizes[before.trace.output]


def _bytes(*shapes: Sizes) -> int:
    return BYTES * sum(prod(shape) for shape in shapes)
