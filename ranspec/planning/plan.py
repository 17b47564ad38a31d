"""What training a network will cost: memory, a step, more devices, the whole recipe."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

from ranspec.compile import compile_spec
from ranspec.errors import RanspecError
from ranspec.ir.graph import Graph
from ranspec.planning.communication import exposed, ring_bytes, ring_seconds, slowest_link
from ranspec.planning.devices import Device, Precision, Software, assumed_software
from ranspec.planning.memory import Memory, kept_of_a_weight, training_memory
from ranspec.planning.roofline import LayerTime, Roofline, layer_times, total_times
from ranspec.planning.work import LayerWork, network_work
from ranspec.spec import LoadedSpec, Spec
from ranspec.spec.training import IMAGES_OF_DATA, Training

TEST_IMAGES_OF_DATA = {
    "cifar10": 10_000,
    "cifar100": 10_000,
    "digits": 360,
    "imagenet": 50_000,
    "tiny_imagenet": 10_000,
}
STREAMED = frozenset({"folder", "imagenet"})
"""Data that is decoded for each step; other images lie in memory."""
DECODED = 376
"""JPEG images of 500x375 pixels that a core decodes and cuts in a second: docs/loading.md."""
EVALUATIONS = 20
"""Of a run that holds no images out to be validated on; others are evaluated every epoch."""
BATCH_NORM_MESSAGES = 4
"""All-reduces of a batch norm over all devices: two forward, and one back for each."""
MOST_DEVICES = 1024
PAYING = 0.5
"""The share of a device's own speed below which another is taken not to pay."""


class PlanError(RanspecError):
    """What is asked cannot be trained so; the message says why, and what could be."""


@dataclass(frozen=True, slots=True)
class Step:
    """The seconds of a training step on each of several devices that share its batch."""

    forward: float
    backward: float
    update: float
    besides: float
    """What a framework takes for a step whatever the network."""
    gradients: float
    """The all-reduce of the gradients, which waits for all of them."""
    statistics: float
    """The all-reduces of batch norm, which layers wait for."""

    @property
    def alone(self) -> float:
        """The seconds without other devices."""
        return self.forward + self.backward + self.update + self.besides

    @property
    def seconds(self) -> float:
        return self.alone + self.gradients + self.statistics

    @property
    def overlapped(self) -> float:
        """The seconds if gradients were sent while the backward pass goes on."""
        left = exposed(self.gradients, self.backward, overlapped=True)
        return self.alone + self.statistics + left


@dataclass(frozen=True, slots=True)
class Scaling:
    """A step shared by so many devices."""

    devices: int
    step: Step
    images_per_second: float
    efficiency: float
    """Images per second of each device, as a share of one's that trains alone."""


@dataclass(frozen=True, slots=True)
class Run:
    """The whole recipe: steps, evaluations, and seconds of each."""

    iterations: int
    epochs: float | None
    training: float
    evaluations: int
    evaluation: float

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation


