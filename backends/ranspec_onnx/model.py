"""A network as one ONNX model: functions of blocks, and its arrays under canonical names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ranspec import __version__
from ranspec.codegen.backend import Backend
from ranspec.ir.decomposition import decomposed
from ranspec.ir.graph import Graph
from ranspec_onnx.body import BLOCKS, Function, Node, Parameter, Value, write_functions

OPSET, IR_VERSION = 20, 10
"""Old enough for every runtime in use, new enough for windows and sizes to be exact."""
BATCH = "N"
"""The symbolic size of a batch."""
IMAGES, LOGITS = "images", "logits"


def write_model(
    graph: Graph,
    backend: Backend,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    double: bool = False,
) -> onnx.ModelProto:
    """Return a network that takes images (N, C, H, W) and gives logits (N, classes).

    It computes in float32, or in float64 with `double`; then the epsilon of batch normalisation
    is added to the variance, as an attribute of an operator is always a float32. Every class is a
    function, called with its maps, its arrays, and as attributes the numbers in which its
    instances differ.
    """
    graph = decomposed(graph, backend.operations)
    *blocks, network = write_functions(graph, backend, double=double)
    dtype = np.dtype(np.float64 if double else np.float32)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    height, width, channels = graph.input
    (x,) = network.inputs
    nodes = [_renamed(node, {x: IMAGES}) for node in network.nodes]
    nodes.append(Node("Identity", "", "", (network.output,), LOGITS, {}))
    classes = graph.root.sizes[graph.root.output]
    body = helper.make_graph(
        [node_proto(node) for node in nodes],
        graph.name,
        [helper.make_tensor_value_info(IMAGES, kind, [BATCH, channels, height, width])],
        [helper.make_tensor_value_info(LOGITS, kind, [BATCH, *classes])],
        [numpy_helper.from_array(arrays[name].astype(dtype), name) for name in network.arrays],
        doc_string=network.description,
    )
    model = helper.make_model(
        body,
        functions=[_function(block) for block in blocks],
        opset_imports=_opsets(),
        ir_version=IR_VERSION,
        producer_name="ranspec",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def layers(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yield every operator's node with its canonical path, in the order of execution."""
    functions = {function.name: function for function in model.functions}

    def below(nodes: Any, prefix: str) -> Iterator[tuple[str, onnx.NodeProto]]:
        for node in nodes:
            if node.domain == BLOCKS:
                yield from below(functions[node.op_type].node, f"{prefix}{node.name}.")
            else:
                yield f"{prefix}{node.name}", node

    return below(model.graph.node, "")


def _renamed(node: Node, names: Mapping[str, str]) -> Node:
    return replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))


def _function(function: Function) -> onnx.FunctionProto:
    (arguments, *_) = function.arguments.values()
    return helper.make_function(
        BLOCKS,
        function.name,
        [*function.inputs, *function.arrays],
        [function.output],
        [node_proto(node) for node in function.nodes],
        _opsets(),
        list(arguments),
        doc_string=function.description,
    )


def _opsets() -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid("", OPSET), helper.make_opsetid(BLOCKS, 1)]


def node_proto(node: Node) -> onnx.NodeProto:
    """Return a node as a message of ONNX."""
    proto = helper.make_node(
        node.operator, node.inputs, [node.output], name=node.name, domain=node.domain
    )
    proto.attribute.extend(_attribute(name, value) for name, value in node.attributes.items())
    return proto


def _attribute(name: str, value: Value) -> onnx.AttributeProto:
    if isinstance(value, Parameter):
        kind = _attribute(name, value.like).type
        return onnx.AttributeProto(name=name, type=kind, ref_attr_name=value.name)
    if isinstance(value, np.ndarray):
        value = numpy_helper.from_array(value)
    return helper.make_attribute(name, value)
