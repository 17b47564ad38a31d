"""The part of a backend's probe that all backends share: jobs in, measurements out.

`python -m ranspec_torch.probe JOBS.json` runs generated code, and nothing but generated code, on
given weights and batches. One process runs many jobs, each of a built folder of its own.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TRAINING, EVALUATION, GRADIENT, FIRST = "training.", "evaluation.", "gradient.", "first."
"""Prefixes of a measurement's arrays: outputs of layers in either mode, gradients of the first
step, and the state it left."""
LOGITS, EVALUATION_LOGITS, LOSSES = "logits", "evaluation_logits", "losses"


@dataclass(frozen=True)
class Job:
    """One measurement: paths, and how to run the generated code.

    `checkpoint` is where training starts, `saved` the checkpoint after `steps` steps; `batches`
    holds images (K, N, C, H, W) and labels (K, N), used in turn; `result` is for measurements.
    """

    folder: str
    model_class: str
    checkpoint: str
    batches: str
    result: str
    saved: str
    dtype: str
    steps: int
    settings: Mapping[str, Any]
    layers: bool
    """Whether to record the output of every layer that owns parameters."""


@dataclass(frozen=True)
class Observation:
    """What a training step saw on its way; gradients by canonical name and in its layout."""

    logits: Array
    loss: float
    gradients: Mapping[str, Array]


class Session(Protocol):
    """A generated network with its optimiser, in a framework; images are (N, C, H, W)."""

    def logits(self, images: Array) -> Array:
        """Evaluate the network, in evaluation mode."""

    def observe(self, images: Array, labels: Array, learning_rate: float) -> Observation:
        """Take a training step and tell what it saw."""

    def step(self, images: Array, labels: Array, learning_rate: float) -> float:
        """Take a training step and return the loss."""

    def state(self) -> dict[str, Array]:
        """Return weights, statistics and optimiser state by canonical name."""

    def layers(self, images: Array, *, training: bool) -> dict[str, Array]:
        """Return the outputs of layers by path; the state afterwards does not matter."""


@dataclass(frozen=True)
class Code:
    """The modules of a built folder."""

    model: ModuleType
    train: ModuleType
    weights: ModuleType
    checkpoint: ModuleType


@dataclass(frozen=True)
class Start:
    """All that a session needs: the code, where training starts, and the settings."""

    code: Code
    model_class: type[Any]
    tensors: Mapping[str, Array]
    step: int
    dtype: str
    settings: Any
    """An instance of the generated `Settings`."""


def main(open_session: Callable[[Start], Session]) -> None:
    """Serve jobs with a framework's sessions on generated code."""

    def measure(job: Job) -> None:
        with imported(Path(job.folder)) as code:
            run(job, code, open_session)

    serve(measure)


def serve(measure: Callable[[Job], None]) -> None:
    """Run the jobs of the file named on the command line; a job's error is left beside it."""
    for item in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        job = Job(**item)
        try:
            measure(job)
        except Exception:
            error_file(Path(job.result)).write_text(traceback.format_exc(), encoding="utf-8")


def run(job: Job, code: Code, open_session: Callable[[Start], Session]) -> None:
    """Measure one network and write the results."""
    tensors, manifest = code.checkpoint.load(Path(job.checkpoint))
    with np.load(job.batches) as batches:
        images, labels = batches["images"].astype(job.dtype), batches["labels"]
    settings = code.train.Settings(**job.settings)
    model_class = getattr(code.model, job.model_class)
    start = Start(code, model_class, tensors, manifest.step, job.dtype, settings)
    measured: dict[str, Array] = {}
    if job.layers:
        for prefix, training in ((TRAINING, True), (EVALUATION, False)):
            outputs = open_session(start).layers(images[0], training=training)
            measured |= {prefix + name: array for name, array in outputs.items()}
    session = open_session(start)
    measured[EVALUATION_LOGITS] = session.logits(images[0])
    losses = []
    for position in range(job.steps):
        batch = images[position % len(images)], labels[position % len(images)]
        rate = code.train.learning_rate(manifest.step + position, settings)
        if position:
            losses.append(session.step(*batch, rate))
            continue
        seen = session.observe(*batch, rate)
        losses.append(seen.loss)
        measured[LOGITS] = seen.logits
        measured |= {GRADIENT + name: array for name, array in seen.gradients.items()}
        measured |= {FIRST + name: array for name, array in session.state().items()}
    measured[LOSSES] = np.array(losses, np.float64)
    final = type(manifest)(**asdict(manifest) | {"step": manifest.step + job.steps})
    code.checkpoint.save(Path(job.saved), session.state(), final)
    write_arrays(Path(job.result), measured)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write named arrays."""
    named: dict[str, Any] = dict(arrays)
    np.savez(path, **named)


def error_file(result: Path) -> Path:
    """Return where the error of a job is written that fails."""
    return result.with_suffix(".error")


def canonical(output: Array) -> Array:
    """Return a layer's output with channels before positions, from one with channels last."""
    return output.transpose(0, 3, 1, 2) if output.ndim == 4 else output


@contextmanager
def recorded(
    types: set[type[Any]], method: str, record: Callable[[Any, Any], None]
) -> Iterator[None]:
    """Tell `record` of every layer of some types whose `method` runs, and of its output."""
    originals = {kind: getattr(kind, method) for kind in types}

    def recording(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, *inputs: Any, **options: Any) -> Any:
            output = original(layer, *inputs, **options)
            record(layer, output)
            return output

        return call

    for kind, original in originals.items():
        setattr(kind, method, recording(original))
    try:
        yield
    finally:
        for kind, original in originals.items():
            setattr(kind, method, original)


@contextmanager
def imported(folder: Path) -> Iterator[Code]:
    """Import a built folder's modules as a run of its train.py would, and forget them after."""
    names = {path.stem for path in folder.glob("*.py")}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield Code(*(importlib.import_module(name) for name in Code.__annotations__))
    finally:
        sys.path.remove(str(folder))
        for name in names & sys.modules.keys():
            del sys.modules[name]
