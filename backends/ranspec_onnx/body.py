"""The nodes of one block, before they become messages of ONNX.

Every trace of a class is written on its own, with its own numbers; the bodies of all traces of a
class then are one function, whose attributes are the numbers in which they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranspec.codegen.backend import Backend
from ranspec.ir.definitions import Definition
from ranspec.ir.graph import Graph
from ranspec.ir.operation import Operation, Sizes
from ranspec.ir.trace import BlockNode, OperationNode, Trace

BLOCKS = "ranspec.blocks"
"""The domain of the functions."""


@dataclass(frozen=True)
class Parameter:
    """An attribute of the function that a node stands in; `like` is one of its values."""

    name: str
    like: Value


Value = int | float | str | tuple[int, ...] | NDArray[Any] | Parameter


@dataclass(frozen=True, eq=False)
class Node:
    """One call of an operator, or of a function in the domain `BLOCKS`."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class Function:
    """A class of the network, with its arrays as inputs after the maps."""

    name: str
    description: str
    inputs: tuple[str, ...]
    arrays: tuple[str, ...]
    """Names of its arrays, relative to it."""
    nodes: tuple[Node, ...]
    output: str
    arguments: Mapping[Trace, Mapping[str, Value]]
    """The attributes that a call passes, for each trace; empty where all traces are alike."""


@dataclass(eq=False)
class Site:
    """The place of an operation in a block: nodes are added to it one by one."""

    name: str
    layer: str
    """The layer whose arrays the operation uses."""
    output: str
    sizes: tuple[Sizes, ...]
    """(height, width, channels) or (features,) of each operand."""
    double: bool
    """Whether the network computes in float64."""
    nodes: list[Node] = field(default_factory=list)

    def arrays(self, operation: Operation) -> tuple[str, ...]:
        """Return the names of the operation's own arrays."""
        return tuple(f"{self.layer}.{leaf}" for leaf in operation.parameters())

    def result(self, operator: str, *inputs: str, **attributes: Value) -> None:
        """Add the node whose output is the operation's."""
        self.nodes.append(Node(operator, "", self.name, inputs, self.output, attributes))

    def node(self, operator: str, *inputs: str, **attributes: Value) -> str:
        """Add a node on the way there; return its output."""
        again = sum(node.operator == operator for node in self.nodes) + 1
        name = f"{self.name}.{operator}{again if again > 1 else ''}"
        self.nodes.append(Node(operator, "", name, inputs, name, attributes))
        return name

    def scalar(self, value: float) -> str:
        """Add a number of the network's own precision."""
        number = np.array(value, np.float64 if self.double else np.float32)
        return self.node("Constant", value=number)

    def integers(self, values: tuple[int, ...]) -> str:
        """Add a list of integers, such as axes."""
        return self.node("Constant", value_ints=values)


def write_functions(graph: Graph, backend: Backend, *, double: bool) -> tuple[Function, ...]:
    """Return a function for every class, children before parents, the network itself last."""
    functions: dict[Definition, Function] = {}
    for definition in graph.definitions:
        traces = [trace for trace, of in graph.definition_of.items() if of is definition]
        bodies = [_write_body(graph, trace, functions, backend, double) for trace in traces]
        nodes, arguments = _merge(bodies)
        trace = definition.trace
        functions[definition] = Function(
            name=definition.class_name,
            description=trace.description,
            inputs=trace.inputs,
            arrays=tuple(dict.fromkeys(_arrays(graph, trace, functions))),
            nodes=nodes,
            output=_value(trace, trace.output),
            arguments=dict(zip(traces, arguments, strict=True)),
        )
    return tuple(functions.values())


def _write_body(
    graph: Graph,
    trace: Trace,
    functions: Mapping[Definition, Function],
    backend: Backend,
    double: bool,
) -> list[Node]:
    nodes: list[Node] = []
    for node in trace.nodes:
        inputs = tuple(_value(trace, index) for index in node.inputs)
        output = _value(trace, node.output)
        if isinstance(node, OperationNode):
            sizes = tuple(trace.sizes[index] for index in node.inputs)
            site = Site(node.name, node.layer, output, sizes, double)
            write = backend.writer(node.operation, f"{trace.class_name}.{node.name}")
            write(node.operation, site, *inputs)
            nodes += site.nodes
            continue
        owners = (path for path, _ in node.owners())
        for (path, instance), owner in zip(node.children(), owners, strict=True):
            function = functions[graph.definition_of[instance.trace]]
            arrays = tuple(f"{owner}.{name}" for name in function.arrays)
            last = instance is node.instances[-1]
            call = Node(
                operator=function.name,
                domain=BLOCKS,
                name=path,
                inputs=(*inputs, *arrays),
                output=output if last else path,
                attributes=function.arguments[instance.trace],
            )
            nodes.append(call)
            inputs = (call.output,)
    return nodes


def _arrays(graph: Graph, trace: Trace, functions: Mapping[Definition, Function]) -> list[str]:
    names: list[str] = []
    for node in trace.nodes:
        if isinstance(node, BlockNode):
            for path, instance in node.owners():
                inner = functions[graph.definition_of[instance.trace]].arrays
                names += (f"{path}.{name}" for name in inner)
        else:
            names += (f"{node.layer}.{leaf}" for leaf in node.operation.parameters())
    return names


def _value(trace: Trace, index: int) -> str:
    """Return the name of a value: its input's, or that of the node that gives it."""
    if index < len(trace.inputs):
        return trace.inputs[index]
    (name,) = (node.name for node in trace.nodes if node.output == index)
    return name


def _merge(
    bodies: Sequence[Sequence[Node]],
) -> tuple[tuple[Node, ...], list[dict[str, Value]]]:
    """Return the nodes that all bodies share, and the attributes in which each differs."""
    merged = []
    arguments: list[dict[str, Value]] = [{} for _ in bodies]
    for nodes in zip(*bodies, strict=True):
        attributes: dict[str, Value] = {}
        for name, value in nodes[0].attributes.items():
            values = [node.attributes[name] for node in nodes]
            if all(np.array_equal(value, other) for other in values):
                attributes[name] = value
                continue
            parameter = f"{nodes[0].name}_{name}".replace(".", "_")
            attributes[name] = Parameter(parameter, value)
            for own, other in zip(arguments, values, strict=True):
                own[parameter] = other
        merged.append(replace(nodes[0], attributes=attributes))
    return tuple(merged), arguments
