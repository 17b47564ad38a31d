"""Where JAX computes, in what precision, a dataset there, and a training step compiled for it.

A batch is spread over all devices of all processes; all else is on each of them. Means over a batch
are those of the whole batch, which JAX sees to: a step is the same program for any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding
from numpy.typing import NDArray

from augment import DeviceStatistics, put_statistics
from cache import cache_folder
from data import Dataset, DataSets, Statistics
from report import Predictions
from run import INTERRUPTED, Run
from settings import Count, Positive, fail
from streaming import Ahead, StreamedDataset, ahead, rows

HostBatch = tuple[Any, NDArray[np.uint8] | None]
"""What is drawn for a step, and the images if they are not on the devices."""
Objects = tuple[nnx.Module, nnx.Optimizer[Any]]
CONFIG: Any = jax.config
PROFILER: Any = jax.profiler
FROM_OWN: Any = jax.make_array_from_process_local_data
PartitionSpec: Any = jax.sharding.PartitionSpec
PROFILE = "profile"
UNPROFILED = 10
"""Steps that are not recorded: they compile, and fill caches."""
RESIDENT, ROOM = 0.5, 2**31
"""The share of a GPU's memory, and the bytes of other memory, that images may take."""
PRODUCTS = {
    "float32": "highest",
    "tf32": "tensorfloat32",
    "bfloat16": "default",
    "float64": "highest",
}
"""How JAX is to multiply matrices in each precision; a GPU would round float32 to TF32."""


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how to compute."""

    decisive: ClassVar[tuple[str, ...]] = ("precision",)

    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "tf32", "bfloat16", "float64"],
        "of convolutions; auto: bfloat16 on a GPU, else float32",
    ] = "auto"
    steps_per_dispatch: Annotated[
        Positive | None, "steps in one compiled call (default: 10 on a GPU, else 1)"
    ] = None
    evaluation_batch_size: Annotated[Positive | None, "default: that of training"] = None
    profile: Annotated[Count, "steps to record in the folder profile of the run"] = 0
    compile_cache: Annotated[bool, "keep compiled code in the cache folder"] = True
    devices: Annotated[
        Positive | None, "devices of each process (default: all GPUs, or one CPU)"
    ] = None
    distributed: Annotated[bool, "one of several processes, as SLURM or MPI starts them"] = False
    coordinator: Annotated[str | None, "HOST:PORT of process 0, of several processes"] = None
    processes: Annotated[Positive | None, "how many there are, with --coordinator"] = None
    process: Annotated[Count | None, "which this one is, from 0, with --coordinator"] = None


@dataclass(frozen=True)
class Devices:
    """The devices that a batch is spread over, and the precision there."""

    mesh: Mesh
    precision: str
    steps_per_dispatch: int

    @staticmethod
    def choose(settings: Any) -> Devices:
        """Make JAX use what is asked for; return the devices, by default GPUs if there are any."""
        if settings.device == "cpu":
            CONFIG.update("jax_platforms", "cpu")
        if settings.devices and settings.device != "gpu":
            CONFIG.update("jax_num_cpu_devices", settings.devices)
        CONFIG.update("jax_enable_x64", settings.precision == "float64")
        if settings.compile_cache:
            folder = cache_folder(settings.cache_dir) / "jax"
            CONFIG.update("jax_compilation_cache_dir", str(folder))
        _join(settings)
        try:
            found = jax.devices("gpu" if settings.device == "gpu" else None)
        except RuntimeError:
            fail("--device gpu: JAX finds no GPU")
        chosen = _of_each_process(found, settings.devices)
        if settings.batch_size % len(chosen):
            fail(f"--batch-size {settings.batch_size}: no multiple of {len(chosen)} devices")
        on_cpu = found[0].platform == "cpu"
        precision = settings.precision
        if precision == "auto":
            precision = "float32" if on_cpu else "bfloat16"
        CONFIG.update("jax_default_matmul_precision", PRODUCTS[precision])
        steps = settings.steps_per_dispatch or (1 if on_cpu else 10)
        return Devices(Mesh(np.array(chosen), ("batch",)), precision, steps)

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files."""
        return jax.process_index() == 0

    @property
    def agree(self) -> Callable[[bool], bool] | None:
        """Tells each of several processes whether any of them says yes."""
        return _any_says if jax.process_count() > 1 else None

    def say(self, text: str) -> None:
        """Tell the user, once for all processes."""
        if self.writes:
            print(text, flush=True)

    @contextmanager
    def together(self) -> Iterator[None]:
        """End this process with the others, if one of them is lost."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            reason = str(error).splitlines()[0]
            print(f"error: another process ended: start all again to go on ({reason})", flush=True)
            # An ordinary exit would wait for the one that is lost.
            os._exit(INTERRUPTED)

    @property
    def platform(self) -> str:
        """The kind of device: `cpu` or `gpu`."""
        return str(self.mesh.devices.flat[0].platform)

    def __str__(self) -> str:
        count = self.mesh.size
        return f"{f'{count} x ' if count > 1 else ''}{self.platform}, {self.precision}"

    @property
    def room(self) -> float:
        """How many bytes of images may be kept on each device."""
        memory = self.mesh.local_devices[0].memory_stats()
        return RESIDENT * memory["bytes_limit"] if memory else ROOM

    @property
    def dtype(self) -> Any:
        """The type of a network's input, its weights and its statistics."""
        return jnp.float64 if self.precision == "float64" else jnp.float32

    @property
    def everywhere(self) -> NamedSharding:
        """Have a whole array on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def put(self, array: Any, *axes: str | None) -> Array:
        """Put an array there; the axis named `batch` is spread, others are whole."""
        sharding = NamedSharding(self.mesh, PartitionSpec(*axes))
        if isinstance(array, Array):
            if array.sharding == sharding:
                return array
            if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
                key: Array = jax.random.wrap_key_data(self.put(jax.random.key_data(array)))
                return key
        array = np.asarray(array)
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    def put_own(self, array: NDArray[Any] | None, *axes: str | None) -> Array | None:
        """Put this process's part of an array there, of which `batch` is spread."""
        if array is None:
            return None
        sharding = NamedSharding(self.mesh, PartitionSpec(*axes))
        put: Array = FROM_OWN(sharding, array)
        return put

    def put_steps(self, batches: Sequence[HostBatch]) -> tuple[Any, Array | None]:
        """Put the batches of several steps there, as arrays [steps, batch, ...] or [steps]."""

        def put(*items: Any) -> Array:
            stacked = np.stack(items)
            return self.put(stacked, *(None, "batch")[: stacked.ndim])

        draws, images = zip(*batches, strict=True)
        stacked = None if images[0] is None else np.stack(images)
        return jax.tree.map(put, *draws), self.put_own(stacked, None, "batch")

    def fetch(self, arrays: Sequence[Array]) -> list[NDArray[Any]]:
        """Return arrays to the host, of all processes, when they are ready."""
        if jax.process_count() > 1:
            arrays = jax.jit(lambda values: values, out_shardings=self.everywhere)(arrays)
        found: list[NDArray[Any]] = jax.device_get(arrays)
        return found

    def prepare(self, model: nnx.Module) -> None:
        """Have a model compute in the precision; only float64 changes the type of weights."""
        if self.precision == "bfloat16":
            model.set_attributes(nnx.Conv, nnx.Linear, dtype=jnp.bfloat16)
        if self.precision == "float64":
            state = nnx.state(model, (nnx.Param, nnx.BatchStat))
            nnx.update(model, jax.tree.map(lambda array: jnp.asarray(array, jnp.float64), state))


