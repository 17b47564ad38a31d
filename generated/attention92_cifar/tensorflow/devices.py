"""Where TensorFlow computes, in what precision, and a dataset there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import keras
import numpy as np
import tensorflow as tf

from data import Dataset
from settings import fail

Draws = TypeVar("Draws", bound=tuple[Any, ...])


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how to compute."""

    decisive: ClassVar[tuple[str, ...]] = ("precision",)

    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[Literal["float32", "bfloat16"], "of convolutions"] = "float32"
    xla: Annotated[Literal["auto", "on", "off"], "compile with XLA; auto: on a GPU"] = "auto"


class Devices:
    """What computes: a CPU, or a GPU; to be made before anything is computed.

    `name` says which.
    """

    def __init__(self, options: DeviceOptions) -> None:
        if keras.backend.backend() != "tensorflow":
            fail("Keras was imported with another backend: set KERAS_BACKEND=tensorflow")
        found = bool(tf.config.list_physical_devices("GPU"))
        if options.device == "gpu" and not found:
            fail("--device gpu: TensorFlow finds no GPU")
        if options.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        if options.precision == "bfloat16":
            keras.config.set_dtype_policy("mixed_bfloat16")
        else:
            # A GPU's convolutions would round to 10 bits of mantissa.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self.name = "gpu" if found and options.device != "cpu" else "cpu"
        self.xla = self.name == "gpu" if options.xla == "auto" else options.xla == "on"
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of tensors and others as one graph; it is compiled when first run."""
        if function not in self._compiled:
            self._compiled[function] = tf.function(function, autograph=False, jit_compile=self.xla)
        return self._compiled[function](*arguments)


def put_draws(draws: Draws) -> Draws:
    """Return the draws of a step as tensors."""
    put = (tf.constant(np.uint32(item) if isinstance(item, int) else item) for item in draws)
    return type(draws)(*put)


class DeviceData:
    """A dataset on the device."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = tf.constant(dataset.images)
        self.labels = tf.constant(dataset.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return uint8 images [n, H, W, C] and labels [n] of the dataset's rows."""
        return tf.gather(self.images, indices), tf.gather(self.labels, indices)

    def batches(self, size: int) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Yield the dataset in order, `size` rows at a time, and which of them count, bool.

        The last batch repeats the last row, for all to have one shape.
        """
        for start in range(0, len(self), size):
            indices = tf.range(start, start + size)
            images, labels = self.rows(tf.minimum(indices, len(self) - 1))
            yield images, labels, indices < len(self)
