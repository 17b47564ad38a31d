"""Small networks of one kind of operation each, to learn how fast a framework computes it.

Each has an element some times more than another, its base, so that the difference of their times is
that of the element. None is a network that anyone trains.
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


def _norm(b: Builder, x: Value, name: str) -> Value:
    return b.batch_norm(name, x)


def _norm_relu(b: Builder, x: Value, name: str) -> Value:
    return b.norm_relu(name, x)


def _norm_add(b: Builder, x: Value, name: str) -> Value:
    return b.add(x, b.batch_norm(name, x))


def _norm_sigmoid(b: Builder, x: Value, name: str) -> Value:
    return b.sigmoid(b.batch_norm(name, x))


def _norm_gate(b: Builder, x: Value, name: str) -> Value:
    return b.gate(b.batch_norm(name, x), x, "residual")


def _resize(b: Builder, x: Value, name: str) -> Value:
    small = b.subsample(x, Dimension(2))
    return b.add(x, b.resize(small, x, "bilinear", True))


def _nearest(b: Builder, x: Value, name: str) -> Value:
    small = b.subsample(x, Dimension(2))
    return b.add(x, b.resize(small, x, "nearest", False))


def _pool(b: Builder, x: Value, name: str) -> Value:
    small = b.max_pool(x, 3, 2, 1)
    return b.add(x, b.resize(small, x, "bilinear", True))


def _unit(b: Builder, x: Value, name: str) -> Value:
    return b.relu(b.batch_norm(f"{name}_norm", b.convolution(name, x, x.channels, kernel=1)))


ELEMENTS: Mapping[str, Callable[[Builder, Value, str], Value]] = {
    "start": _unit,
    "convolution": _convolution,
    "grouped convolution": _grouped,
    "pointwise convolution": _pointwise,
    "batch_norm": _norm,
    "relu": _norm_relu,
    "add": _norm_add,
    "sigmoid": _norm_sigmoid,
    "gate": _norm_gate,
    "resize": _resize,
    "nearest resize": _nearest,
    "max_pool": _pool,
}
"""What is repeated to learn of a kind; those that it needs besides come before it."""


@dataclass(frozen=True, slots=True)
class Micro:
    """A point to measure: an element repeated `times` on maps of a size; never, in its base."""

    kind: str
    channels: int
    size: int
    batch: int
    times: int = 2

    @property
    def base(self) -> Micro:
        """What is left without the element, the same for all kinds."""
        return replace(self, kind=BASE, times=0)

    @property
    def input(self) -> tuple[int, int, int]:
        return self.size, self.size, 3

    def graph(self) -> Graph:
        """Return the network."""
        call = _repeated(kind=self.kind, channels=self.channels, times=self.times, classes=CLASSES)
        return Graph("micro", Tracer(SETTINGS).trace(call, [self.input]))


@block
def _repeated(
    b: Builder, x: Value, *, kind: str, channels: Dimension, times: int, classes: Dimension
) -> Value:
    """A network of one element."""
    b.variant("Micro")
    x = b.convolution("stem", x, channels, kernel=1)
    for number in range(times):
        x = ELEMENTS[kind](b, x, f"layer{number}")
    # Else the mean's gradient, one number repeated, would go on into the elements.
    return b.linear("classifier", b.global_average_pool(b.relu(x)), classes)


POINTS = (
    Micro("start", 16, 4, 2, times=24),
    Micro("convolution", 4, 32, 32),
    Micro("convolution", 16, 32, 32),
    Micro("convolution", 64, 16, 32),
    Micro("convolution", 256, 8, 16),
    Micro("grouped convolution", 128, 16, 8),
    Micro("pointwise convolution", 16, 32, 32),
    Micro("pointwise convolution", 64, 32, 32),
    Micro("pointwise convolution", 256, 16, 16),
    Micro("pointwise convolution", 1024, 8, 16),
    Micro("batch_norm", 16, 32, 32),
    Micro("batch_norm", 64, 32, 32),
    Micro("batch_norm", 256, 16, 16),
    Micro("relu", 64, 32, 32),
    Micro("add", 64, 32, 32),
    Micro("sigmoid", 64, 32, 32),
    Micro("gate", 64, 32, 32),
    Micro("resize", 64, 32, 32),
    Micro("nearest resize", 64, 32, 32),
    Micro("max_pool", 64, 32, 32),
)
"""What is measured, in the order in which it is solved."""
