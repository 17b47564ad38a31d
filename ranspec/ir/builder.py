"""Tracing: running a block over symbolic values to record what it does."""

from __future__ import annotations

import difflib
import inspect
import itertools
import keyword
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, NoReturn, get_args, get_origin, get_type_hints

from ranspec.errors import RanspecError
from ranspec.ir import operations as ops
from ranspec.ir.dimension import (
    Argument,
    Dimension,
    Expression,
    Named,
    Setting,
    dimension,
    substitute,
)
from ranspec.ir.naming import camel_case
from ranspec.ir.operation import Interpolation, Operation, Padding, Shape, ShapeError, Sizes
from ranspec.ir.operations.elementwise import Learning
from ranspec.ir.operations.normalization import EpsilonUse
from ranspec.ir.operations.pooling import PoolPadding
from ranspec.ir.trace import BlockNode, Instance, Node, OperationNode, Trace, rewritten


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """A feature map (height, width, channels) or vector (features,) inside a block."""

    index: int
    shape: Shape

    @property
    def height(self) -> Dimension:
        return self.shape[0]

    @property
    def width(self) -> Dimension:
        return self.shape[1]

    @property
    def channels(self) -> Dimension:
        """The channels of a map, or the features of a vector."""
        return self.shape[-1]


USED_NAMES = frozenset({"int", "range", "self", "super"})
"""Names that every generated class uses; no number and no value can be called so."""


class BuildError(RanspecError, ValueError):
    """A network that cannot be built: `path` is the block at fault, `key` the setting."""

    def __init__(self, message: str, path: str, key: str | None) -> None:
        super().__init__(message)
        self.path = path
        self.key = key


class BlockError(RanspecError, TypeError):
    """A block that is not written, or not called, as blocks must be; the message names it."""


@dataclass(frozen=True)
class Block:
    """A function that builds a part of a network, to be run under a `Builder`.

    Keyword arguments of type `Dimension` are numbers that may differ between the instances of one
    generated class; those of type `Setting` are constants of the class where they do not. All
    others decide its structure.
    """

    function: Callable[..., Value]
    inputs: tuple[str, ...]
    numeric: tuple[str, ...]
    settings: tuple[str, ...]
    structural: tuple[str, ...]
    defaults: Mapping[str, Any]

    def __call__(self, **arguments: Any) -> BlockCall:
        """Give the block its arguments; raise `BlockError` where one is missing or unknown."""
        given = {**self.defaults, **arguments}
        names = (*self.numeric, *self.structural)
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(names)}"
                raise BlockError(f"block {self.name} has no argument {name}; {hint}")
        if missing := [name for name in names if name not in given]:
            raise BlockError(f"block {self.name} is called without {', '.join(missing)}")
        for name in self.numeric:
            if not isinstance(given[name], int | Dimension):
                raise BlockError(f"block {self.name}: {name} is {given[name]!r}, not a number")
        numbers = {name: dimension(given[name]) for name in self.numeric}
        return BlockCall(self, numbers, {name: given[name] for name in self.structural})

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def class_name(self) -> str:
        return camel_case(self.name)

    @property
    def description(self) -> str:
        """The first paragraph of the function's docstring, which becomes that of its classes."""
        documented = inspect.cleandoc(self.function.__doc__ or "").partition("\n\n")[0]
        return documented or f"{self.class_name}."


@dataclass(frozen=True, eq=False)
class BlockCall:
    """A block with its arguments, ready to be given its inputs."""

    block: Block
    numbers: Mapping[str, Dimension]
    structure: Mapping[str, Hashable]


