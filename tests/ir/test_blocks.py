"""What would become bad code is refused where a block is made, called or run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ranspec.ir.builder import (
    Block,
    BlockError,
    Builder,
    BuildError,
    NetworkSettings,
    Tracer,
    Value,
    block,
)
from ranspec.ir.dimension import Dimension
from ranspec.ir.trace import Trace

SETTINGS = NetworkSettings(epsilon=1e-5, momentum=0.1)
STRAY: list[Value] = []


def traced(part: Block, **arguments: Any) -> Trace:
    return Tracer(SETTINGS).trace(part(**arguments), [(8, 8, 4)] * len(part.inputs))


@block
def unit(b: Builder, x: Value, *, channels: Dimension, kernel: int = 3) -> Value:
    """A unit."""
    return b.convolution("conv", x, channels, kernel=kernel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chanels": 4}, "block unit has no argument chanels; did you mean channels?"),
        ({"depth": 1}, "block unit has no argument depth; it takes channels, kernel"),
        ({}, "block unit is called without channels"),
        ({"channels": "4"}, "block unit: channels is '4', not a number"),
    ],
)
def test_a_block_is_called_with_its_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BlockError) as caught:
        unit(**arguments)
    assert str(caught.value) == message


def test_arguments_have_the_defaults_of_the_function() -> None:
    assert unit(channels=4).structure == {"kernel": 3}


def test_numbers_are_known_by_their_type() -> None:
    Number = Dimension

    def scaled(b: Builder, x: Value, *, channels: Number | None, stride: Number, p: int) -> Value:
        """A unit."""
        return x

    scaled.__annotations__ |= {"channels": Number | None, "stride": Number}
    assert block(scaled).numeric == ("channels", "stride")
    assert block(scaled).structural == ("p",)


def test_a_type_that_is_not_known_is_told() -> None:
    def part(b: Builder, x: Value, *, channels: Dimensions) -> Value:  # type: ignore[name-defined]  # noqa: F821
        """A part."""
        return x

    with pytest.raises(BlockError, match="block part: name 'Dimensions' is not defined"):
        block(part)


def test_numbers_cannot_hide_what_every_class_uses() -> None:
    def part(b: Builder, x: Value, *, range: Dimension) -> Value:
        """A part."""
        return x

    with pytest.raises(BlockError, match="block part: the name 'range' is taken"):
        block(part)


def misnamed_layer(b: Builder, x: Value) -> Any:
    return b.convolution("conv 1", x, 4, kernel=1)


def layer_named_by_a_keyword(b: Builder, x: Value) -> Any:
    return b.convolution("lambda", x, 4, kernel=1)


def hidden_layer(b: Builder, x: Value) -> Any:
    return b.convolution("_conv", x, 4, kernel=1)


def misnamed_number(b: Builder, x: Value) -> Any:
    return b.convolution("conv", x, b.let("class", x.channels), kernel=1)


def number_named_as_an_input(b: Builder, x: Value) -> Any:
    return b.convolution("conv", x, b.let("x", x.channels), kernel=1)


def two_numbers_of_one_name(b: Builder, x: Value) -> Any:
    b.let("width", x.channels)
    return b.convolution("conv", x, b.let("width", x.channels * 2), kernel=1)


def misnamed_variable(b: Builder, x: Value) -> Any:
    return b.variable("self", x)


def misnamed_class(b: Builder, x: Value) -> Any:
    b.variant("Attention-56")
    return x


def forgotten_return(b: Builder, x: Value) -> Any:
    b.relu(x)


def not_a_value(b: Builder, x: Value) -> Any:
    return b.add(x, 1)  # type: ignore[arg-type]


def stray_value(b: Builder, x: Value) -> Any:
    if not STRAY:
        STRAY.append(x)
        b.call("inner", block(stray_value)(), x)
    return STRAY[0]


def too_many_values(b: Builder, x: Value) -> Any:
    return b.call("unit", unit(channels=4), x, x)


def unhashable(b: Builder, x: Value) -> Any:
    return b.call("unit", unit(channels=4, kernel=[3]), x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (misnamed_layer, "'conv 1' cannot be a name in Python code"),
        (layer_named_by_a_keyword, "'lambda' cannot be a name in Python code"),
        (hidden_layer, "'_conv' cannot be a name in Python code"),
        (misnamed_number, "'class' cannot be a name in Python code"),
        (number_named_as_an_input, "the name 'x' is taken"),
        (two_numbers_of_one_name, "calls two numbers 'width'"),
        (misnamed_variable, "the name 'self' is taken"),
        (misnamed_class, "'Attention-56' cannot be a name in Python code"),
        (forgotten_return, "returns None, not a value"),
        (not_a_value, "uses 1 as a value"),
        (stray_value, "uses a value of another block"),
        (too_many_values, "takes x; it is given 2 values"),
        (unhashable, "unhashable type: 'list'; arguments are compared"),
    ],
    ids=lambda item: item.__name__ if callable(item) else "",
)
def test_a_block_that_would_become_bad_code_is_refused(
    function: Callable[..., Any], message: str
) -> None:
    STRAY.clear()
    with pytest.raises(BlockError, match=message) as caught:
        traced(block(function))
    name = "unit" if function in (too_many_values, unhashable) else function.__name__
    assert str(caught.value).startswith(f"block {name}")


def twice(b: Builder, x: Value) -> Value:
    return b.convolution("conv", b.convolution("conv", x, 4, kernel=1), 4, kernel=1)


def layer_named_as_a_number(b: Builder, x: Value, *, channels: Dimension) -> Value:
    return b.convolution("channels", x, channels, kernel=1)


def test_two_layers_cannot_have_one_name() -> None:
    with pytest.raises(BuildError, match="the name 'conv' is used twice in twice") as caught:
        traced(block(twice))
    assert caught.value.path == "conv"


def test_a_layer_and_a_number_cannot_have_one_name() -> None:
    with pytest.raises(BuildError, match="the name 'channels' is used twice") as caught:
        traced(block(layer_named_as_a_number), channels=4)
    assert caught.value.path == "channels"


def test_operations_without_a_name_are_numbered_around_those_with_one() -> None:
    @block
    def part(b: Builder, x: Value) -> Value:
        """A part."""
        return b.relu(b.convolution("relu1", x, 4, kernel=1))

    assert [node.name for node in traced(part).nodes] == ["relu1", "relu2"]


def test_a_block_without_a_docstring_is_described_by_its_name() -> None:
    def inverted_bottleneck(b: Builder, x: Value) -> Value:
        return b.relu(x)

    assert traced(block(inverted_bottleneck)).description == "InvertedBottleneck."
