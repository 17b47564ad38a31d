"""Where PyTorch computes, in what precision, and a dataset there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augment import put_statistics
from data import Dataset, DataSets, Statistics
from processes import Processes, share_statistics
from report import Predictions
from run import Run
from settings import Count, Positive, fail
from streaming import StreamedDataset, ahead, rows, rows_together

Draws = TypeVar("Draws", bound=tuple[Any, ...])

TRACE = "trace.json"
UNPROFILED = 10
"""Steps that are not recorded: they compile, and fill caches."""
RESIDENT = 0.5
"""The share of a GPU's free memory that images may take; more of them stay with the host."""


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how to compute."""

    decisive: ClassVar[tuple[str, ...]] = ("precision", "local_batch_norm")

    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "tf32", "bfloat16", "float64"],
        "of convolutions; auto: bfloat16 on a GPU, else float32",
    ] = "auto"
    compile: Annotated[bool | None, "use torch.compile (default: on a GPU)"] = None
    local_batch_norm: Annotated[bool, "normalise each process's batch by itself"] = False
    evaluation_batch_size: Annotated[Positive | None, "default: that of training"] = None
    profile: Annotated[Count, "steps to record in trace.json of the run"] = 0


@dataclass(frozen=True)
class Place:
    """Where this process computes, in what precision, and with which others."""

    device: torch.device
    precision: str
    compiled: bool
    processes: Processes
    shared_statistics: bool = False

    def __str__(self) -> str:
        name = "cpu"
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        others = f", {self.processes.count} processes" if self.processes.count > 1 else ""
        return f"{name} in {self.precision}{', compiled' if self.compiled else ''}{others}"

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights, and of images."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def put(self, model: nn.Module) -> nn.Module:
        """Bring a model here, to train with the other processes."""
        model.to(self.device, self.dtype)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.shared_statistics:
            share_statistics(model)
        if self.compiled:
            model.compile()
        return model

    def say(self, text: str) -> None:
        """Tell the user, once for all processes."""
        if self.processes.rank == 0:
            print(text, flush=True)

    def rows(self, draws: Draws) -> Draws:
        """Return this process's part of what is drawn for all of them."""
        return rows(draws, self.processes.rank, self.processes.count)


def choose_place(options: Any) -> Place:
    """Meet the other processes, if any, and return where to compute.

    `options` are those of the run with its recipe. Exits with 2 where a batch cannot be shared out,
    and where there is no GPU but it is asked for.
    """
    processes = Processes.told()
    together = rows_together(options)
    if options.batch_size % (processes.count * together):
        each = f", each with a multiple of {together} images" if together > 1 else ""
        fail(
            f"--batch-size {options.batch_size}: cannot be divided among "
            f"{processes.count} processes{each}"
        )
    found = torch.cuda.is_available()
    if options.device == "gpu" and not found:
        fail("--device gpu: PyTorch finds no GPU")
    device = torch.device("cpu")
    if found and options.device != "cpu":
        if processes.local >= torch.cuda.device_count():
            fail(f"{processes.local + 1} processes for {torch.cuda.device_count()} GPUs")
        device = torch.device("cuda", processes.local)
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    precision = _precision(options, device)
    # PyTorch's own choice is float32 for matrices, but TF32 for convolutions.
    torch.backends.cudnn.allow_tf32 = precision in ("tf32", "bfloat16")
    torch.backends.cuda.matmul.allow_tf32 = precision in ("tf32", "bfloat16")
    processes.join(device)
    compiled = device.type == "cuda" if options.compile is None else options.compile
    shared = processes.count > 1 and not options.local_batch_norm
    return Place(device, precision, compiled, processes, shared)


def autocast(device: torch.device, options: DeviceOptions) -> torch.autocast:
    """Return the context that runs convolutions in the precision asked for."""
    enabled = _precision(options, device) == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _precision(options: DeviceOptions, device: torch.device) -> str:
    if options.precision != "auto":
        return options.precision
    return "bfloat16" if device.type == "cuda" else "float32"


