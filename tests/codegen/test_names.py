"""Names of blocks that a backend's files use for something else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ranspec.codegen.backend import CodeBackend, UnsupportedError, load_backend
from ranspec.codegen.classes import write_classes
from ranspec.ir.builder import Builder, NetworkSettings, Tracer, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph

SETTINGS = NetworkSettings(epsilon=1e-5, momentum=0.1)


def torch() -> CodeBackend:
    backend = load_backend("torch")
    assert isinstance(backend, CodeBackend)
    return backend


def graph_of(function: Callable[..., Value], **numbers: int) -> Graph:
    part = block(function)

    def network(b: Builder, x: Value) -> Value:
        """A network."""
        return b.call("part", part(**numbers), x)

    return Graph("test", Tracer(SETTINGS).trace(block(network)(), [(8, 8, 4)]))


def tensor(b: Builder, x: Value) -> Value:
    """A part."""
    return b.relu(x)


def input_as_a_module(b: Builder, nn: Value) -> Value:
    """A part."""
    return b.relu(nn)


def number_as_a_module(b: Builder, x: Value, *, F: Dimension) -> Value:
    """A part."""
    return b.convolution("conv", x, F, kernel=1)


def number_as_an_attribute(b: Builder, x: Value, *, training: Dimension) -> Value:
    """A part."""
    return b.convolution("conv", x, training, kernel=1)


def test_a_block_makes_way_for_a_class_of_the_framework() -> None:
    first, network = write_classes(graph_of(tensor), torch())
    assert first.name == "TensorBlock"
    assert network.assignments == ("        self.part = TensorBlock()",)


@pytest.mark.parametrize(
    ("function", "numbers", "message"),
    [
        (input_as_a_module, {}, "InputAsAModule: 'nn' means something in PyTorch"),
        (number_as_a_module, {"F": 4}, "NumberAsAModule: 'F' means something in PyTorch"),
        (number_as_an_attribute, {"training": 4}, "'training' means something in PyTorch"),
    ],
)
def test_inputs_and_numbers_cannot_hide_what_a_class_uses(
    function: Callable[..., Value], numbers: dict[str, int], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        write_classes(graph_of(function, **numbers), torch())


def test_no_variable_hides_a_function_that_makes_it() -> None:
    def part(b: Builder, x: Value) -> Value:
        """A part."""
        y, z = b.relu(x), b.sigmoid(x)
        pooled = [b.max_pool(value, 2, 2, "same") for value in (y, z, x)]
        return b.concatenate([*pooled, *(b.add(value, pooled[0]) for value in pooled)])

    backend = load_backend("jax")
    assert isinstance(backend, CodeBackend)
    text, _ = write_classes(graph_of(part), backend)
    assert any("max_pool(" in line for line in text.statements)
    assert not any(line.strip().startswith("max_pool =") for line in text.statements)
