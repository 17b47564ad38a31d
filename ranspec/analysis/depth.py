"""Trunk depth: the number of layers that gives a network its name.

It is the largest number of convolutions and linear layers on a path from the image to the logits
that stays on the trunk: each operation says which of its inputs carry it. So neither masks nor
projections on shortcuts count (the residual path is longer), and Attention-56 has 56 (Wang et al.,
section 4.1: 36m + 20).
"""

from __future__ import annotations

from collections.abc import Mapping

from ranspec.ir.graph import Graph, unique_traces
from ranspec.ir.operation import chosen
from ranspec.ir.trace import BlockNode, OperationNode, Trace

Depths = dict[Trace, tuple[int | None, ...]]
"""Of each block, the depth from each of its inputs to its output; none where no path leads."""


def trunk_depth(graph: Graph) -> int:
    """Return the depth of a network along its trunk."""
    depths: Depths = {}
    for trace in unique_traces(graph.root):
        depths[trace] = tuple(
            _depth_from(trace, start, depths) for start in range(len(trace.inputs))
        )
    return depths[graph.root][0] or 0


def _depth_from(trace: Trace, start: int, depths: Depths) -> int | None:
    reached = {start: 0}
    for node in trace.nodes:
        if isinstance(node, BlockNode):
            depth = _through_instances(node, reached, depths)
        else:
            depth = _through_operation(node, reached)
        if depth is not None:
            reached[node.output] = depth
    return reached.get(trace.output)


def _through_instances(node: BlockNode, reached: Mapping[int, int], depths: Depths) -> int | None:
    first, *others = node.instances
    steps = zip(node.inputs, depths[first.trace], strict=True)
    found = [
        reached[index] + step for index, step in steps if index in reached and step is not None
    ]
    depth = max(found, default=None)
    for instance in others:
        step = depths[instance.trace][0]
        depth = None if depth is None or step is None else depth + step
    return depth


def _through_operation(node: OperationNode, reached: Mapping[int, int]) -> int | None:
    inputs = chosen(node.operation.trunk, node.inputs)
    depth = max((reached[index] for index in inputs if index in reached), default=None)
    return None if depth is None else depth + node.operation.counts_in_depth
