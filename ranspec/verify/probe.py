"""The part of a backend's probe that all backends share: jobs in, measurements out.

`python -m ranspec_torch.probe JOBS.json` runs generated code, and nothing but generated code, on
given weights and batches. One process runs many jobs, each of a built folder of its own.
"""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TRAINING, EVALUATION, GRADIENT, FIRST = "training.", "evaluation.", "gradient.", "first."
"""Prefixes of a measurement's arrays: outputs of layers in either mode, gradients of the first
step, and the statistics it left."""
INITIAL = "initial."
"""Prefix of the weights and statistics that a program starts from by itself."""
LOGITS, EVALUATION_LOGITS, LOSSES, RATES = "logits", "evaluation_logits", "losses", "rates"

OPTIMIZER = "optimizer."

RECORDER = "__record__"
"""What the recorder is called in a model that tells of its values."""

Compilation = Literal["none", "quick", "full"]
"""How a step is compiled: run op by op, compiled as fast as can be, or to run fast."""


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
    settings: Mapping[str, Any]
    positions: Sequence[int]
    """Where each step stands in the recipe's schedule."""
    landmarks: Sequence[int]
    """Where else the recipe's own learning rate is to be told."""
    plateau: bool
    """Whether these positions are reductions on a plateau; else they are steps."""
    layers: bool
    """Whether to record every value that the network computes on its way."""
    compilation: Compilation


@dataclass(frozen=True)
class Observation:
    """What a training step saw on its way; gradients by canonical name and in its layout."""

    logits: Array
    loss: float
    gradients: Mapping[str, Array]


class Session(Protocol):
    """A generated network with its optimiser, in a framework; images are (N, C, H, W)."""

    @property
    def initial(self) -> Mapping[str, Array]:
        """The weights and statistics that the program starts from by itself, by canonical name."""

    def logits(self, images: Array) -> Array:
        """Evaluate the network, in evaluation mode."""

    def observe(self, images: Array, labels: Array, learning_rate: float) -> Observation:
        """Take a training step and tell what it saw."""

    def step(self, images: Array, labels: Array, learning_rate: float) -> float:
        """Take a training step and return the loss."""

    def state(self) -> dict[str, Array]:
        """Return weights, statistics and optimiser state by canonical name."""

    def forward(self, images: Array, *, training: bool) -> None:
        """Evaluate the network op by op."""

    def canonical(self, value: Array) -> Array:
        """Return a feature map of the framework with channels before positions."""


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
    compilation: Compilation


def main(open_session: Callable[[Start], Session]) -> None:
    """Serve jobs with a framework's sessions on generated code."""

    def measure(job: Job) -> None:
        measured: dict[str, Array] = {}
        if job.layers:
            with imported(recording_copy(Path(job.folder))) as code:
                measured = values(job, code, open_session)
        with imported(Path(job.folder)) as code:
            run(job, code, open_session, measured)

    serve(measure)


def serve(measure: Callable[[Job], None]) -> None:
    """Run the jobs of the file named on the command line; a job's error is left beside it."""
    for item in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        job = Job(**item)
        try:
            measure(job)
        except Exception:
            error_file(Path(job.result)).write_text(traceback.format_exc(), encoding="utf-8")


def run(
    job: Job, code: Code, open_session: Callable[[Start], Session], measured: dict[str, Array]
) -> None:
    """Measure one network, add to what is measured of it already, and write the results."""
    start, manifest = _start(job, code)
    images, labels = _batches(job)
    session = open_session(start)
    measured |= {INITIAL + name: array for name, array in session.initial.items()}
    own = code.train.Settings()
    measured[RATES] = np.array([_rate(job, code, position, own) for position in job.landmarks])
    measured[EVALUATION_LOGITS] = session.logits(images[0])
    losses = []
    for count, position in enumerate(job.positions):
        batch = images[count % len(images)], labels[count % len(images)]
        rate = _rate(job, code, position, start.settings)
        if count:
            losses.append(session.step(*batch, rate))
            continue
        seen = session.observe(*batch, rate)
        losses.append(seen.loss)
        measured[LOGITS] = seen.logits
        measured |= {GRADIENT + name: array for name, array in seen.gradients.items()}
        measured |= {
            FIRST + name: array
            for name, array in session.state().items()
            if name not in seen.gradients and not name.startswith(OPTIMIZER)
        }
    measured[LOSSES] = np.array(losses, np.float64)
    final = type(manifest)(**asdict(manifest) | {"step": manifest.step + len(job.positions)})
    code.checkpoint.save(Path(job.saved), session.state(), final)
    write_arrays(Path(job.result), measured)


def values(job: Job, code: Code, open_session: Callable[[Start], Session]) -> dict[str, Array]:
    """Return every feature map and vector that a network computes, in training and evaluation.

    They are numbered under the prefix of the mode: they have no names in the code that runs.
    """
    images, _ = _batches(job)
    found: dict[str, Array] = {}
    for prefix, training in ((TRAINING, True), (EVALUATION, False)):
        setattr(code.model, RECORDER, lambda value: value)
        session = open_session(_start(job, code)[0])

        def record(value: Any, prefix: str = prefix, session: Session = session) -> Any:
            if hasattr(value, "dtype") and len(getattr(value, "shape", ())) in (2, 4):
                found[f"{prefix}{len(found)}"] = session.canonical(np.array(value))
            return value

        setattr(code.model, RECORDER, record)
        session.forward(images[0], training=training)
    return found


def recording_copy(folder: Path) -> Path:
    """Copy a built folder, with a model that tells a recorder of each value it computes."""
    copy = folder.with_name(f"{folder.name}_recording")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    model = copy / "model.py"
    tree = _Recording().visit(ast.parse(model.read_text(encoding="utf-8")))
    model.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
    return copy


class _Recording(ast.NodeTransformer):
    """Passes the value of each expression in a method to the recorder."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if node.name != "__init__":
            node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return self._recorded(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._recorded(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return self._recorded(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [
            self.visit(part) if isinstance(part, ast.FunctionDef) else part for part in node.body
        ]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _recorded(self, node: ast.expr) -> ast.expr:
        self.generic_visit(node)
        if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            return ast.Call(ast.Name(RECORDER, ast.Load()), [node], [])
        return node


def _start(job: Job, code: Code) -> tuple[Start, Any]:
    tensors, manifest = code.checkpoint.load(Path(job.checkpoint))
    settings = code.train.Settings(**job.settings)
    model_class = getattr(code.model, job.model_class)
    return (
        Start(code, model_class, tensors, manifest.step, job.dtype, settings, job.compilation),
        manifest,
    )


def _batches(job: Job) -> tuple[Array, Array]:
    with np.load(job.batches) as batches:
        return batches["images"].astype(job.dtype), batches["labels"]


def _rate(job: Job, code: Code, position: int, settings: Any) -> float:
    """Ask the program itself for a learning rate."""
    place = code.train.Progress(reductions=position) if job.plateau else position
    return float(code.train.learning_rate(place, settings))


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write named arrays."""
    named: dict[str, Any] = dict(arrays)
    np.savez(path, **named)


def error_file(result: Path) -> Path:
    """Return where the error of a job is written that fails."""
    return result.with_suffix(".error")


def channels_first(value: Array) -> Array:
    """Return a feature map with channels before positions, from one with channels last."""
    return value.transpose(0, 3, 1, 2) if value.ndim == 4 else value


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