def profiled(run: Run, count: int) -> Iterator[int]:
    """Yield a run's steps, and record `count` of them in its folder's trace.json.

    chrome://tracing and https://ui.perfetto.dev show it.
    """
    if not count or not run.writes:
        yield from run.steps()
        return
    with torch.profiler.profile(
        schedule=torch.profiler.schedule(wait=UNPROFILED - 1, warmup=1, active=count, repeat=1),
        on_trace_ready=lambda found: found.export_chrome_trace(str(run.folder.path / TRACE)),
    ) as profiler:
        for step in run.steps():
            yield step
            profiler.step()


class DeviceData:
    """A dataset for a place: its images on the GPU if they fit, else fetched when they are due."""

    def __init__(
        self, dataset: Dataset | StreamedDataset, statistics: Statistics, place: Place
    ) -> None:
        self.dataset = dataset
        self.place = place
        self.device, self.dtype = place.device, place.dtype
        self.statistics = put_statistics(statistics, place.device, place.dtype)
        self.labels = torch.tensor(dataset.labels, device=place.device)
        self._resident: Tensor | None = None
        if isinstance(dataset, Dataset) and place.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(place.device)
            if dataset.images.nbytes <= RESIDENT * free:
                self._resident = torch.tensor(dataset.images, device=place.device)

    def __len__(self) -> int:
        return len(self.labels)

    def put(self, crops: Iterable[NDArray[Any] | None]) -> list[Tensor | None]:
        """Return crops, as maps, on the device."""
        return [None if crop is None else torch.tensor(crop, device=self.device) for crop in crops]

    def ahead(
        self, draw: Callable[..., Draws], recipe: object, steps: Iterable[int]
    ) -> Iterator[tuple[Tensor, Tensor, Draws]]:
        """Yield uint8 images [n, H, W, C], labels [n] and draws of each step.

        They are made ahead, in a thread, from what `draw` returns for a step and all processes.
        """

        def make(step: int) -> tuple[Tensor | None, Draws]:
            draws = self.place.rows(draw(step, len(self), recipe, self.dataset.sizes))
            images = None
            if self._resident is None:
                boxes = getattr(draws, "parts", None)
                images = self._pinned(self.dataset.read(draws[0], boxes))
            return images, _converted(draws, self._pinned)

        with ahead(make, steps) as made:
            for images, host in made:
                draws = put_draws(host, self.device)
                indices = draws[0]
                if images is None:
                    assert self._resident is not None
                    yield self._resident[indices], self.labels[indices], draws
                else:
                    images = images.to(self.device, non_blocking=True)
                    yield images, self.labels[indices], draws

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the process's share of all images in order, always `size` of them.

        At the end of the last share the last image is repeated.
        """
        rank, processes = self.place.processes.rank, self.place.processes.count
        share = -(-len(self) // (size * processes)) * size
        places = np.arange(rank * share, (rank + 1) * share).clip(max=len(self) - 1)

        def make(start: int) -> Tensor:
            indices = places[start : start + size]
            if self._resident is not None:
                return self._resident[torch.from_numpy(indices).to(self.device)]
            return self._pinned(self.dataset.read(indices))

        with ahead(make, range(0, share, size)) as made:
            for images in made:
                yield images.to(self.device, non_blocking=True)

    def predictions(self, logarithms: Tensor) -> Predictions:
        """Return for a report what the logarithms of probabilities [N, classes] say."""
        return Predictions.of(self.dataset, logarithms.cpu().numpy())

    def _pinned(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor that a GPU can copy by itself."""
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor
        # A thread starts with the first GPU, whichever its process has chosen.
        with torch.cuda.device(self.device):
            return tensor.pin_memory()


def put_data(data: DataSets, place: Place) -> tuple[DeviceData, DeviceData, DeviceData]:
    """Return what to train on, what to watch, which is the test set if none is held out, and it."""
    training, test = (
        DeviceData(part, data.statistics, place) for part in (data.training, data.test)
    )
    watched = DeviceData(data.validation, data.statistics, place) if data.validation else test
    return training, watched, test


def put_draws(draws: Draws, device: torch.device) -> Draws:
    """Return the draws of a step with their arrays, or tensors, on the device."""

    def put(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array).to(device, non_blocking=True)

    return _converted(draws, put)


def _converted(draws: Draws, convert: Callable[[Any], Tensor]) -> Draws:
    arrays = (np.ndarray, Tensor)
    return type(draws)(*(convert(x) if isinstance(x, arrays) else x for x in draws))
