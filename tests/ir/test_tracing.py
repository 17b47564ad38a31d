"""Blocks are traced once, grouped into classes, and checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ranspec.ir import operations as ops
from ranspec.ir.builder import (
    Block,
    BlockCall,
    Builder,
    BuildError,
    NetworkSettings,
    Tracer,
    Value,
    block,
)
from ranspec.ir.dimension import Argument, Arithmetic, Constant, Dimension, Named, Setting
from ranspec.ir.graph import Graph
from ranspec.ir.trace import BlockNode, Instance, OperationNode, Trace
from ranspec.ir.verifier import VerificationError, verify_graph

SETTINGS = NetworkSettings(epsilon=1e-5, momentum=0.1)


@block
def unit(b: Builder, x: Value, *, channels: Dimension, stride: Dimension, reduction: int) -> Value:
    """A unit.

    More about it.
    """
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    same = b.all_equal((stride, 1), (x.channels, channels))
    shortcut = x if same else b.convolution("shortcut", x, channels, kernel=1, stride=stride)
    y = b.convolution("conv1", x, width, kernel=3, stride=stride)
    return b.add(shortcut, b.convolution("conv2", y, channels, kernel=1))


def network_of(*calls: BlockCall) -> Block:
    @block
    def network(b: Builder, x: Value, *, classes: Dimension) -> Value:
        """A network."""
        y = b.sequence("body", calls, x)
        return b.linear("classifier", b.global_average_pool(y), classes)

    return network


def traced(*calls: BlockCall, size: tuple[int, int, int] = (8, 8, 4)) -> Graph:
    root = Tracer(SETTINGS).trace(network_of(*calls)(classes=3), [size])
    return Graph("test", root)


def plain(channels: int = 4, stride: int = 1) -> BlockCall:
    return unit(channels=channels, stride=stride, reduction=2)


def test_a_block_is_described_by_its_function() -> None:
    assert unit.class_name == "Unit"
    assert unit.description == "A unit."
    assert unit.inputs == ("x",)
    assert unit.numeric == ("channels", "stride")


def test_equal_calls_on_equal_inputs_are_traced_once() -> None:
    graph = traced(plain(), plain(), plain())
    (node,) = [node for node in graph.root.nodes if isinstance(node, BlockNode)]
    assert len({instance.trace for instance in node.instances}) == 1


def test_calls_that_differ_in_numbers_alone_are_one_class() -> None:
    graph = traced(plain(8), plain(16, 2), plain(16), plain(32, 2), plain(32))
    assert [d.class_name for d in graph.definitions] == ["Unit", "Unit2", "Network"]
    projection, identity, _ = graph.definitions
    assert projection.arguments == ("in_channels", "channels", "stride")
    assert identity.arguments == ("channels",)


def test_structure_makes_classes_of_its_own() -> None:
    graph = traced(plain(), unit(channels=4, stride=1, reduction=4))
    assert [d.class_name for d in graph.definitions] == ["Unit", "Unit2", "Network"]


def test_equalities_leave_one_number_for_both() -> None:
    identity, _ = traced(plain()).definitions
    operations = {
        node.name: node.operation
        for node in identity.trace.nodes
        if isinstance(node, OperationNode)
    }
    first = operations["conv1"]
    assert isinstance(first, ops.Convolution)
    assert first.in_channels.expression == Argument("channels")
    assert first.stride.expression == Constant(1)
    assert isinstance(first.channels.expression, Named)


def test_paths_name_children_as_frameworks_do() -> None:
    single = traced(plain(8))
    assert "body.conv1.weight" in single.tensors
    several = traced(plain(8), plain())
    assert [name for name in several.tensors if name.endswith("conv1.weight")] == [
        "body.0.conv1.weight",
        "body.1.conv1.weight",
    ]
    assert several.tensors["body.0.conv1.weight"].shape == (4, 4, 3, 3)
    assert several.tensors["classifier.bias"].shape == (3,)


def test_layers_know_their_shapes() -> None:
    graph = traced(plain(8, 2), size=(7, 9, 4))
    shapes = {layer.path: layer.output for layer in graph.layers}
    assert graph.input == (7, 9, 4)
    assert shapes["body.conv1"] == (4, 5, 4)
    assert shapes["classifier"] == (3,)


def test_what_cannot_be_built_is_told_with_its_place_and_setting() -> None:
    with pytest.raises(BuildError, match="9 channels are not divisible by reduction 2") as caught:
        traced(plain(), plain(9))
    assert caught.value.path == "body.1"
    assert caught.value.key == "reduction"


def test_a_sound_graph_passes() -> None:
    verify_graph(traced(plain(8), plain(), plain(16, 2)))


def corrupted(change: Any) -> Graph:
    """Change the last node of the first class and put it back into the network."""
    graph = traced(plain(8, 2))
    (body,) = [node for node in graph.root.nodes if isinstance(node, BlockNode)]
    (instance,) = body.instances
    broken = Instance(change(instance.trace), instance.arguments)
    nodes = tuple(
        replace(node, instances=(broken,)) if node is body else node for node in graph.root.nodes
    )
    return Graph("corrupted", replace(graph.root, nodes=nodes))


def with_node(trace: Trace, name: str, **changes: Any) -> Trace:
    nodes = tuple(replace(node, **changes) if node.name == name else node for node in trace.nodes)
    return replace(trace, nodes=nodes)


def operation(trace: Trace, name: str) -> Any:
    (node,) = [node for node in trace.nodes if node.name == name]
    assert isinstance(node, OperationNode)
    return node.operation


CORRUPTIONS = {
    "a value from the future": (
        lambda trace: with_node(trace, "conv1", inputs=(3,)),
        r"Unit\.conv1: uses value 3 before it is made",
    ),
    "a value made twice": (
        lambda trace: with_node(trace, "conv2", output=1),
        r"Unit\.conv2: makes value 1 a second time",
    ),
    "an output never made": (
        lambda trace: replace(trace, output=99),
        r"Unit\.output: value 99 is never made",
    ),
    "a missing operand": (
        lambda trace: with_node(trace, "add1", inputs=(1,)),
        r"Unit\.add1: takes 2 inputs, has 1",
    ),
    "a wrong size": (
        lambda trace: replace(trace, sizes=(*trace.sizes[:-1], (4, 4, 9))),
        r"Unit\.add1: records \(4, 4, 9\), infers \(4, 4, 8\)",
    ),
    "a wrong expression": (
        lambda trace: with_node(
            trace,
            "conv1",
            operation=replace(
                operation(trace, "conv1"), channels=Dimension(4, Argument("channels"))
            ),
        ),
        r"Unit\.conv1\.channels: is 4, but its expression gives 8",
    ),
    "other numbers than traced": (
        lambda trace: replace(trace, arguments={**trace.arguments, "in_width": 9}),
        r"Network\.body: in_width is 8, not as traced",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_graph_is_told_with_its_node(name: str) -> None:
    change, message = CORRUPTIONS[name]
    with pytest.raises(VerificationError, match=message):
        verify_graph(corrupted(change))


@block
def squeeze(b: Builder, x: Value, *, channels: Dimension, reduction: Setting) -> Value:
    """Squeeze."""
    return b.convolution("conv", x, b.let("width", channels // reduction), kernel=1)


@block
def named_as_numbered(b: Builder, x: Value) -> Value:
    """A part whose name another class would be numbered to."""
    b.variant("Squeeze2")
    return b.relu(x)


@block
def other_squeeze(b: Builder, x: Value) -> Value:
    """A part that has the name of another."""
    b.variant("Squeeze")
    return b.relu(x)


def test_a_setting_that_is_the_same_everywhere_is_no_constructor_argument() -> None:
    calls = [squeeze(channels=channels, reduction=2) for channels in (4, 8)]
    first, _ = traced(*calls).definitions
    assert first.arguments == ("in_channels", "channels")
    assert operation(first.trace, "conv").channels.expression == Named(
        "width", Arithmetic("//", Argument("channels"), Constant(2))
    )


def test_settings_that_differ_are_constructor_arguments_of_one_class() -> None:
    calls = [squeeze(channels=8, reduction=reduction) for reduction in (2, 4)]
    graph = traced(*calls)
    assert [d.class_name for d in graph.definitions] == ["Squeeze", "Network"]
    assert graph.definitions[0].arguments == ("in_channels", "channels", "reduction")
    verify_graph(graph)


def test_other_numbers_that_are_the_same_everywhere_stay_constructor_arguments() -> None:
    first, _ = traced(squeeze(channels=8, reduction=2), size=(8, 8, 8)).definitions
    assert first.arguments == ("in_channels", "channels")


def test_numbered_names_avoid_those_in_use() -> None:
    graph = traced(squeeze(channels=8, reduction=2), other_squeeze(), named_as_numbered())
    names = [definition.class_name for definition in graph.definitions]
    assert names == ["Squeeze", "Squeeze3", "Squeeze2", "Network"]


def test_a_number_is_kept_apart_from_a_name_that_ends_in_one() -> None:
    @block
    def pooled(b: Builder, x: Value, *, kernel: int) -> Value:
        """A part."""
        b.variant("Pooled2x2")
        return b.max_pool(x, kernel, 1, "same")

    graph = traced(pooled(kernel=2), pooled(kernel=3))
    names = [definition.class_name for definition in graph.definitions]
    assert names == ["Pooled2x2", "Pooled2x2Variant2", "Network"]
