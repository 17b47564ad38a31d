"""How long the layers of a network take: the roofline (Williams et al., 2009) of each.

A layer takes as long as its arithmetic at the device's peak, or its traffic at its bandwidth,
whichever is longer; more by what a framework is known to be slower, and by starting it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ranspec.planning.devices import Device, Precision, Software
from ranspec.planning.work import LayerWork, Work

Bound = Literal["arithmetic", "bandwidth", "start"]


def value_bytes(precision: Precision) -> int:
    """Return the size of a value of a feature map."""
    return {"bfloat16": 2, "float64": 8}.get(precision, 4)


def weight_bytes(precision: Precision) -> int:
    """Return the size of a weight, of its gradient and of what an optimiser keeps of it."""
    return 8 if precision == "float64" else 4


@dataclass(frozen=True, slots=True)
class Roofline:
    """A device under a framework, in a precision."""

    device: Device
    software: Software
    precision: Precision

    def arithmetic(self, flops: float) -> float:
        """Return the seconds of some floating-point operations."""
        return flops / (self.device.peak[self.precision] * self.software.arithmetic)

    def traffic(self, size: float) -> float:
        """Return the seconds of moving some bytes."""
        return size / (self.device.bandwidth * self.software.bandwidth)

    def bytes_of(self, work: Work, images: float) -> float:
        """Return the bytes that some work moves."""
        values = work.values * images * value_bytes(self.precision)
        return values + work.parameters * weight_bytes(self.precision)


@dataclass(frozen=True, slots=True)
class LayerTime:
    """The seconds of a layer, and what they are made of, for all images of a step."""

    path: str
    kind: str
    flops: float
    bytes: float
    forward: float
    backward: float
    bound: Bound
    """What takes the longest."""

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


def layer_time(layer: LayerWork, images: float, roofline: Roofline) -> LayerTime:
    """Return how long a layer takes for a number of images, forward and backward."""
    slowness = roofline.software.slowness_of(layer.kind, layer.extent(images))
    start = roofline.software.start if layer.starts else 0.0
    seconds = []
    parts: dict[Bound, float] = {"arithmetic": 0.0, "bandwidth": 0.0, "start": 0.0}
    for work in (layer.forward, layer.backward):
        computed = roofline.arithmetic(work.flops * images)
        moved = roofline.traffic(roofline.bytes_of(work, images))
        busy = slowness * max(computed, moved)
        begun = start if work.values else 0.0
        parts["arithmetic" if computed > moved else "bandwidth"] += busy
        parts["start"] += begun
        seconds.append(busy + begun)
    forward, backward = seconds
    return LayerTime(
        path=layer.path,
        kind=layer.kind,
        flops=(layer.forward.flops + layer.backward.flops) * images,
        bytes=sum(roofline.bytes_of(work, images) for work in (layer.forward, layer.backward)),
        forward=forward,
        backward=backward,
        bound=max(parts, key=parts.__getitem__),
    )


def layer_times(
    work: Sequence[LayerWork], images: float, roofline: Roofline
) -> tuple[LayerTime, ...]:
    """Return how long each layer takes for a number of images."""
    return tuple(layer_time(layer, images, roofline) for layer in work)


def total_times(
    work: Mapping[LayerWork, int], images: float, roofline: Roofline
) -> tuple[float, float]:
    """Return the seconds forward and backward of layers, each so many times."""
    times = [(layer_time(layer, images, roofline), count) for layer, count in work.items()]
    return (
        sum(count * time.forward for time, count in times),
        sum(count * time.backward for time, count in times),
    )
