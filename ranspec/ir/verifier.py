"""Checks that a graph is what it claims to be; run after compiling and after every pass."""

from __future__ import annotations

from dataclasses import fields

from ranspec.ir.definitions import structure_of
from ranspec.ir.dimension import Dimension, evaluate
from ranspec.ir.graph import Graph, unique_traces
from ranspec.ir.trace import BlockNode, Node, OperationNode, Trace


class VerificationError(Exception):
    """The compiler broke one of its own invariants; the message names the node."""


def verify_graph(graph: Graph) -> None:
    """Raise `VerificationError` at the first node that breaks an invariant.

    Values are used only after they are made, shapes are what the operations infer, and the
    expressions of a class give the numbers of every instance.
    """
    for trace in unique_traces(graph.root):
        _verify_values(trace)
        _verify_names(trace)
        _verify_shapes(trace)
        _verify_expressions(trace, graph)


def _verify_values(trace: Trace) -> None:
    made = set(range(len(trace.inputs)))
    for node in trace.nodes:
        for index in node.inputs:
            if index not in made:
                raise _broken(trace, node.name, f"uses value {index} before it is made")
        if node.output in made:
            raise _broken(trace, node.name, f"makes value {node.output} a second time")
        made.add(node.output)
    if trace.output not in made:
        raise _broken(trace, "output", f"value {trace.output} is never made")


def _verify_names(trace: Trace) -> None:
    owners: dict[str, Node] = {}
    for node in trace.nodes:
        if node.name in owners:
            raise _broken(trace, node.name, "is the name of two nodes")
        if node.again is None:
            owners[node.name] = node
        elif node.again not in owners:
            raise _broken(trace, node.name, f"uses {node.again} again before it is made")
        elif not _same_layer(node, owners[node.again]):
            raise _broken(trace, node.name, f"is not what {node.again} is")


def _same_layer(left: Node, right: Node) -> bool:
    if isinstance(left, OperationNode) and isinstance(right, OperationNode):
        return structure_of(left.operation) == structure_of(right.operation)
    if isinstance(left, BlockNode) and isinstance(right, BlockNode):
        return [item.trace for item in left.instances] == [item.trace for item in right.instances]
    return False


def _verify_shapes(trace: Trace) -> None:
    for node in trace.nodes:
        inputs = [trace.sizes[index] for index in node.inputs]
        if isinstance(node, OperationNode):
            arity = node.operation.arity
            if arity >= 0 and len(inputs) != arity:
                raise _broken(trace, node.name, f"takes {arity} inputs, has {len(inputs)}")
            shapes = (tuple(Dimension(size) for size in sizes) for sizes in inputs)
            inferred = tuple(size.value for size in node.operation.infer(*shapes))
        else:
            inferred = _last_sizes(trace, node)
        if inferred != trace.sizes[node.output]:
            raise _broken(
                trace, node.name, f"records {trace.sizes[node.output]}, infers {inferred}"
            )


def _last_sizes(trace: Trace, node: BlockNode) -> tuple[int, ...]:
    current = [trace.sizes[index] for index in node.inputs]
    for path, instance in node.children():
        expected = list(instance.trace.sizes[: len(instance.trace.inputs)])
        if current != expected:
            raise _broken(trace, path, f"is given {current}, was traced with {expected}")
        for name, number in instance.arguments.items():
            if instance.trace.arguments[name] != number.value:
                raise _broken(trace, path, f"{name} is {number.value}, not as traced")
        current = [instance.trace.sizes[instance.trace.output]]
    return current[0]


def _verify_expressions(trace: Trace, graph: Graph) -> None:
    for own, shared in zip(trace.nodes, graph.definition_of[trace].trace.nodes, strict=True):
        if isinstance(own, OperationNode) and isinstance(shared, OperationNode):
            for item in fields(own.operation):
                number = getattr(own.operation, item.name)
                if isinstance(number, Dimension):
                    general = getattr(shared.operation, item.name)
                    _verify_number(trace, f"{own.name}.{item.name}", number, general)
        elif isinstance(own, BlockNode) and isinstance(shared, BlockNode):
            for instance, other in zip(own.instances, shared.instances, strict=True):
                for name in graph.definition_of[instance.trace].arguments:
                    number, general = instance.arguments[name], other.arguments[name]
                    _verify_number(trace, f"{own.name}({name})", number, general)


def _verify_number(trace: Trace, where: str, number: Dimension, general: Dimension) -> None:
    value = evaluate(general.expression, trace.arguments)
    if value != number.value:
        raise _broken(trace, where, f"is {number.value}, but its expression gives {value}")


def _broken(trace: Trace, node: str, message: str) -> VerificationError:
    return VerificationError(f"{trace.class_name}.{node}: {message}")
