"""Where TensorFlow computes, in what precision, a dataset there, and steps compiled for it.

Each of several devices, in one process or in many, is given its share of a batch's rows, and all
are a replica of the same model: what they return is added up, and batch norm is over all rows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NoReturn, Self

import keras
import numpy as np
import tensorflow as tf

from data import Dataset
from layers import norm_locally
from report import Predictions
from run import INTERRUPTED
from settings import Positive, fail
from streaming import Ahead, StreamedDataset, ahead, rows, rows_together

UNPROFILED = 3
"""Calls before a profile: they compile."""


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how to compute."""

    decisive: ClassVar[tuple[str, ...]] = ("precision", "local_batch_norm")

    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    devices: Annotated[
        Positive | None, "devices of this process to share a batch (default: all GPUs, or one CPU)"
    ] = None
    slurm: Annotated[bool, "be one of the processes that srun has started"] = False
    local_batch_norm: Annotated[bool, "batch norm over the images of a device alone"] = False
    precision: Annotated[
        Literal["auto", "float32", "tf32", "bfloat16", "float64"],
        "of convolutions; auto: bfloat16 on a GPU, else float32",
    ] = "auto"
    xla: Annotated[Literal["auto", "on", "off"], "compile with XLA; auto: on a GPU"] = "auto"
    steps_per_dispatch: Annotated[
        Positive | None, "steps in one call (default: 10 on a GPU, else 1)"
    ] = None
    evaluation_batch_size: Annotated[
        Positive | None, "images per step of an evaluation (default: those of training)"
    ] = None
    profile: Annotated[Positive | None, "steps to record, in the folder profile of the run"] = None


class Batch(NamedTuple):
    """What is drawn for a step, a named tuple, and the images of a dataset that is streamed."""

    draws: Any
    images: np.ndarray | None = None


class Rows(NamedTuple):
    """Rows of a dataset, and their places in a batch."""

    indices: np.ndarray
    places: np.ndarray


class Devices:
    """The devices that compute; to be made before anything is computed, with the precision set.

    `replicas` is their number in all processes.
    """

    def __init__(self, options: DeviceOptions) -> None:
        if keras.backend.backend() != "tensorflow":
            fail("Keras was imported with another backend: set KERAS_BACKEND=tensorflow")
        gpus = [] if options.device == "cpu" else tf.config.list_physical_devices("GPU")
        if options.device == "gpu" and not gpus:
            fail("--device gpu: TensorFlow finds no GPU")
        if options.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        self.kind = "gpu" if gpus else "cpu"
        self.strategy = _strategy(options, len(gpus))
        self.replicas = int(self.strategy.num_replicas_in_sync)
        self.precision: str = options.precision
        if options.precision == "auto":
            self.precision = "bfloat16" if gpus else "float32"
        _set_precision(self.precision)
        if options.xla == "on" and self.replicas > 1:
            fail("--xla on: XLA compiles for one device, not for several")
        automatic = bool(gpus) and self.replicas == 1
        self.xla = automatic if options.xla == "auto" else options.xla == "on"
        self.steps_per_dispatch = options.steps_per_dispatch or (10 if gpus else 1)
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __str__(self) -> str:
        count = f"{self.replicas} x " if self.replicas > 1 else ""
        return f"{count}{self.kind}, {self.precision}"

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        resolver = self.strategy.cluster_resolver
        return resolver is None or not resolver.task_id

    @property
    def agree(self) -> Callable[[bool], bool] | None:
        """Tell each process whether any says yes; None where there is but one."""
        workers = getattr(self.strategy.extended, "_num_workers", 1)
        return self._any if workers > 1 else None

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Make models and optimisers that are on all devices; end where a process is lost."""
        try:
            with self.strategy.scope():
                yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
            _lost()

    def prepare(self, model: keras.Model, settings: Any) -> None:
        """Have a model compute as the settings say; exit where a batch cannot be shared out."""
        if settings.local_batch_norm:
            norm_locally(model)
        together = rows_together(settings)
        if settings.batch_size % (self.replicas * together):
            each = f", each with a multiple of {together} images" if together > 1 else ""
            shares = f"{self.replicas} devices{each}"
            fail(f"--batch-size {settings.batch_size}: cannot be divided among {shares}")

    def evaluation_size(self, settings: Any) -> int:
        """Return how many images to evaluate at once, a multiple of the number of devices."""
        size = settings.evaluation_batch_size or settings.batch_size
        return -(-int(size) // self.replicas) * self.replicas

    def everywhere(self, *arrays: Any) -> Any:
        """Put arrays on each device."""
        return self.strategy.run(lambda: tuple(map(tf.constant, arrays)))

    def run(
        self,
        function: Callable[..., Any],
        data: DeviceData,
        batches: Sequence[Batch],
        rates: Sequence[float] = (),
    ) -> Any:
        """Run a function of images, labels, draws and rate for each batch, all in one dispatch.

        The arrays of draws are shared out by their rows; `indices` are those of the images. Returns
        what the function returns for each batch, summed over the devices.
        """
        if function not in self._compiled:
            self._compiled[function] = tf.function(
                lambda *arguments: self._all(function, *arguments),
                autograph=False,
                jit_compile=self.xla,
            )
        most = self.steps_per_dispatch if rates else 1
        # Shorter blocks of steps are filled up, so that one graph takes all.
        filled = [min(step, len(batches) - 1) for step in range(most)]
        shared = self._share([batches[step] for step in filled])
        put = tf.constant([rates[step] for step in filled if rates], keras.config.floatx())
        return self._compiled[function](data.source, shared, put, tf.constant(len(batches)))

    def over_images(
        self, function: Callable[[tf.Tensor], tf.Tensor], settings: Any
    ) -> Callable[[DeviceData], np.ndarray]:
        """Return a function that gives for a dataset what `function` gives for batches of images.

        `function` is to return an array [n, m] for n images, the other then returns [N, m].
        """
        size = self.evaluation_size(settings)

        def over_batch(images: tf.Tensor, labels: tf.Tensor, rows: Rows) -> tf.Tensor:
            # With zeros in the place of what other devices give: all are added up.
            own = function(images)
            return tf.scatter_nd(rows.places[:, None], own, (size, own.shape[1]))

        def over_dataset(data: DeviceData) -> np.ndarray:
            parts = [self.run(over_batch, data, [batch])[0] for batch in data.batches(size)]
            return np.concatenate(parts)[: len(data)]

        return over_dataset

    def _all(
        self, function: Callable[..., Any], source: Any, shared: Any, rates: Any, count: tf.Tensor
    ) -> tf.Tensor:
        def take(step: Any) -> tf.Tensor:
            def take_share(source: Any, shared: Any) -> tf.Tensor:
                draws, decoded = tf.nest.map_structure(lambda array: array[step], shared)
                images, labels = source
                images = decoded[0] if decoded else tf.gather(images, draws.indices)
                rate = [rates[step]] if len(rates.shape) and rates.shape[0] else []
                return function(images, tf.gather(labels, draws.indices), draws, *rate)

            values = self.strategy.run(take_share, (source, shared))
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

        if rates.shape[0] <= 1:
            return take(0)[None]
        return tf.map_fn(
            take, tf.range(count), parallel_iterations=1, fn_output_signature=rates.dtype
        )

    def _share(self, batches: Sequence[Batch]) -> Any:
        """Return each device's rows of batches, stacked: draws, and images if they are streamed."""

        def share(context: Any) -> Any:
            place = int(context.replica_id_in_sync_group), self.replicas
            draws = [rows(_without_none(batch.draws), *place) for batch in batches]
            stacked = (tf.constant(np.stack(items)) for items in zip(*draws, strict=True))
            decoded = [rows(batch, *place).images for batch in batches]
            images = [part for part in decoded if part is not None]
            return type(draws[0])(*stacked), (tf.constant(np.stack(images)),) if images else ()

        return self.strategy.experimental_distribute_values_from_function(share)

    def _any(self, yes: bool) -> bool:
        values = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(float(yes))
        )
        return bool(self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None) > 0)


