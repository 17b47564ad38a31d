"""What a device can do, from the table that comes with ranspec or from a file of one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from ranspec.errors import RanspecError
from ranspec.runtime.cache import cache_folder
from ranspec.spec.base import Model
from ranspec.spec.errors import DEFAULT, Origin, Problem, SpecError, did_you_mean, either, show
from ranspec.spec.yaml_source import Node, parse

Precision = Literal["bfloat16", "tf32", "float32", "float64"]
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "tf32", "float32", "float64")
"""Those that generated code trains in; weights and updates are float32, of the last one float64."""

Kind = TypeVar("Kind", bound=Model)

HERE = "here"
"""The name of the device that was measured."""

Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Measured = tuple[Annotated[int, Field(ge=1)], Positive]
"""An extent, and what was measured there."""


class DeviceError(RanspecError):
    """No such device, or none that can do what is asked; the message says what there is."""


class Link(Model):
    """What connects devices: bytes/s in each direction, and seconds."""

    bandwidth: Positive
    latency: Seconds
    message: Seconds = 14e-6
    """What a message takes to begin with, however short and to however many."""


class Machine(Link):
    """The devices of a machine, and the link between any two of them."""

    devices: Annotated[int, Field(ge=1)]


class Software(Model):
    """What a framework reaches of a device.

    A layer takes `slowness` times what its arithmetic or its traffic takes, the longer of the two,
    at these shares of the device's best; and `start` seconds in each direction. A step takes `step`
    seconds besides.
    """

    fused: bool
    """Whether a run of element-wise operations is one pass over memory."""
    bandwidth: Share = 1.0
    arithmetic: Share = 1.0
    start: Seconds
    step: Seconds
    memory: Annotated[float, Field(ge=0.0)]
    """Bytes that a process takes before it has any array."""
    slowness: dict[str, tuple[Measured, ...]] = Field(default={})
    """By kind of operation, at extents that rise: numbers of channels of convolutions and linear
    layers, the narrower the slower; numbers of values of all others, which caches hold or not."""

    def slowness_of(self, kind: str, extent: float) -> float:
        """Return the measured slowness of a kind of operation, or of the most alike; else 1.

        Between measured extents it is that of a power law.
        """
        points = next((found for name in alike(kind) if (found := self.slowness.get(name))), ())
        return power_law(points, extent) if points else 1.0


def alike(kind: str) -> tuple[str, ...]:
    """Return the kinds that tell most of one's speed, the most alike first."""
    match kind.split("_")[-1].split()[-1]:
        case "convolution":
            return kind, "convolution"
        case "linear":
            return kind, "pointwise convolution"
        case "pool" if kind != "global_average_pool":
            return kind, "max_pool"
        case "resize":
            return kind, "resize"
        case "norm" | "normalize" | "standardize":
            return kind, "batch_norm"
        case _:
            return kind, "relu"


def power_law(points: tuple[Measured, ...], at: float) -> float:
    """Interpolate between points along straight lines of logarithms; constant outside of them."""
    first, last = points[0], points[-1]
    if at <= first[0]:
        return first[1]
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            share = math.log(at / left) / math.log(right / left)
            return float(low ** (1 - share) * high**share)
    return last[1]


class Device(Model):
    """A device: bytes, bytes/s and floating-point operations/s at best."""

    title: str
    memory: Positive
    bandwidth: Positive
    peak: Annotated[dict[Precision, Positive], Field(min_length=1)]
    machine: Machine
    network: Link
    source: str
    software: dict[str, Software] = Field(default={})
    """By framework; where nothing is known of one, that of the table is assumed."""

    def require(self, precision: str) -> Precision:
        """Return a precision; raise `DeviceError` where the device has no arithmetic for it."""
        for known in self.peak:
            if known == precision:
                return known
        there = either(tuple(self.peak))
        raise DeviceError(f"{self.title} has no {show(precision)[1:-1]}; it has {there}")

    @property
    def preferred(self) -> Precision:
        """The precision that generated code chooses by itself."""
        return next(name for name in PRECISIONS if name in self.peak and name != "tf32")


class _Table(Model):
    software: dict[str, Software]
    devices: dict[str, Device]


@cache
def table() -> Mapping[str, Device]:
    """Return the devices that come with ranspec, by name."""
    return _shipped().devices


@cache
def assumed_software() -> Mapping[str, Software]:
    """Return what frameworks are taken to reach of a device that nothing was measured on."""
    return _shipped().software


def device_names() -> tuple[str, ...]:
    """Return the names of all known devices, and of the one measured here if it was."""
    return (*table(), *([HERE] if measured_file().exists() else []))


def measured_file() -> Path:
    """Return where the device that was measured here is kept."""
    return cache_folder(None) / "devices" / f"{HERE}.yaml"


def load_device(name: str) -> Device:
    """Return a device by its name, or from a file that ends in .yaml.

    Raises `DeviceError` for an unknown name, `SpecError` for a file with mistakes.
    """
    if name.endswith((".yaml", ".yml")):
        return read_device(Path(name))
    if name == HERE:
        if measured_file().exists():
            return read_device(measured_file())
        raise DeviceError(
            "nothing was measured on this machine yet: `ranspec plan SPEC --measure` does so"
        )
    if name not in table():
        begun = [known for known in table() if known.startswith(f"{name.lower()}-")]
        near = (
            f"; did you mean {either(begun)}?"
            if begun
            else did_you_mean(name, (*table(), HERE)) or f"; there are {', '.join(device_names())}"
        )
        raise DeviceError(
            f"unknown device {show(name)}{near}, or give a file of your own that ends in .yaml"
        )
    return table()[name]


def read_device(path: Path) -> Device:
    """Read a device; raise `SpecError` with all that is wrong with its file."""
    return _read(Device, path)


def written(device: Device) -> str:
    """Return the text of a device's file."""
    import yaml

    return str(yaml.safe_dump(device.model_dump(mode="json"), sort_keys=False, width=100))


def _shipped() -> _Table:
    return _read(_Table, Path(__file__).with_name("devices.yaml"))


def _read(kind: type[Kind], path: Path) -> Kind:
    node, problems = parse(path.read_bytes(), str(path))
    try:
        found = kind.model_validate(node.plain())
    except ValidationError as error:
        more = (
            _problem(node, detail["loc"], detail["type"], detail["msg"], detail["input"])
            for detail in error.errors(include_url=False)
        )
        raise SpecError((*problems, *more)) from None
    if problems:
        raise SpecError(problems)
    return found


def _problem(node: Node, location: tuple[Any, ...], kind: str, text: str, value: Any) -> Problem:
    """Say what is wrong with a value of a file, and where it is written."""
    path = tuple(str(key) for key in location if key != "[key]")
    message = {
        "missing": "required key is missing",
        "extra_forbidden": "unknown key",
    }.get(kind, f"found {show(value)}: {text[0].lower()}{text[1:]}")
    origin: Origin = node.origin
    for key in path:
        inside = node.value.get(key) if isinstance(node.value, dict) else None
        if inside is None:
            break
        node, origin = inside, inside.key or inside.origin
    return Problem.at(origin if origin != DEFAULT else node.origin, path, message)
