"""Where JAX computes, in what precision, a dataset there, and a training step compiled for it.

A batch is spread over all devices of all processes; all else is on each of them. Means over a batch
are those of the whole batch, which JAX sees to: a step is the same program for any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, NamedSharding

from cache import cache_folder
from data import Dataset
from settings import Count, Positive, fail

Draws = TypeVar("Draws", bound=tuple[Any, ...])
Objects = tuple[nnx.Module, nnx.Optimizer[Any]]
CONFIG: Any = jax.config
PartitionSpec: Any = jax.sharding.PartitionSpec
LOST = 75
"""The exit code of processes that lost another one: that of a run to be started again."""
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
    evaluation_batch_size: Annotated[
        Positive | None, "images evaluated at once (default: the batch size)"
    ] = None
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
            os._exit(LOST)

    @property
    def platform(self) -> str:
        """The kind of device: `cpu` or `gpu`."""
        return str(self.mesh.devices.flat[0].platform)

    def __str__(self) -> str:
        count = self.mesh.size
        return f"{f'{count} x ' if count > 1 else ''}{self.platform}, {self.precision}"

    @property
    def image_type(self) -> Any:
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

    def put_steps(self, draws: Sequence[Draws]) -> Draws:
        """Put the draws of several steps there: arrays [steps, batch, ...], numbers [steps]."""

        def put(*items: Any) -> Array:
            stacked = np.stack(items)
            return self.put(stacked, *(None, "batch")[: stacked.ndim])

        stacked: Draws = jax.tree.map(put, *draws)
        return stacked

    def prepare(self, model: nnx.Module) -> None:
        """Have a model compute in the precision; only float64 changes the type of weights."""
        if self.precision == "bfloat16":
            model.set_attributes(nnx.Conv, nnx.Linear, dtype=jnp.bfloat16)
        if self.precision == "float64":
            state = nnx.state(model, (nnx.Param, nnx.BatchStat))
            nnx.update(model, jax.tree.map(lambda array: jnp.asarray(array, jnp.float64), state))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["images", "labels", "statistics"],
    meta_fields=["devices"],
)
@dataclass(frozen=True)
class DeviceData:
    """A dataset on each device: images uint8 [N, H, W, C], labels int32 [N], their statistics."""

    images: Array
    labels: Array
    statistics: Any
    devices: Devices

    @staticmethod
    def of(dataset: Dataset, statistics: Any, devices: Devices) -> DeviceData:
        """Put a dataset there, with what `put_statistics` returns."""
        images, labels = devices.put(dataset.images), devices.put(dataset.labels.astype(np.int32))
        return DeviceData(images, labels, jax.tree.map(devices.put, statistics), devices)

    def rows(self, indices: Array) -> tuple[Array, Array]:
        """Return images [n, H, W, C] and labels [n] of the dataset's rows."""
        return self.images[indices], self.labels[indices]

    def batches(self, size: int) -> Iterator[tuple[Array, Array]]:
        """Yield rows in order, and which of them count: some of the last batch do not.

        There are `size` of them, or a few more so that all devices have as many.
        """
        count, devices = len(self.labels), self.devices.mesh.size
        size = -(-size // devices) * devices
        for start in range(0, count, size):
            rows = np.arange(start, start + size, dtype=np.int32)
            yield (
                self.devices.put(np.minimum(rows, count - 1), "batch"),
                self.devices.put(rows < count, "batch"),
            )


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
    loss; `batch` makes images and labels of a step's draws, the dataset and the settings. Passing
    NNX objects would cost milliseconds of Python in each call. While this is in use the objects'
    own arrays are gone, until `write_back`.
    """

    def __init__(
        self,
        train_step: Callable[..., Array],
        batch: Callable[[Any, DeviceData, Any], tuple[Array, Array]],
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

    def __call__(self, draws: Sequence[Any], rates: Sequence[float], data: DeviceData) -> Array:
        """Take a step for each draw; return the losses, without waiting for them."""
        steps = self.devices.put_steps(draws), self.devices.put(rates)
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

    def scan(self, arrays: list[Array], steps: Any, data: DeviceData) -> tuple[list[Array], Array]:
        """Take steps as a pure function."""

        def take(arrays: list[Array], step: Any) -> tuple[list[Array], Array]:
            objects = nnx.merge(self.graph, jax.tree.unflatten(self.structure, arrays))
            draws, rate = step
            if hasattr(draws, "seed"):
                nnx.reseed(objects, dropout=jax.random.key(draws.seed))
            batch = self.batch(draws, data, self.settings)
            loss = self.train_step(*objects, *batch, rate, self.settings)
            return jax.tree.leaves(nnx.state(objects)), loss

        # Convolutions within a loop are forty times slower on a CPU.
        unroll = self.devices.platform == "cpu" or 1
        result: tuple[list[Array], Array] = jax.lax.scan(take, arrays, steps, unroll=unroll)
        return result
