"""The protocol of a primitive operation: what the compiler must know of each.

One subclass says everything about an operation: attributes, shapes, parameters and cost; what its
gradient keeps, how far it reaches and whether it deepens a network; its meaning on NumPy arrays,
forward and backward. A class that leaves something unsaid is refused when it is defined. Backends
add how it is written in their framework.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from ranspec.ir.dimension import Dimension

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ranspec.ir.builder import Value
    from ranspec.ir.decomposition import Parts

    Array = NDArray[np.floating[Any]]

Item = TypeVar("Item")

Shape = tuple[Dimension, ...]
"""(height, width, channels) of a feature map, or (features,) of a vector; the batch is implied."""

Sizes = tuple[int, ...]
Pair = tuple[int, int]
"""(vertical, horizontal)."""


class ShapeError(ValueError):
    """An operation cannot take the shapes it is given; `key` names the setting at fault, if any."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


Axis = Literal["output", "input", "row", "column", "channel"]
"""What an axis of a parameter runs over: the channels or features that a kernel produces or reads,
positions, or channels that each have a value of their own."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """An array that an operation owns, in canonical layout (PyTorch's)."""

    shape: Shape
    axes: tuple[Axis, ...]
    initial: float | Literal["drawn"]
    """The value it is filled with, or `drawn` at random as the recipe says."""
    decays: bool
    """Whether weight decay applies."""
    trainable: bool = True

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"{len(self.shape)} sizes, but {len(self.axes)} axes")
        if self.initial == "drawn" and self.axes[:2] != ("output", "input"):
            raise ValueError("a parameter that is drawn has an output and an input axis first")


Positions = tuple[int, ...] | Literal["all"]
"""Which inputs of an operation; 0 is the first."""


def chosen(positions: Positions, inputs: Sequence[Item]) -> tuple[Item, ...]:
    """Return those of an operation's inputs."""
    return tuple(inputs if positions == "all" else (inputs[position] for position in positions))


@dataclass(frozen=True, slots=True)
class Kept:
    """The values that an operation's gradient needs, and training keeps for it."""

    inputs: Positions = ()
    output: bool = False


KEEPS_NOTHING = Kept()
KEEPS_INPUTS = Kept(inputs="all")
KEEPS_OUTPUT = Kept(output=True)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which positions of an input a position of the output depends on."""

    neighbours: Pair | None = (0, 0)
    """How many positions beyond one; none where the input's values are not used."""
    step: Pair | None = (1, 1)
    """The distance on the input between neighbours of the output; none where another input says
    where the output's positions lie."""


OWN_POSITION = Reach()


def whole_map(sizes: Sizes) -> Reach:
    """Return the reach of what depends on every position of a map."""
    height, width = sizes[:2]
    return Reach((height - 1, width - 1))


@dataclass(frozen=True, eq=False)
class Operation:
    """A primitive operation with all its attributes explicit.

    Attributes that are `Dimension` may be constructor arguments of a generated class; all others
    are part of the class's structure. Every class but those declared with `abstract=True` must
    have, of its own or inherited, all that is declared here without a value.
    """

    label: ClassVar[str]
    """The operation's name in tables, such as `convolution`."""
    arity: ClassVar[int]
    """How many inputs it takes; -1 for any number."""
    keeps: ClassVar[Kept]
    """What its gradient needs."""
    counts_in_depth: ClassVar[bool]
    """Whether it counts in a network's depth, as convolutions and linear layers do."""
    trunk: ClassVar[Positions]
    """The inputs whose features go on in the output; the others weight them, or give a size.
    The layers on the way to those do not count in a network's depth."""
    mask: ClassVar[Positions] = ()
    """The inputs that are masks of attention modules: receptive fields tell them apart."""

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__()
        unsaid = [] if abstract else sorted(set(_unsaid(cls)))
        if unsaid:
            raise TypeError(
                f"operation {cls.__name__} does not say: {', '.join(unsaid)} "
                "(ranspec.ir.operation tells what each means)"
            )

    @abstractmethod
    def infer(self, *inputs: Shape) -> Shape:
        """Return the output shape; raise `ShapeError` where the inputs do not fit."""

    @abstractmethod
    def parameters(self) -> Mapping[str, ParameterSpec]:
        """Return the arrays the operation owns, by their canonical leaf names."""

    @abstractmethod
    def macs(self, output: Sizes) -> int:
        """Return multiply-accumulates per image; zero unless convolution or linear."""

    @abstractmethod
    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        """Return floating-point operations per image: 2 per multiply-accumulate, and the rest."""

    @abstractmethod
    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        """Return, for each input, which of its positions a position of the output depends on."""

    @abstractmethod
    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        """Compute the output, (N, C, H, W) or (N, F), and whatever `backward` needs.

        `arrays` holds the operation's own arrays, trainable or not, by their leaf names. Any
        floating type goes through unchanged.
        """

    @abstractmethod
    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        """Return the gradients of the inputs and of the trainable arrays.

        They may share memory with `gradient` and with one another: never change them in place.
        """

    def decompose(self, parts: Parts, *inputs: Value) -> Value | None:
        """Compute the same by other operations, for backends without an entry; none if it cannot.

        Their parameters are those of the whole, by the same leaf names. Dimensions come from the
        attributes, not from the inputs' shapes: so all instances of a class stay one class.
        """
        return None

    def updated_statistics(self, arrays: Mapping[str, Array], saved: Any) -> Mapping[str, Array]:
        """Return the arrays that are not trained as a training `forward` leaves them."""
        return {}


@dataclass(frozen=True, eq=False)
class Cheap(Operation, abstract=True):
    """An operation that multiplies by no matrix of weights; it owns no arrays unless it says so."""

    counts_in_depth: ClassVar[bool] = False

    def parameters(self) -> Mapping[str, ParameterSpec]:
        return {}

    def macs(self, output: Sizes) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Positionwise(Cheap, abstract=True):
    """An operation on each position alone that keeps the shape; it may own parameters."""

    arity: ClassVar[int] = 1
    trunk: ClassVar[Positions] = "all"
    cost: ClassVar[int]
    """Floating-point operations per output element."""

    def infer(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def flops(self, inputs: Sequence[Sizes], output: Sizes) -> int:
        return self.cost * math.prod(output)

    def reach(self, inputs: Sequence[Sizes]) -> tuple[Reach, ...]:
        return (OWN_POSITION,) * len(inputs)


def _unsaid(operation: type[Operation]) -> Iterator[str]:
    for kind in operation.__mro__:
        for name, annotation in inspect.get_annotations(kind).items():
            if "ClassVar" in str(annotation) and not hasattr(operation, name):
                yield name
        for name in vars(kind):
            if getattr(getattr(operation, name, None), "__isabstractmethod__", False):
                yield name


Padding = tuple[tuple[int, int], tuple[int, int]]
"""((top, bottom), (left, right))."""

Interpolation = Literal["bilinear", "nearest"]