@dataclass(frozen=True, eq=False)
class Plan:
    """A network, its recipe, and the devices that share each batch."""

    spec: Spec
    graph: Graph
    device: Device
    software_name: str
    software: Software
    precision: Precision
    batch: int
    devices: int
    local_batch_norm: bool = False
    """Whether each device normalises by the images of its own."""

    @property
    def training(self) -> Training:
        return self.spec.train

    @property
    def images(self) -> int:
        """Images that a device computes at once."""
        return self.batch // (self.devices * self.training.micro_batches)

    @cached_property
    def memory(self) -> Memory:
        """The memory of each device."""
        return training_memory(
            self.graph, self.training, self.precision, self.software, self._data_bytes
        )

    @property
    def fits(self) -> bool:
        return self.memory.peak(self.images) <= self.device.memory

    @property
    def largest_batch(self) -> int:
        """The largest batch that fits on all devices together, 0 for none."""
        most = self.memory.most_images(self.device.memory)
        return most * self.devices * self.training.micro_batches

    @cached_property
    def layers(self) -> tuple[LayerTime, ...]:
        """The seconds of each layer, for the images that a device computes at once."""
        return layer_times(self._work, self.images, self._roofline)

    @property
    def step(self) -> Step:
        return self.step_on(self.devices)

    @property
    def images_per_second(self) -> float:
        return self.batch / self.step.seconds

    @property
    def gradient_bytes(self) -> int:
        return self.memory.gradients

    @property
    def sent_bytes(self) -> float:
        """What each device sends in a step to have the gradients added up."""
        return ring_bytes(self.gradient_bytes, self.devices)

    def step_on(self, devices: int, batch: int | None = None) -> Step:
        """Return a step shared by another number of devices, by default of the same batch."""
        parts = self.training.micro_batches
        images = (batch or self.batch) / (devices * parts)
        forward, backward = total_times(self._distinct, images, self._roofline)
        link = slowest_link(self.device, devices)
        messages = 0 if self.local_batch_norm else parts * BATCH_NORM_MESSAGES * self._batch_norms
        return Step(
            forward=parts * forward,
            backward=parts * backward,
            update=self._update,
            besides=self.software.step,
            gradients=ring_seconds(self.gradient_bytes, devices, link),
            statistics=messages * ring_seconds(0, devices, link),
        )

    @cached_property
    def scaling(self) -> tuple[Scaling, ...]:
        """The same batch on 1, 2, 4 ... devices, as far as it can be shared out."""
        alone = self.step_on(1).seconds
        found = []
        for devices in self._shares():
            step = self.step_on(devices)
            speed = self.batch / step.seconds
            found.append(Scaling(devices, step, speed, alone / (devices * step.seconds)))
        return tuple(found)

    @property
    def most_paying(self) -> int:
        """The most devices of which each does half as much as one alone, or more."""
        return max(item.devices for item in self.scaling if item.efficiency >= PAYING)

    @property
    def fastest(self) -> int:
        """The number of devices on which a step takes the least time."""
        return min(self.scaling, key=lambda item: item.step.seconds).devices

    @cached_property
    def run(self) -> Run:
        """The whole recipe, if nothing ends it before."""
        training = self.training
        images = training.images or IMAGES_OF_DATA.get(training.data)
        epochs = None
        tests = TEST_IMAGES_OF_DATA.get(training.data, 0)
        evaluations, evaluated = EVALUATIONS, EVALUATIONS * tests
        if images:
            per_epoch = max(1, (images - training.validation) // self.batch)
            epochs = training.iterations / per_epoch
            if training.validation:
                evaluations = training.iterations // per_epoch
                evaluated = evaluations * training.validation + tests
        forward = self.step.forward / self.batch
        return Run(
            training.iterations,
            epochs,
            training.iterations * self.step.seconds,
            evaluations,
            evaluated * training.test.crops * forward,
        )

    @property
    def decoding_cores(self) -> float | None:
        """How many cores decode as many images as are trained on; none where all are in memory."""
        return self.images_per_second / DECODED if self.training.data in STREAMED else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as data for JSON; bytes and seconds."""
        memory, run = self.memory, self.run
        return {
            "name": self.spec.name,
            "device": self.device.title,
            "devices": self.devices,
            "precision": self.precision,
            "batch": self.batch,
            "software": self.software_name,
            "memory": {
                **asdict(memory),
                "peak": memory.peak(self.images),
                "capacity": self.device.memory,
                "fits": self.fits,
                "largest_batch": self.largest_batch,
            },
            "step": _step_dict(self.step),
            "images_per_second": self.images_per_second,
            "flops": sum(layer.flops for layer in self.layers),
            "bytes": sum(layer.bytes for layer in self.layers),
            "all_reduce": {"gradients": self.gradient_bytes, "sent": self.sent_bytes},
            "scaling": [
                {
                    "devices": item.devices,
                    "step": _step_dict(item.step),
                    "images_per_second": item.images_per_second,
                    "efficiency": item.efficiency,
                }
                for item in self.scaling
            ],
            "most_paying_devices": self.most_paying,
            "fastest_devices": self.fastest,
            "run": {**asdict(run), "seconds": run.seconds},
            "decoding_cores": self.decoding_cores,
            "layers": [{**asdict(layer), "seconds": layer.seconds} for layer in self.layers],
        }

    @cached_property
    def _work(self) -> tuple[LayerWork, ...]:
        return network_work(self.graph, fused=self.software.fused)

    @cached_property
    def _distinct(self) -> Counter[LayerWork]:
        return Counter(self._work)

    @property
    def _roofline(self) -> Roofline:
        return Roofline(self.device, self.software, self.precision)

    @cached_property
    def _update(self) -> float:
        """Weights are read and written, gradients read, and all that is kept read and written."""
        moved = 3 + 2 * kept_of_a_weight(self.training)
        size = self.gradient_bytes * moved
        return self._roofline.traffic(size) + self.software.start

    @cached_property
    def _batch_norms(self) -> int:
        arrays = self.graph.tensors.values()
        return sum(not tensor.trainable for tensor in arrays) // 2

    @property
    def _data_bytes(self) -> int:
        data = self.training.data
        if data in STREAMED:
            return 0
        return (IMAGES_OF_DATA[data] + TEST_IMAGES_OF_DATA[data]) * prod(self.graph.input)

    def _shares(self) -> Iterator[int]:
        devices = 1
        while devices <= MOST_DEVICES:
            if self.batch % (devices * self.training.micro_batches) == 0:
                yield devices
            devices *= 2


def plan_training(
    loaded: LoadedSpec,
    device: Device,
    *,
    devices: int = 1,
    batch: int | None = None,
    precision: str | None = None,
    local_batch_norm: bool = False,
    graph: Graph | None = None,
) -> tuple[Plan, ...]:
    """Plan a spec's training on a device with each framework that something is known of.

    `graph` is the spec's network, where it was compiled already.
    Raises `DeviceError` for a precision that the device lacks, `PlanError` for a batch that cannot
    be shared out and for a network of which not one image fits.
    """
    spec = loaded.spec
    chosen = device.require(precision) if precision else device.preferred
    batch = batch or spec.train.batch_size
    parts = spec.train.micro_batches
    if batch % (devices * parts):
        shared = f"{devices} device{'s' if devices > 1 else ''}"
        more = f" times {parts} micro-batches" if parts > 1 else ""
        near = max(1, round(batch / (devices * parts))) * devices * parts
        raise PlanError(
            f"a batch of {batch:,} cannot be divided among {shared}{more}; {near:,} can"
        )
    graph = graph or compile_spec(loaded)
    known: Mapping[str, Software] = device.software or assumed_software()
    plans = tuple(
        Plan(spec, graph, device, name, software, chosen, batch, devices, local_batch_norm)
        for name, software in known.items()
    )
    if not any(plan.largest_batch for plan in plans):
        memory = plans[0].memory
        raise PlanError(
            f"{device.title} has {device.memory / 2**30:.1f} GiB, but {spec.name} takes "
            f"{memory.peak(1) / 2**30:.1f} GiB for a single image"
        )
    return plans


def makespan(seconds: Sequence[float], devices: int) -> float:
    """Return when the last of several runs ends, each on a device, the longest begun first."""
    free = [0.0] * devices
    for run in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + run)
    return max(free)


def _step_dict(step: Step) -> dict[str, float]:
    return {**asdict(step), "seconds": step.seconds, "overlapped": step.overlapped}
