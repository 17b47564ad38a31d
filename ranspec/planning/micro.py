"""Small networks of one kind of operation each, to learn how fast a framework computes it.

Each has an element some times more than its base, so that the difference of their times is that of
the element. None is a network that anyone trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ranspec.ir.builder import Builder, NetworkSettings, Tracer, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph

CLASSES = 10
BASE = "base"
SETTINGS = NetworkSettings(epsilon=1e-5, momentum=0.1)


def _convolution(b: Builder, x: Value, name: str) -> Value:
    return b.convolution(name, x, x.channels, kernel=3)


def _grouped(b: Builder, x: Value, name: str) -> Value:
    return b.convolution(name, x, x.channels, kernel=3, groups=32)


def _pointwise(b: Builder, x: Value, name: str) -> Value:
    """A bottleneck's two: to a quarter of the channels, and back."""
    inner = b.convolution(f"{name}_in", x, x.channels // 4, kernel=1)
    return b.convolution(f"{name}_out", inner, x.channels, kernel=1)


def _norm_relu(b: Builder, x: Value, name: str) -> Value:
    return b.norm_relu(name, x)


def _down_and_up(b: Builder, x: Value, name: str) -> Value:
    """A level of a mask: a pooling, an interpolation to the size before, and a sum."""
    return b.add(x, b.resize(b.max_pool(x, 3, 2, 1), x, "bilinear", True))


def _down_and_nearest(b: Builder, x: Value, name: str) -> Value:
    return b.add(x, b.resize(b.max_pool(x, 3, 2, 1), x, "nearest", False))


def _unit(b: Builder, x: Value, name: str) -> Value:
    return b.norm_relu(f"{name}_norm", b.convolution(name, x, x.channels, kernel=1))


@dataclass(frozen=True, slots=True)
class Element:
    """What is repeated, and the kinds of operation that are taken to be equally slow in it.

    What it has besides is known from elements before it. Operations that always come together are
    solved together: the time of one alone would be a small difference of large ones.
    """

    add: Callable[[Builder, Value, str], Value]
    kinds: tuple[str, ...]


ELEMENTS: Mapping[str, Element] = {
    "start": Element(_unit, ()),
    "convolution": Element(_convolution, ("convolution",)),
    "grouped": Element(_grouped, ("grouped convolution",)),
    "pointwise": Element(_pointwise, ("pointwise convolution",)),
    "norm": Element(_norm_relu, ("batch_norm", "relu")),
    "mask": Element(_down_and_up, ("max_pool", "resize")),
    "nearest": Element(_down_and_nearest, ("nearest resize",)),
}


@dataclass(frozen=True, slots=True)
class Micro:
    """A point to measure: an element repeated `times` on maps of a size; never, in its base."""

    element: str
    channels: int
    size: int
    batch: int
    times: int = 2

    @property
    def base(self) -> Micro:
        """What is left without the element, the same for all kinds."""
        return replace(self, element=BASE, times=0)

    @property
    def input(self) -> tuple[int, int, int]:
        return self.size, self.size, 3

    def graph(self) -> Graph:
        """Return the network."""
        call = _repeated(
            element=self.element, channels=self.channels, times=self.times, classes=CLASSES
        )
        return Graph("micro", Tracer(SETTINGS).trace(call, [self.input]))


@block
def _repeated(
    b: Builder, x: Value, *, element: str, channels: Dimension, times: int, classes: Dimension
) -> Value:
    """A network of one element."""
    b.variant("Micro")
    x = b.convolution("stem", x, channels, kernel=1)
    for number in range(times):
        x = ELEMENTS[element].add(b, x, f"layer{number}")
    # Else the mean's gradient, one number repeated, would go on into the elements.
    return b.linear("classifier", b.global_average_pool(b.relu(x)), classes)


POINTS = (
    Micro("start", 16, 4, 2, times=24),
    Micro("convolution", 4, 32, 32),
    Micro("convolution", 16, 32, 32, times=6),
    Micro("convolution", 64, 16, 32),
    Micro("convolution", 256, 8, 16),
    Micro("grouped", 128, 16, 8),
    Micro("pointwise", 16, 32, 32, times=6),
    Micro("pointwise", 64, 32, 32),
    Micro("pointwise", 256, 16, 16),
    Micro("pointwise", 1024, 8, 16),
    Micro("norm", 64, 8, 32, times=8),
    Micro("norm", 16, 32, 32, times=8),
    Micro("norm", 64, 32, 32),
    Micro("norm", 256, 16, 16, times=4),
    Micro("mask", 64, 32, 32),
    Micro("nearest", 64, 32, 32),
)
"""What is measured, in the order in which it is solved.

Small maps come more often: all that a network keeps is to be larger than caches, as it is where
networks are trained.
"""
