"""Size and cost of a network, from its graph alone.

Two words that are never mixed: a MAC is one multiply-accumulate of a convolution or linear layer
(what the literature on these networks calls FLOPs); FLOPs here are the floating-point operations
of everything, two for each MAC. Both are for one image, forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from ranspec.analysis.depth import trunk_depth
from ranspec.analysis.figures import Figure, explained, relative_difference
from ranspec.analysis.memory import activation_bytes
from ranspec.compile import network_settings, trace_spec
from ranspec.ir.builder import NetworkSettings, Tracer
from ranspec.ir.graph import Graph, Paper, unique_traces
from ranspec.ir.operation import Operation, Sizes
from ranspec.ir.trace import BlockNode, Trace
from ranspec.spec import Spec

if TYPE_CHECKING:
    from ranspec.analysis.receptive_field import Field, StageField

Grouping = Literal["layer", "block", "stage"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a layer, or several, own and do."""

    parameters: int = 0
    """Trainable."""
    statistics: int = 0
    """Running means and variances of batch norm, which are not trained."""
    macs: int = 0
    flops: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.statistics + other.statistics,
            self.macs + other.macs,
            self.flops + other.flops,
        )

    def again(self) -> Cost:
        """Return the cost of using the same layers once more: nothing is owned twice."""
        return replace(self, parameters=0, statistics=0)


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, block or stage: `op` is its operation or class."""

    path: str
    op: str
    output: Sizes
    cost: Cost


@dataclass(frozen=True, eq=False)
class Count:
    """Size and cost of a network."""

    graph: Graph
    cost: Cost
    trunk_depth: int
    activation_bytes: int
    """See `ranspec.analysis.memory`."""

    def __repr__(self) -> str:
        figures = f"{self.trainable_parameters:,} parameters, {self.macs:,} MACs"
        return f"<Count of {self.name}: {figures}, depth {self.trunk_depth}>"

    @property
    def paper(self) -> Paper | None:
        """What the source prints."""
        return self.graph.paper

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def trainable_parameters(self) -> int:
        return self.cost.parameters

    @property
    def batch_norm_statistics(self) -> int:
        return self.cost.statistics

    @property
    def macs(self) -> int:
        return self.cost.macs

    @property
    def flops(self) -> int:
        return self.cost.flops

    @property
    def relative_differences(self) -> dict[str, float | None]:
        """Return (ours - printed) / printed for each figure that the source prints.

        None for MACs that are printed for images of another size.
        """
        if self.paper is None:
            return {"parameters": None, "macs": None}
        same_input = self.paper.macs_input == self.graph.input[:2]
        return {
            "parameters": _relative(self.cost.parameters, self.paper.parameters),
            "macs": _relative(self.cost.macs, self.paper.macs) if same_input else None,
        }

    @property
    def explanation(self) -> str | None:
        """Say why the source's figure differs, where the way to count explains it."""
        printed = self.paper.parameters if self.paper else None
        if printed is None or (figure := Figure.of(printed)).agrees(self.cost.parameters):
            return None
        return explained(figure, self.cost.parameters, self.cost.statistics)

    @cached_property
    def receptive_fields(self) -> tuple[StageField, ...]:
        """The receptive fields of each stage."""
        from ranspec.analysis.receptive_field import receptive_fields

        return receptive_fields(self.graph)

    def rows(self, by: Grouping) -> tuple[Row, ...]:
        """Return the costs of each layer, of each block of a stage, or of each stage."""
        return tuple({"layer": _layers, "block": _blocks, "stage": _stages}[by](self.graph))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as data for JSON."""
        return {
            "name": self.name,
            "input": list(self.graph.input),
            "parameters": {
                "trainable": self.cost.parameters,
                "batch_norm_statistics": self.cost.statistics,
            },
            "macs": self.cost.macs,
            "flops": self.cost.flops,
            "trunk_depth": self.trunk_depth,
            "activation_bytes": self.activation_bytes,
            "receptive_fields": [
                {
                    "path": stage.path,
                    "trunk": _field(stage.trunk),
                    "mask": _field(stage.mask) if stage.mask else None,
                }
                for stage in self.receptive_fields
            ],
            "layers": [row_dict(row) for row in self.rows("layer")],
            "paper": self.paper
            and {
                "parameters": self.paper.parameters,
                "macs": self.paper.macs,
                "macs_input": list(self.paper.macs_input),
                "source": self.paper.source,
                "comment": self.paper.comment,
                "relative_differences": self.relative_differences,
                "explanation": self.explanation,
            },
        }


def count(graph: Graph) -> Count:
    """Count a network."""
    return Count(
        graph=graph,
        cost=block_costs(graph.root)[graph.root],
        trunk_depth=trunk_depth(graph),
        activation_bytes=activation_bytes(graph),
    )


def network_card(graph: Graph) -> dict[str, Any]:
    """Return what to know of a network at a glance, as data for JSON."""
    total = count(graph)
    return {
        "network": total.name,
        "input": list(graph.input),
        "parameters": total.trainable_parameters,
        "batch_norm_statistics": total.batch_norm_statistics,
        "macs": total.macs,
        "flops": total.flops,
        "trunk_depth": total.trunk_depth,
        "activation_bytes": total.activation_bytes,
        "parts": [row_dict(row) for row in total.rows("stage")],
    }


class NetworkCounter:
    """Counts whole networks, and the blocks that they share once; keep it no longer than needed."""

    def __init__(self) -> None:
        self._tracers: dict[NetworkSettings, Tracer] = {}
        self._costs: dict[Trace, Cost] = {}

    def count(self, spec: Spec) -> tuple[Sizes, Cost]:
        """Return the sizes [H, W, C] of a network's input, and what it costs.

        Raises `BuildError` where it cannot be built.
        """
        settings = network_settings(spec)
        tracer = self._tracers.setdefault(settings, Tracer(settings, symbolic=False))
        root = trace_spec(spec, tracer=tracer).root
        return root.sizes[0], block_costs(root, self._costs)[root]


def row_dict(row: Row) -> dict[str, Any]:
    """Return a row as data for JSON."""
    return {
        "path": row.path,
        "op": row.op,
        "output": list(row.output),
        "parameters": row.cost.parameters,
        "batch_norm_statistics": row.cost.statistics,
        "macs": row.cost.macs,
        "flops": row.cost.flops,
    }


def operation_cost(operation: Operation, inputs: Sequence[Sizes], output: Sizes) -> Cost:
    """Return the cost of one operation."""
    arrays = operation.parameters().values()
    sizes = [(prod(size.value for size in spec.shape), spec.trainable) for spec in arrays]
    return Cost(
        parameters=sum(size for size, trainable in sizes if trainable),
        statistics=sum(size for size, trainable in sizes if not trainable),
        macs=operation.macs(output),
        flops=operation.flops(inputs, output),
    )


def block_costs(root: Trace, known: dict[Trace, Cost] | None = None) -> dict[Trace, Cost]:
    """Return the cost of a block and of every distinct one within, added to those known."""
    costs = {} if known is None else known
    for trace in unique_traces(root):
        if trace in costs:
            continue
        total = Cost()
        for node in trace.nodes:
            if isinstance(node, BlockNode):
                cost = sum((costs[instance.trace] for instance in node.instances), Cost())
            else:
                inputs = [trace.sizes[index] for index in node.inputs]
                cost = operation_cost(node.operation, inputs, trace.sizes[node.output])
            total += cost.again() if node.again else cost
        costs[trace] = total
    return costs


def _layers(graph: Graph) -> list[Row]:
    rows = []
    for layer in graph.layers:
        cost = operation_cost(layer.operation, layer.inputs, layer.output)
        owned = cost if layer.owner == layer.path else cost.again()
        rows.append(Row(layer.path, layer.operation.label, layer.output, owned))
    return rows


def _blocks(graph: Graph) -> list[Row]:
    costs = block_costs(graph.root)
    rows = []
    for node in graph.root.nodes:
        if isinstance(node, BlockNode):
            for path, instance in node.children():
                trace = instance.trace
                name = graph.definition_of[trace].class_name
                cost = costs[trace].again() if node.again else costs[trace]
                rows.append(Row(path, name, trace.sizes[trace.output], cost))
        else:
            inputs = [graph.root.sizes[index] for index in node.inputs]
            output = graph.root.sizes[node.output]
            cost = operation_cost(node.operation, inputs, output)
            owned = cost.again() if node.again else cost
            rows.append(Row(node.name, node.operation.label, output, owned))
    return rows


def _stages(graph: Graph) -> list[Row]:
    rows = []
    for path, group in groupby(_blocks(graph), key=lambda row: row.path.partition(".")[0]):
        members = list(group)
        cost = sum((row.cost for row in members), Cost())
        op = contents(row.op for row in members)
        rows.append(Row(path, op, members[-1].output, cost))
    return rows


def contents(titles: Iterable[str]) -> str:
    """Say what a sequence holds: `Projection, 2 x Unit`."""
    runs = ((title, len(list(run))) for title, run in groupby(titles))
    return ", ".join(title if times == 1 else f"{times} x {title}" for title, times in runs)


def _relative(ours: int, printed: float | None) -> float | None:
    return None if printed is None else relative_difference(ours, printed)


def _field(field: Field) -> dict[str, list[int]]:
    return {"size": list(field.size), "stride": list(field.stride)}