class DeviceArrays(NamedTuple):
    """What each device has of a dataset: labels int32 [N], statistics, images if they fit."""

    labels: Array
    statistics: DeviceStatistics
    images: Array | None

    def rows(self, indices: Array, images: Array | None) -> tuple[Array, Array]:
        """Return images uint8 [n, H, W, C], if not those given, and labels [n] of the rows."""
        if images is None:
            assert self.images is not None
            images = self.images[indices]
        return images, self.labels[indices]


class DeviceData:
    """A dataset for the devices: its images on each of them if they fit, else put when due."""

    def __init__(
        self, dataset: Dataset | StreamedDataset, statistics: Statistics, devices: Devices
    ) -> None:
        self.dataset = dataset
        self.devices = devices
        constants = jax.tree.map(devices.put, put_statistics(statistics, devices.dtype))
        images = None
        if isinstance(dataset, Dataset) and dataset.images.nbytes <= devices.room:
            images = devices.put(dataset.images)
        labels = devices.put(dataset.labels.astype(np.int32))
        self.arrays = DeviceArrays(labels, constants, images)

    def __len__(self) -> int:
        return len(self.dataset)

    def ahead(
        self, draw: Callable[..., Any], recipe: object, steps: Sequence[int]
    ) -> Ahead[HostBatch]:
        """Return the draws of each step, and the images if they are not on the devices.

        They are made ahead, in a thread. Of many processes each reads its own images.
        """

        def make(step: int) -> HostBatch:
            draws = draw(step, len(self), recipe, self.dataset.sizes)
            own = rows(draws, jax.process_index(), jax.process_count())
            return draws, self._read(own.indices, getattr(own, "parts", None))

        return ahead(make, steps, depth=2 * self.devices.steps_per_dispatch)

    def batches(self, size: int) -> Iterator[tuple[Array, Array | None]]:
        """Yield indices of all images in order, and the images if they are not on the devices.

        There are always `size` of them, or a few more so that all devices have as many; at the end
        the last image is repeated.
        """
        count, devices = len(self), self.devices
        size = -(-size // devices.mesh.size) * devices.mesh.size

        def make(start: int) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
            indices = np.arange(start, start + size, dtype=np.int32).clip(max=count - 1)
            own = np.array_split(indices, jax.process_count())[jax.process_index()]
            return indices, self._read(own, None)

        with ahead(make, range(0, count, size)) as made:
            for indices, images in made:
                yield devices.put(indices, "batch"), devices.put_own(images, "batch")

    def predictions(self, logarithms: NDArray[Any]) -> Predictions:
        """Return for a report what the logarithms of probabilities [N, classes] say."""
        return Predictions.of(self.dataset, logarithms)

    def _read(self, indices: Any, boxes: Any) -> NDArray[np.uint8] | None:
        return None if self.arrays.images is not None else self.dataset.read(indices, boxes)


def put_data(data: DataSets, devices: Devices) -> tuple[DeviceData, DeviceData, DeviceData]:
    """Return what to train on, what to watch, which is the test set if none is held out, and it."""
    training, test = (
        DeviceData(part, data.statistics, devices) for part in (data.training, data.test)
    )
    watched = DeviceData(data.validation, data.statistics, devices) if data.validation else test
    return training, watched, test


def profiled(run: Run, most: int, count: int) -> Iterator[range]:
    """Yield a run's steps, up to `most` at once, and record `count` of them in its folder.

    TensorBoard's profiler and https://ui.perfetto.dev show what is recorded.
    """
    started = ended = False
    for steps in run.blocks(most):
        taken = steps.start - run.first_step
        if count and run.writes and not started and taken >= UNPROFILED:
            PROFILER.start_trace(str(run.folder.path / PROFILE), create_perfetto_trace=True)
            started = True
        yield steps
        if started and not ended and taken + len(steps) >= UNPROFILED + count:
            PROFILER.stop_trace()
            ended = True
    if started and not ended:
        PROFILER.stop_trace()


def _join(settings: Any) -> None:
    """Connect this process with the others, if there are any."""
    if settings.coordinator is None:
        if settings.processes is not None or settings.process is not None:
            fail("--processes and --process need --coordinator HOST:PORT")
        if settings.distributed:
            jax.distributed.initialize()
        return
    count, number = settings.processes, settings.process
    if count is None or number is None or number >= count:
        fail("--coordinator needs --processes N, and --process from 0 to N - 1")
    jax.distributed.initialize(settings.coordinator, count, number)


def _of_each_process(devices: Sequence[Any], count: int | None) -> list[Any]:
    """Return the devices of all processes, in their order: `count` of each."""
    on_cpu = devices[0].platform == "cpu"
    count = count or (1 if on_cpu else None)
    chosen = []
    for process in range(jax.process_count()):
        own = [device for device in devices if device.process_index == process]
        if count and len(own) < count:
            fail(f"--devices {count}: JAX finds {len(own)}")
        chosen += own[:count]
    return chosen


def _any_says(yes: bool) -> bool:
    return bool(process_allgather(np.array(yes)).any())


class CompiledSteps:
    """Training steps, compiled, over the flat arrays of model and optimiser.

    `train_step` takes model, optimiser, images, labels, learning rate and settings and returns the
    loss; `batch` makes images and labels of a step's draws and images, the dataset and the
    settings. Passing
    NNX objects would cost milliseconds of Python in each call. While this is in use the objects'
    own arrays are gone, until `write_back`.
    """

    def __init__(
        self,
        train_step: Callable[..., Array],
        batch: Callable[[Any, Array | None, DeviceArrays, Any], tuple[Array, Array]],
        model: nnx.Module,
        optimizer: nnx.Optimizer[Any],
        settings: Any,
        devices: Devices,
    ) -> None:
        self.train_step = train_step
        self.batch = batch
        self.settings = settings
        self.devices = devices
        self.objects: Objects = model, optimizer
        self.graph, state = nnx.split(self.objects)
        arrays, self.structure = jax.tree.flatten(state)
        everywhere = devices.everywhere
        self.arrays = [devices.put(array) for array in arrays]
        self.compiled = jax.jit(self.scan, donate_argnums=0, out_shardings=everywhere)

    def __call__(
        self, batches: Sequence[HostBatch], rates: Sequence[float], data: DeviceArrays
    ) -> Array:
        """Take a step on each batch; return the losses, without waiting for them."""
        steps = *self.devices.put_steps(batches), self.devices.put(rates)
        losses: Array
        self.arrays, losses = self.compiled(self.arrays, steps, data)
        return losses

    @staticmethod
    def fetch(losses: Sequence[Array]) -> list[float]:
        """Return the losses of steps, which are waited for."""
        return [float(loss) for losses_of_call in jax.device_get(losses) for loss in losses_of_call]

    def write_back(self) -> None:
        """Give the arrays to the model and the optimiser, until the next step."""
        nnx.update(self.objects, jax.tree.unflatten(self.structure, self.arrays))

    def scan(
        self, arrays: list[Array], steps: Any, data: DeviceArrays
    ) -> tuple[list[Array], Array]:
        """Take steps as a pure function."""

        def take(arrays: list[Array], step: Any) -> tuple[list[Array], Array]:
            objects = nnx.merge(self.graph, jax.tree.unflatten(self.structure, arrays))
            draws, images, rate = step
            if hasattr(draws, "seed"):
                nnx.reseed(objects, dropout=jax.random.key(draws.seed))
            batch = self.batch(draws, images, data, self.settings)
            loss = self.train_step(*objects, *batch, rate, self.settings)
            return jax.tree.leaves(nnx.state(objects)), loss

        if self.devices.platform != "cpu":
            result: tuple[list[Array], Array] = jax.lax.scan(take, arrays, steps)
            return result
        # Convolutions within a loop are forty times slower on a CPU.
        losses = []
        for number in range(len(steps[-1])):
            one = jax.tree.map(lambda array, number=number: array[number], steps)
            arrays, loss = take(arrays, one)
            losses.append(loss)
        return arrays, jnp.stack(losses)
