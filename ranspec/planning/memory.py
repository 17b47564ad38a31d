"""The memory that training takes on each device."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ranspec.analysis.memory import BYTES, activation_bytes
from ranspec.ir.graph import Graph
from ranspec.planning.devices import Precision, Software
from ranspec.planning.roofline import value_bytes, weight_bytes
from ranspec.spec.training import Adam, RmsProp, Sgd, Training


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: of the network, and of each image that is computed at once."""

    weights: int
    """With the running statistics of batch norm."""
    gradients: int
    optimizer: int
    """What it keeps of each weight, and a moving average of them."""
    framework: int
    """What a process takes before it has any array."""
    data: int
    """Training and test images, where they lie on the device."""
    kept: int
    """What the backward pass needs of an image, all of it held when the forward pass ends."""
    workspace: int
    """The gradients of the layer that has most, for an image."""

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.optimizer + self.framework + self.data

    @property
    def per_image(self) -> int:
        return self.kept + self.workspace

    def peak(self, images: int) -> int:
        """Return the most that is held at once."""
        return self.fixed + images * self.per_image

    def most_images(self, capacity: float) -> int:
        """Return how many images fit into so many bytes; 0 where not even one does."""
        return max(0, int((capacity - self.fixed) // self.per_image))


def training_memory(
    graph: Graph, training: Training, precision: Precision, software: Software, data: int
) -> Memory:
    """Return the memory of training a network; `data` are the bytes of images on the device."""
    sizes = [(prod(tensor.shape), tensor.trainable) for tensor in graph.tensors.values()]
    trainable = sum(size for size, trained in sizes if trained)
    weight, value = weight_bytes(precision), value_bytes(precision)
    return Memory(
        weights=weight * sum(size for size, _ in sizes),
        gradients=weight * trainable,
        optimizer=weight * trainable * kept_of_a_weight(training),
        framework=int(software.memory),
        data=data,
        kept=activation_bytes(graph) // BYTES * value,
        workspace=value
        * max(
            prod(layer.output) + sum(prod(shape) for shape in layer.inputs)
            for layer in graph.layers
        ),
    )


def kept_of_a_weight(training: Training) -> int:
    """Return how many numbers an optimiser keeps of each weight."""
    average = int(training.weight_average > 0)
    match training.optimizer:
        case Sgd(momentum=momentum):
            return int(momentum > 0) + average
        case Adam():
            return 2 + average
        case RmsProp():
            return 1 + average
