"""A pass for backends that lack operations: these are written as others that they have."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from ranspec.ir.builder import Value
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph, unique_traces
from ranspec.ir.operation import Operation, Sizes
from ranspec.ir.trace import BlockNode, Node, OperationNode, Trace
from ranspec.ir.verifier import VerificationError, verify_graph

Known = Container[type[Operation]]


def decomposed(graph: Graph, known: Known) -> Graph:
    """Replace every operation that is not among those known by its parts, where it has some.

    Paths of parameters stay as they are. Raises `VerificationError` where the parts of an
    operation own other parameters than the whole.
    """
    rewritten: dict[Trace, Trace] = {}
    for trace in unique_traces(graph.root):
        rewritten[trace] = _Rewriter(trace, known).run(rewritten)
    if rewritten[graph.root] is graph.root:
        return graph
    result = replace(graph, root=rewritten[graph.root])
    verify_graph(result)
    return result


@dataclass(frozen=True, eq=False)
class Parts:
    """Takes down what an operation is made of, given to its `decompose`."""

    rewriter: _Rewriter
    whole: OperationNode

    def add(self, operation: Operation, *inputs: Value) -> Value:
        """Add a part; one that owns parameters takes the name of the whole."""
        rewriter = self.rewriter
        name = self.whole.name if operation.parameters() else rewriter.unused(operation.label)
        indices = tuple(value.index for value in inputs)
        again = self.whole.again if operation.parameters() else None
        return rewriter.value(
            rewriter.add(OperationNode(name, operation, indices, output=-1, again=again))
        )


class _Rewriter:
    """Copies a trace node by node, with values numbered anew."""

    def __init__(self, trace: Trace, known: Known) -> None:
        self._trace = trace
        self._known = known
        self._names = {node.name for node in trace.nodes}
        self._nodes: list[Node] = []
        self._sizes: list[Sizes] = list(trace.sizes[: len(trace.inputs)])

    def run(self, rewritten: Mapping[Trace, Trace]) -> Trace:
        """Return the new trace, or the old one if nothing in it changes."""
        numbers = {index: index for index in range(len(self._trace.inputs))}
        for node in self._trace.nodes:
            moved = replace(node, inputs=tuple(numbers[index] for index in node.inputs))
            if isinstance(moved, OperationNode):
                numbers[node.output] = self.add(moved)
            else:
                children = _with_traces(moved, rewritten)
                numbers[node.output] = self._append(children, self._trace.sizes[node.output])
        if _same(self._nodes, self._trace.nodes):
            return self._trace
        return replace(
            self._trace,
            nodes=tuple(self._nodes),
            sizes=tuple(self._sizes),
            output=numbers[self._trace.output],
        )

    def add(self, node: OperationNode) -> int:
        """Add an operation, or its parts; return the number of the result."""
        inputs = [self.value(index) for index in node.inputs]
        if type(node.operation) not in self._known:
            first = len(self._nodes)
            result = node.operation.decompose(Parts(self, node), *inputs)
            if result is not None:
                self._check(node, self._nodes[first:])
                self._keep_variable(node, result)
                return result.index
        shape = node.operation.infer(*(value.shape for value in inputs))
        return self._append(node, tuple(size.value for size in shape))

    def value(self, index: int) -> Value:
        return Value(index, tuple(Dimension(size) for size in self._sizes[index]))

    def unused(self, label: str) -> str:
        """Return a name for a part that no node has."""
        number = 1
        while f"{label}{number}" in self._names:
            number += 1
        self._names.add(f"{label}{number}")
        return f"{label}{number}"

    def _append(self, node: Node, sizes: Sizes) -> int:
        self._sizes.append(sizes)
        self._nodes.append(replace(node, output=len(self._sizes) - 1))
        return len(self._sizes) - 1

    def _check(self, whole: OperationNode, parts: Iterable[Node]) -> None:
        owners = [part.operation for part in parts if isinstance(part, OperationNode)]
        owned = [shape for operation in owners for shape in _parameter_shapes(operation)]
        if sorted(owned) != sorted(_parameter_shapes(whole.operation)):
            raise VerificationError(
                f"{self._trace.class_name}.{whole.name}: the parts of {whole.operation.label} "
                f"own {sorted(owned)}, not its parameters"
            )

    def _keep_variable(self, whole: OperationNode, result: Value) -> None:
        for position, node in enumerate(self._nodes):
            if node.output == result.index and whole.variable:
                self._nodes[position] = replace(node, variable=whole.variable)


def _with_traces(node: BlockNode, rewritten: Mapping[Trace, Trace]) -> BlockNode:
    instances = tuple(
        replace(instance, trace=rewritten[instance.trace]) for instance in node.instances
    )
    return replace(node, instances=instances)


def _same(new: list[Node], old: tuple[Node, ...]) -> bool:
    def content(node: Node) -> object:
        if isinstance(node, OperationNode):
            return node.operation
        return [instance.trace for instance in node.instances]

    return list(map(content, new)) == list(map(content, old))


def _parameter_shapes(operation: Operation) -> list[tuple[str, Sizes]]:
    return [
        (leaf, tuple(size.value for size in spec.shape))
        for leaf, spec in operation.parameters().items()
    ]