def block(function: Callable[..., Value]) -> Block:
    """Make a block of `function(builder, *values, *, numbers and structure)`.

    Raises `BlockError` where its arguments cannot be those of a generated class.
    """
    signature = inspect.signature(function).parameters.values()
    try:
        types = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise BlockError(f"block {function.__name__}: {error}") from error
    inputs = [p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    keywords = [p for p in signature if p.kind is p.KEYWORD_ONLY]
    settings = [p.name for p in keywords if Setting in _alternatives(types.get(p.name))]
    plain = [p.name for p in keywords if Dimension in _alternatives(types.get(p.name))]
    numeric = [p.name for p in keywords if p.name in {*settings, *plain}]
    found = Block(
        function,
        tuple(inputs),
        tuple(numeric),
        tuple(settings),
        tuple(p.name for p in keywords if p.name not in numeric),
        {p.name: p.default for p in keywords if p.default is not p.empty},
    )
    for name in (*inputs, *numeric):
        _check_name(found, name, USED_NAMES)
    return found


def _alternatives(hint: object) -> tuple[object, ...]:
    """Return the types of a union, or the one type."""
    return (hint,) if get_origin(hint) is Annotated else (hint, *get_args(hint))


def _check_name(owner: Block, name: str, taken: Collection[str] = ()) -> None:
    """Raise `BlockError` where a name could not stand in generated code."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise BlockError(f"block {owner.name}: {name!r} cannot be a name in Python code")
    if name in taken:
        raise BlockError(f"block {owner.name}: the name {name!r} is taken; choose another")


@dataclass(frozen=True)
class NetworkSettings:
    """What holds for every layer of a network."""

    epsilon: float
    """Of batch norm, as is `momentum`."""
    momentum: float
    same_padding: bool = False
    """Convolutions that keep the size at stride 1 are padded as TensorFlow's SAME does."""


@dataclass(eq=False)
class Tracer:
    """Runs blocks, each only once for the same arguments and input sizes."""

    settings: NetworkSettings
    symbolic: bool = True
    """Whether traces keep the expressions that code is written from; sizes and costs need none."""
    _traces: dict[Hashable, Trace] = field(default_factory=dict)

    def trace(self, call: BlockCall, inputs: Sequence[Sizes]) -> Trace:
        """Run a block; raise `BuildError` where it cannot take its arguments or inputs."""
        numbers = {name: number.value for name, number in call.numbers.items()}
        key = (
            call.block.function,
            tuple(sorted(call.structure.items())),
            tuple(numbers.items()),
            tuple(inputs),
        )
        try:
            known = key in self._traces
        except TypeError as error:
            raise BlockError(f"block {call.block.name}: {error}; arguments are compared") from error
        if not known:
            self._traces[key] = Builder(self, call.block, numbers, inputs).run(call.structure)
        return self._traces[key]


class Builder:
    """Records the operations of one block. Blocks call its methods; see `ranspec.blocks`."""

    def __init__(
        self, tracer: Tracer, block: Block, numbers: Mapping[str, int], inputs: Sequence[Sizes]
    ) -> None:
        self._tracer = tracer
        self._block = block
        self._class_name = block.class_name
        self._description = block.description
        self._arguments: dict[str, int] = {}
        self._replacements: dict[str, Expression] = {}
        self._nodes: list[Node] = []
        self._values: list[Value] = []
        self._members: set[str] = set()
        self._lets: dict[str, Expression] = {}
        self._inputs = [
            self._value(tuple(self._argument(*named) for named in _named_sizes(position, *pair)))
            for position, pair in enumerate(zip(block.inputs, inputs, strict=True))
        ]
        self._implicit = tuple(self._arguments)
        self._numbers = {name: self._argument(name, value) for name, value in numbers.items()}

    def run(self, structure: Mapping[str, Any]) -> Trace:
        """Run the block's function and return what it recorded."""
        output = self._block.function(self, *self._inputs, **self._numbers, **structure)
        if not isinstance(output, Value):
            raise BlockError(f"block {self._block.name} returns {output!r}, not a value")
        (index,) = self._indices([output])
        for name in sorted(self._members & {*self._arguments, *self._lets}):
            raise self._taken(name)
        return Trace(
            class_name=self._class_name,
            description=self._description,
            arguments=self._arguments,
            settings=frozenset(self._block.settings),
            inputs=self._block.inputs,
            nodes=tuple(self._resolved(node) for node in self._nodes),
            sizes=tuple(map(self._sizes, range(len(self._values)))),
            output=index,
            output_shape=tuple(self._resolved_dimension(size) for size in output.shape),
        )

    # --- structure ---

    def all_equal(self, *pairs: tuple[Dimension, Dimension | int]) -> bool:
        """Decide on structure by whether the numbers of every pair are equal.

        Where they are, the class traced here is one in which they always are: it needs no
        constructor argument for a number that another gives.
        """
        if any(left.value != int(right) for left, right in pairs):
            return False
        for left, right in pairs:
            first = substitute(left.expression, self._replacements)
            second = substitute(dimension(right).expression, self._replacements)
            if first != second:
                self._unify(first, second)
        return True

    def let(self, name: str, number: Dimension) -> Dimension:
        """Name a derived number, such as the width of a bottleneck."""
        _check_name(self._block, name, {*USED_NAMES, *self._arguments, *self._block.inputs})
        if self._lets.setdefault(name, number.expression) != number.expression:
            raise BlockError(f"block {self._block.name} calls two numbers {name!r}")
        return Dimension(number.value, Named(name, number.expression))

    def divide(self, number: Dimension, divisor: Dimension | int, key: str) -> Dimension:
        """Divide exactly; raise `BuildError` naming `key` where a remainder is left."""
        if number.value % int(divisor):
            self.fail(f"{number.value} channels are not divisible by {key} {int(divisor)}", key)
        return number // divisor

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        """Refuse the block's arguments; `key` names the setting of the spec at fault."""
        raise BuildError(message, "", key)

    def variant(self, class_name: str, description: str | None = None) -> None:
        """Name the class of the structure being traced, where one block gives several."""
        _check_name(self._block, class_name)
        self._class_name = class_name
        self._description = description or self._description

    def variable(self, name: str, value: Value) -> Value:
        """Say which variable keeps a value, where that does not follow from the code."""
        _check_name(self._block, name, USED_NAMES)
        self._indices([value])
        for position, node in enumerate(self._nodes):
            if node.output == value.index:
                self._nodes[position] = replace(node, variable=name)
        return value

    @property
    def same_padding(self) -> bool:
        """Whether the padding of strided convolutions depends on the size of the map."""
        return self._tracer.settings.same_padding

    # --- child blocks ---

    def call(self, name: str, call: BlockCall, *inputs: Value) -> Value:
        """Add a child block."""
        shape, traced = self._trace(name, call, [value.shape for value in inputs])
        return self._add_instances(name, (traced,), inputs, shape)

    def sequence(self, name: str, calls: Sequence[BlockCall], value: Value) -> Value:
        """Add child blocks in a row; none gives the value itself, one is a plain child."""
        shape, traced = value.shape, []
        for position, call in enumerate(calls):
            path = name if len(calls) == 1 else f"{name}.{position}"
            shape, child = self._trace(path, call, [shape])
            traced.append(child)
        return self._add_instances(name, tuple(traced), (value,), shape) if traced else value

    def again(self, name: str, *inputs: Value) -> Value:
        """Use a layer or child blocks of this block again, with the same weights.

        Raises `BuildError` where `name` is none of them, or the values have other shapes than
        those it was made for.
        """
        first = next((node for node in self._nodes if node.name == name), None)
        if first is None or first.again:
            raise BuildError(f"{self._block.name} has no layer {name!r} to use again", name, None)
        shapes = [self._sizes(index) for index in first.inputs]
        given = [self._sizes(index) for index in self._indices(inputs)]
        if given != shapes:
            message = f"{name!r} was made for {shapes}; it cannot be used again for {given}"
            raise BuildError(message, name, None)
        result = self._value(self._values[first.output].shape)
        use = sum(node.layer == name for node in self._nodes) + 1
        self._nodes.append(
            replace(
                first,
                name=self._unique(f"{name}_use{use}", numbered=False),
                inputs=self._indices(inputs),
                output=result.index,
                variable=None,
                again=name,
            )
        )
        return result

    # --- operations ---

    def convolution(
        self,
        name: str,
        value: Value,
        channels: Dimension | int,
        *,
        kernel: int | tuple[int, int],
        stride: Dimension | int = 1,
        padding: Padding | None = None,
        groups: Dimension | int = 1,
        bias: bool = False,
    ) -> Value:
        """Convolve; the padding keeps the size at stride 1 unless it is given."""
        extent = (kernel, kernel) if isinstance(kernel, int) else kernel
        if padding is None:
            rows, columns = (
                self._padding(size.value, window, int(stride))
                for size, window in zip(value.shape[:2], extent, strict=True)
            )
            padding = (rows, columns)
        operation = ops.Convolution(
            in_channels=value.channels,
            channels=dimension(channels),
            kernel=extent,
            stride=dimension(stride),
            padding=padding,
            groups=dimension(groups),
            bias=bias,
        )
        return self.add_node(operation, value, name=name)

    def linear(
        self, name: str, value: Value, features: Dimension | int, *, bias: bool = True
    ) -> Value:
        """Multiply by a matrix of weights."""
        operation = ops.Linear(value.channels, dimension(features), bias=bias)
        return self.add_node(operation, value, name=name)

    def batch_norm(self, name: str, value: Value) -> Value:
        """Normalise each channel over the batch, as the network's settings say."""
        settings = self._tracer.settings
        operation = ops.BatchNorm(value.channels, settings.epsilon, settings.momentum)
        return self.add_node(operation, value, name=name)

    def relu(self, value: Value) -> Value:
        return self.add_node(ops.Relu(), value)

    def norm_relu(self, name: str, value: Value) -> Value:
        """Apply batch norm and ReLU, the pre-activation of a convolution."""
        return self.relu(self.batch_norm(name, value))

    def sigmoid(self, value: Value) -> Value:
        return self.add_node(ops.Sigmoid(), value)

    def max_pool(self, value: Value, kernel: int, stride: int, padding: PoolPadding) -> Value:
        return self.add_node(ops.MaxPool(kernel, stride, padding), value)

    def average_pool(self, value: Value, kernel: int, stride: int, padding: PoolPadding) -> Value:
        return self.add_node(ops.AveragePool(kernel, stride, padding), value)

    def global_average_pool(self, value: Value) -> Value:
        return self.add_node(ops.GlobalAveragePool(), value)

    def resize(
        self, value: Value, like: Value, interpolation: Interpolation, align_corners: bool
    ) -> Value:
        """Interpolate to the height and width of `like`."""
        return self.add_node(ops.Resize(interpolation, align_corners), value, like)

    def add(self, left: Value, right: Value) -> Value:
        return self.add_node(ops.Add(), left, right)

    def multiply(self, value: Value, weights: Value) -> Value:
        """Weight a map; sizes of 1 are repeated."""
        return self.add_node(ops.Multiply(), value, weights)

    def gate(self, mask: Value, trunk: Value, learning: Learning) -> Value:
        """Weight a trunk by a mask."""
        return self.add_node(ops.Gate(learning), mask, trunk)

    def add_scalar(self, value: Value, scalar: float) -> Value:
        return self.add_node(ops.AddScalar(scalar), value)

    def scale(self, value: Value, factor: float) -> Value:
        return self.add_node(ops.Scale(factor), value)

    def channel_normalize(
        self, value: Value, epsilon: float, epsilon_use: EpsilonUse = "added"
    ) -> Value:
        return self.add_node(ops.ChannelNormalize(epsilon, epsilon_use), value)

    def spatial_normalize(self, value: Value, epsilon: float) -> Value:
        return self.add_node(ops.SpatialNormalize(epsilon), value)

    def channel_standardize(self, value: Value, epsilon: float) -> Value:
        return self.add_node(ops.ChannelStandardize(epsilon), value)

    def channel_affine(self, name: str, value: Value) -> Value:
        return self.add_node(ops.ChannelAffine(value.channels), value, name=name)

    def spatial_affine(self, name: str, value: Value) -> Value:
        return self.add_node(ops.SpatialAffine(value.height, value.width), value, name=name)

    def concatenate(self, values: Sequence[Value]) -> Value:
        return self.add_node(ops.Concatenate(), *values)

    def dropout(self, name: str, value: Value, rate: float) -> Value:
        """Drop elements in training; a rate of 0 adds nothing."""
        return self.add_node(ops.Dropout(rate), value, name=name) if rate else value

    def flatten(self, value: Value) -> Value:
        return self.add_node(ops.Flatten(), value)

    def vector_to_map(self, value: Value) -> Value:
        """Make a vector a map of one position, which products repeat."""
        return self.add_node(ops.VectorToMap(), value)

    def pad_channels(self, value: Value, channels: Dimension) -> Value:
        return self.add_node(ops.PadChannels(channels), value)

    def subsample(self, value: Value, stride: Dimension) -> Value:
        return self.add_node(ops.Subsample(stride), value)

    def add_node(self, operation: Operation, *inputs: Value, name: str | None = None) -> Value:
        """Add an operation; those that own no parameters need no name."""
        indices = self._indices(inputs)
        unique = self._unique(name or operation.label, numbered=name is None)
        try:
            shape = operation.infer(*(value.shape for value in inputs))
        except ShapeError as error:
            raise BuildError(str(error), unique, error.key) from error
        result = self._value(shape)
        self._nodes.append(OperationNode(unique, operation, indices, result.index))
        return result

    # --- internals ---

    def _trace(self, path: str, call: BlockCall, inputs: Sequence[Shape]) -> tuple[Shape, Instance]:
        names = call.block.inputs
        if len(inputs) != len(names):
            takes = f"takes {', '.join(names) or 'no values'}"
            raise BlockError(f"block {call.block.name} {takes}; it is given {len(inputs)} values")
        concrete = [tuple(size.value for size in shape) for shape in inputs]
        try:
            trace = self._tracer.trace(call, concrete)
        except BuildError as error:
            inner = f"{path}.{error.path}" if error.path else path
            raise BuildError(str(error), inner, error.key) from error
        arguments = {
            size: number
            for position, (name, shape) in enumerate(zip(trace.inputs, inputs, strict=True))
            for (size, _), number in zip(
                _named_sizes(position, name, concrete[position]), shape, strict=True
            )
        } | dict(call.numbers)
        expressions = {name: number.expression for name, number in arguments.items()}
        shape = tuple(
            Dimension(size.value, substitute(size.expression, expressions))
            for size in trace.output_shape
        )
        return shape, Instance(trace, arguments)

    def _add_instances(
        self, name: str, instances: tuple[Instance, ...], inputs: Sequence[Value], shape: Shape
    ) -> Value:
        indices = self._indices(inputs)
        unique = self._unique(name, numbered=False)
        result = self._value(shape)
        self._nodes.append(BlockNode(unique, instances, indices, result.index))
        return result

    def _padding(self, size: int, kernel: int, stride: int) -> tuple[int, int]:
        """Return the padding before and after that keeps the size at stride 1."""
        if not self.same_padding:
            return (kernel - 1) // 2, kernel // 2
        surplus = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return surplus // 2, surplus - surplus // 2

    def _value(self, shape: Shape) -> Value:
        self._values.append(Value(len(self._values), shape))
        return self._values[-1]

    def _sizes(self, index: int) -> Sizes:
        return tuple(size.value for size in self._values[index].shape)

    def _indices(self, values: Sequence[Value]) -> tuple[int, ...]:
        """Return the numbers of values; raise `BlockError` unless this block made them."""
        for value in values:
            if not isinstance(value, Value):
                raise BlockError(f"block {self._block.name} uses {value!r} as a value")
            if value.index >= len(self._values) or self._values[value.index] is not value:
                raise BlockError(f"block {self._block.name} uses a value of another block")
        return tuple(value.index for value in values)

    def _argument(self, name: str, value: int) -> Dimension:
        self._arguments[name] = value
        return Dimension(value, Argument(name) if self._tracer.symbolic else None)

    def _unique(self, name: str, *, numbered: bool) -> str:
        _check_name(self._block, name)
        if numbered:
            free = (f"{name}{count}" for count in itertools.count(1))
            name = next(unused for unused in free if unused not in self._members)
        elif name in self._members:
            raise self._taken(name)
        self._members.add(name)
        return name

    def _taken(self, name: str) -> BuildError:
        message = f"the name {name!r} is used twice in {self._block.name}; choose another"
        return BuildError(message, name, None)

    def _unify(self, first: Expression, second: Expression) -> None:
        """Replace one side by the other: an input's size first, else a declared number."""
        for old, new in ((first, second), (second, first)):
            if isinstance(old, Argument) and old.name in self._implicit:
                return self._replace(old.name, new)
        for old, new in ((first, second), (second, first)):
            if isinstance(old, Argument):
                return self._replace(old.name, new)
        return None

    def _replace(self, name: str, expression: Expression) -> None:
        step = {name: expression}
        self._replacements = {
            key: substitute(value, step) for key, value in self._replacements.items()
        } | step

    def _resolved(self, node: Node) -> Node:
        """Write a node in the arguments that are left when all equalities are known."""
        return rewritten(node, self._replacements) if self._tracer.symbolic else node

    def _resolved_dimension(self, number: Dimension) -> Dimension:
        return Dimension(number.value, substitute(number.expression, self._replacements))


def _named_sizes(position: int, name: str, sizes: Sizes) -> list[tuple[str, int]]:
    """Name the sizes of a block's input: `in_channels` of the first, `skip_channels` of others."""
    prefix = "in" if position == 0 else name
    extents = ("height", "width", "channels") if len(sizes) == 3 else ("features",)
    return [(f"{prefix}_{extent}", size) for extent, size in zip(extents, sizes, strict=True)]