class DeviceData:
    """A dataset on each device; of one that is streamed the labels alone."""

    def __init__(self, dataset: Dataset | StreamedDataset, devices: Devices) -> None:
        self.dataset = dataset
        images = () if isinstance(dataset, StreamedDataset) else np.asarray(dataset.images)
        self.source = devices.everywhere(images, dataset.labels)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def sizes(self) -> Any:
        """The sizes of the images of a dataset that is streamed."""
        return self.dataset.sizes

    def batch(self, draws: Any) -> Batch:
        """Return a batch of what is drawn, with decoded images if they are not on the devices."""
        if not isinstance(self.dataset, StreamedDataset):
            return Batch(draws)
        parts = getattr(draws, "parts", None)
        return Batch(draws, self.dataset.read(draws.indices, parts))

    def batches(self, size: int) -> Ahead[Batch]:
        """Return an iterator of all rows in order, `size` at a time; the last may repeat a row."""
        places = np.arange(size, dtype=np.int32)

        def make(start: int) -> Batch:
            return self.batch(Rows(np.minimum(start + places, len(self) - 1), places))

        return ahead(make, range(0, len(self), size))

    def predictions(self, logarithms: np.ndarray) -> Predictions:
        """Return for a report what the logarithms of probabilities [N, classes] say."""
        return Predictions.of(self.dataset, logarithms)


class Profile:
    """Records so many steps for TensorBoard, if any, once the first calls have been made."""

    def __init__(self, steps: int | None, folder: Path) -> None:
        self.steps, self.folder, self.calls = steps or 0, folder / "profile", 0
        self.records = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.records:
            tf.profiler.experimental.stop()
            self.records = False

    def add(self, steps: int) -> None:
        """Count a call of so many steps."""
        self.calls += 1
        if self.records:
            self.steps -= steps
            if self.steps <= 0:
                self.__exit__()
        elif self.steps > 0 and self.calls == UNPROFILED:
            tf.profiler.experimental.start(str(self.folder))
            self.records = True


def _without_none(draws: Any) -> Any:
    return type(draws)(*(0 if item is None else item for item in draws))


def _strategy(options: DeviceOptions, gpus: int) -> tf.distribute.Strategy:
    if options.slurm:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    count = options.devices or max(1, gpus)
    if gpus and count > gpus:
        fail(f"--devices {count}: TensorFlow finds {gpus} GPUs")
    if gpus:
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:count], "GPU")
    if count == 1:
        return tf.distribute.get_strategy()
    if not gpus:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)
    kind = "gpu" if gpus else "cpu"
    return tf.distribute.MirroredStrategy([f"/{kind}:{index}" for index in range(count)])


def _set_precision(precision: str) -> None:
    if precision == "float64":
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    if precision == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    # Otherwise a GPU's convolutions would round to 10 bits of mantissa.
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")


def _lost() -> NoReturn:
    print("error: another process was lost: start all again to go on", file=sys.stderr)
    sys.exit(INTERRUPTED)
