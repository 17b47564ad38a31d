"""A run of training, whatever the framework: all that is not mathematics.

    run = Run(settings, plan, network=..., digest=..., data=..., framework=..., device=...)
    with run:
        for step in run.steps():                  # to the last step, to an early stop, or a signal
            run.add(train_step(..., run.learning_rate(step)))
            if run.evaluation_due():
                run.evaluated(evaluate(...))
            if run.checkpoint_due():
                run.save(state)
        run.finished(run.tested or evaluate(...))

A run owns its folder, see folder.py. Started again there, it goes on from its newest checkpoint
where network, spec, data and settings are the same, in whichever framework, and its weights become
those of a run that was never ended. It exits with

    0   finished
    1   a loss, or a weight, became infinite or NaN: the last good checkpoint is kept
    2   something asked for is not possible; nothing was changed
    74  a file could not be written: the last checkpoint is whole
    75  ended by a signal, with a checkpoint: start it again to go on
"""

from __future__ import annotations

import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from errno import EDQUOT, ENOSPC
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np

from checkpoint import Array, CheckpointError, Manifest, load
from console import Console
from folder import (
    BEST,
    DIVERGED,
    METRICS,
    REPLACED,
    REPORT,
    FolderError,
    Lock,
    Restored,
    RunFolder,
    now,
    whereabouts,
)
from identity import as_json, built_from, decisive, differences
from images import DataError
from metrics import MetricsLog, Stopwatch, accuracies, prefixed
from progress import Progress, advance, recorded
from report import Predictions, report
from settings import Amount, Positive, fail

DIVERGENCE, UNWRITTEN, INTERRUPTED, ENDED_AT_ONCE = 1, 74, 75, 130
AGREE_EVERY = 10
"""Steps between the questions to other processes whether to end: each is a synchronisation."""
EVENTS = "tensorboardX"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@dataclass(frozen=True)
class RunOptions:
    """How a run is kept; none of these changes its result."""

    decisive: ClassVar[tuple[str, ...]] = ()

    output: Annotated[Path | None, "folder of the run (default: runs/NETWORK/FRAMEWORK)"] = None
    resume: Annotated[
        str, "checkpoint to go on from; auto: the newest of the folder, if there is one"
    ] = "auto"
    overwrite: Annotated[bool, "begin anew in the place of the run in the folder"] = False
    weights: Annotated[Path | None, "checkpoint to take initial weights from"] = None
    evaluate: Annotated[bool, "only evaluate --weights"] = False
    evaluate_every: Annotated[
        Positive | None, "steps between evaluations (default: 20 in all; with validation, epochs)"
    ] = None
    log_every: Annotated[Positive | None, "steps between lines of metrics (default: up to 100)"] = (
        None
    )
    checkpoint_every: Annotated[
        Positive | None, "steps between checkpoints, beside those at evaluations"
    ] = None
    checkpoint_minutes: Annotated[Amount, "and after so many minutes"] = 10.0
    keep: Annotated[Positive, "newest checkpoints to keep, beside the best"] = 2
    tensorboard: Annotated[bool, "write events for TensorBoard, with tensorboardX"] = False

    def __post_init__(self) -> None:
        if self.evaluate and not self.weights:
            raise ValueError("evaluate needs --weights")
        if self.overwrite and self.resume != "auto":
            raise ValueError("overwrite begins anew, resume goes on: one of them is meant")


@dataclass(frozen=True)
class Plan:
    """What a run follows: `iterations` and `batch_size` of a recipe, and its learning rate.

    `learning_rate` is a function of the 0-based step, of how often a plateau has reduced the rate,
    and of the recipe. `validated` runs are evaluated after each epoch, on images held out, others
    every so many steps on the test set. `patience` evaluations without a better one reduce the
    rate, `early_stopping` of them end the run.
    """

    recipe: Any
    learning_rate: Callable[[int, int, Any], float]
    validated: bool = False
    patience: int | None = None
    early_stopping: int | None = None
    restore_best: bool = False

    @property
    def iterations(self) -> int:
        """Steps of the whole run."""
        return int(self.recipe.iterations)

    @property
    def batch_size(self) -> int:
        """Images of a step, on all devices together."""
        return int(self.recipe.batch_size)

    def rate(self, step: int, reductions: int) -> float:
        """Return the learning rate of a 0-based step."""
        return self.learning_rate(step, reductions, self.recipe)

    def stops(self, progress: Progress) -> bool:
        """Tell whether what evaluations have shown ends the run."""
        return self.early_stopping is not None and progress.stale >= self.early_stopping

    def differences(self, there: Manifest) -> list[str]:
        """Say whether the run of a checkpoint would have taken other steps to come there."""
        before, here = (there.settings or {}).get("iterations"), self.iterations
        if before is None or before == here:
            return []
        if here < there.step:
            return [f"--iterations: {there.step} steps taken there, {here} asked for here"]
        earlier = replace(self, recipe=replace(self.recipe, iterations=before))
        if all(earlier.rate(step, 0) == self.rate(step, 0) for step in range(there.step)):
            return []
        return [
            f"--iterations: {before} there, {here} here, "
            f"with which the {there.step} steps taken would have had other learning rates"
        ]


class Data(Protocol):
    """What a run is to know of its images."""

    @property
    def digest(self) -> str:
        """A hash of the images and labels."""

    @property
    def training(self) -> Sized:
        """The images of an epoch."""

    def record(self) -> dict[str, Any]:
        """Return what the configuration keeps of them."""

    def summary(self) -> str:
        """Return what to tell a person of them."""


@contextmanager
def explained() -> Iterator[None]:
    """Exit with a word instead of a traceback where a user's mistake, or Ctrl-C, ends a program."""
    try:
        yield
    except (CheckpointError, DataError, FolderError, RunError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(ENDED_AT_ONCE)


class RunError(Exception):
    """A run cannot be begun or gone on with; the message says why, and what to do."""


class Run:
    """A run of training in a folder of its own; see the head of this file.

    `restored` is what to go on from, if anything: tensors and manifest. `precision` is what the
    settings' own has come to mean on the device. `fetch` turns what
    `add` was given into floats, one a step. Of several processes one `writes`; `agree` tells each
    whether any of them says yes, and is asked every `AGREE_EVERY` steps, by all at the same ones.
    `state_bytes` is about the size of a checkpoint, for which there has to be room.

    Raises RunError, FolderError or CheckpointError, before anything is changed. Exits with 0 where
    the run has finished before.
    """

    def __init__(
        self,
        settings: Any,
        plan: Plan,
        *,
        network: str,
        digest: str,
        data: Data,
        framework: str,
        device: str,
        precision: str | None = None,
        writes: bool = True,
        agree: Callable[[bool], bool] | None = None,
        fetch: Callable[[Sequence[Any]], Sequence[float]] | None = None,
        state_bytes: int = 0,
    ):
        self.settings = replace(settings, precision=precision) if precision else settings
        self.plan = plan
        self.writes = writes
        self._agree = agree
        self._fetch = fetch or _floats
        self._identity = {"network": network, "digest": digest, "data": data.digest}
        self._settings = decisive(self.settings)
        self._images = data.record()
        self._of_images = data.summary()
        self._place = {"framework": framework, "device": device}
        self._epoch = max(1, len(data.training) // plan.batch_size)
        self._log_every = settings.log_every or min(100, _twentieth(plan.iterations))
        self._evaluate_every = settings.evaluate_every or _twentieth(plan.iterations)
        default = Path("runs", network, framework.partition(" ")[0])
        self.folder = RunFolder(settings.output or default, settings.keep)
        self._console = Console(shown=writes)
        self._lock: Lock | None = None
        self._config: dict[str, Any] = {}
        self._warnings: list[str] = []
        self._source = self.folder.path

        self.restored = self._prepare(state_bytes)
        manifest = self.restored[1] if self.restored else None
        self.first_step = manifest.step if manifest else 0
        self.progress = recorded(manifest.progress if manifest else None)
        window = (manifest and manifest.window) or {}
        self._count, self._total = int(window.get("count", 0)), float(window.get("total", 0.0))
        self._leave_if_finished()
        if self.restored and settings.weights:
            self._warnings.append("the run goes on: --weights is for one that begins")
        if self.restored and self._config.get("state") == "diverged":
            self._warnings.append("the run diverged when it was last here, and will again alike")
        if self.progress.best_step and self._find_best() is None:
            if plan.restore_best:
                raise RunError(self._no_best())
            self._warnings.append(self._no_best())

        self._done = self.first_step
        self._block = range(self._done, self._done)
        self._pending: list[Any] = []
        self._pending_steps = 0
        self._results: dict[str, float] | None = None
        self._evaluated_at = -1
        self._improved = False
        self._is_finished = False
        self._diverged: dict[str, Any] | None = None
        self._reported = False
        self._signal: str | None = None
        self._ending: int | None = None
        self._saved_at = self._done
        self._watch = Stopwatch()

    @property
    def remaining(self) -> range:
        """The steps that are still to be taken."""
        return range(self.first_step, self.plan.iterations)

    @property
    def tested(self) -> dict[str, float] | None:
        """What the test set has shown after the last step, where it has been asked."""
        return None if self.plan.validated or self._evaluated_at != self._done else self._results

    @property
    def best(self) -> dict[str, Array] | None:
        """The tensors of the best evaluation, where the recipe goes back to them."""
        if not self.plan.restore_best or not self.progress.best_step:
            return None
        found = self._find_best()
        if found is None:
            raise RunError(self._no_best())
        return load(found)[0]

    def learning_rate(self, step: int) -> float:
        """Return the rate of a 0-based step, after what evaluations have shown."""
        return self.plan.rate(step, self.progress.reductions)

    # --- Beginning and end ---

    def __enter__(self) -> Self:
        self._require_same_start()
        self.restored = None  # Not to be kept in memory beside the model.
        self._started = now()
        self._console.begin(self.plan.iterations, self._done)
        if self.writes:
            with self._writing():
                self._open()
        for warning in self._warnings:
            self._console.message(f"warning: {warning}")
        self._console.message(self._of_images)
        if self._done:
            self._console.message(f"{self.folder.path}: going on after step {self._done}")
        self._console.phase("starting")
        self._saved_time = time.monotonic()
        self._handlers = _handle(self._on_signal)
        return self

    def _require_same_start(self) -> None:
        """Raise RunError, in all processes, unless all go on from the same step."""
        if self._agree is None:
            return
        apart = False
        for bit in range(self.plan.iterations.bit_length()):
            set_here = bool(self.first_step >> bit & 1)
            set_anywhere, clear_anywhere = self._agree(set_here), self._agree(not set_here)
            apart = apart or (set_anywhere and clear_anywhere)
        if apart:
            raise RunError(
                f"{self.folder.path}: this process would go on from step {self.first_step}, others "
                "from another: --output has to be a folder that all see alike"
            )

    def _open(self) -> None:
        """Write what stands in the folder before the first step."""
        if self.settings.overwrite and self.folder.set_aside():
            self._warnings.append(
                f"what was in {self.folder.path} is in its {REPLACED} until the first checkpoint"
            )
        self._say_in_config("running")
        (self.folder.path / DIVERGED).unlink(missing_ok=True)
        if self.settings.resume != "auto":
            self.folder.adopt(Path(self.settings.resume))
        best = self._find_best()
        if best:
            self.folder.mark_best(best)
        events = None
        if self.settings.tensorboard:
            writer = import_module(EVENTS).SummaryWriter
            # Files are called after the second that they were made in, which two starts may share.
            suffix = f".{self._done}"
            events = writer(
                str(self.folder.path), purge_step=self._done + 1, filename_suffix=suffix
            )
        origin = self._source / METRICS
        self._log = MetricsLog(
            self.folder.path / METRICS,
            self._done,
            origin=origin if origin.is_file() else None,
            events=events,
        )

    def _find_best(self) -> Path | None:
        step = self.progress.best_step
        return self.folder.find(step, self._source) if step else None

    def _no_best(self) -> str:
        return f"{self.folder.path / BEST}: not of step {self.progress.best_step}, the best one"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._console.tell()
        self._console.close()
        try:
            if self.writes:
                with suppress(OSError):
                    self._log.close()
                    self._say_in_config(self._outcome(error))
        finally:
            if self._lock:
                self._lock.release()
        if isinstance(error, KeyboardInterrupt):
            self._console.message(f"ended at once; {self._kept()}")
            raise SystemExit(ENDED_AT_ONCE) from None

    def _outcome(self, error: BaseException | None) -> str:
        if self._ending == DIVERGENCE:
            return "diverged"
        if isinstance(error, KeyboardInterrupt) or self._ending == INTERRUPTED:
            return "interrupted"
        if error is not None:
            return "failed"
        return "finished" if self._is_finished else "interrupted"

    def finished(
        self, results: Mapping[str, float], predictions: Predictions | None = None
    ) -> None:
        """Take the results of the test set after the last step, and say where all lies.

        `predictions` of the test set are for report.html.
        """
        self._results = dict(results)
        self._is_finished = True
        if self.writes:
            with self._writing():
                last = [record for record in self._log.records() if record["step"] == self._done]
                if not any("test_accuracy" in record for record in last):
                    self._log.write(step=self._done, **prefixed("test", results))
                self._log.sync()
                page = report(self._say_in_config("finished"), self._log.records(), predictions)
                self.folder.write_text(REPORT, page)
        self._console.tell()
        self._console.close()
        self._console.result(f"test accuracy: {accuracies(results)}")
        self._console.result(f"results:       {self.folder.path.resolve()} ({REPORT})")

    # --- The loop ---

    def steps(self) -> Iterator[int]:
        """Yield each 0-based step to take."""
        for block in self.blocks(1):
            yield block.start

    def blocks(self, most: int) -> Iterator[range]:
        """Yield the steps to take, up to `most` at once, none beyond one after which lines are due.

        For loops that take several steps in one dispatch, and `add` their losses as one array.
        """
        while self._done < self.plan.iterations and not self.plan.stops(self.progress):
            if self._agree is None:
                self._settle_divergence()
            self._leave_if_ending()
            self._console.tell()
            start, stop = self._done, self._boundary(self._done, self._done + most)
            self._block = range(start, stop)
            self._watch.go(start)
            yield self._block
            if self._done != stop:
                raise RuntimeError(f"the loss of step {self._done} was not added")
        # Where other processes are asked, none goes on before the last checkpoint is whole.
        self._settle_divergence()
        self._leave_if_ending()

    def add(self, loss: Any) -> None:
        """Take the losses of the steps in hand, which may stay on the device."""
        self._pending.append(loss)
        self._pending_steps += len(self._block)
        self._done = self._block.stop
        self._console.advance(len(self._block))
        if self._watch.warming_up():
            self._drain()
            self._watch.warmed_up()
            self._console.phase("training")
        if self._line_due():
            self._write_line()
        if self._agree is None or self._done % AGREE_EVERY == 0 or self._is_last():
            self._settle()

    def evaluation_due(self) -> bool:
        """Tell whether to evaluate after the step in hand."""
        if self._ending == DIVERGENCE:
            return False
        due = self._is_last() or self._done % self._evaluation_interval() == 0
        if due:
            self._pause("evaluating")
        return due

    def evaluated(self, results: Mapping[str, float]) -> None:
        """Take what an evaluation has shown."""
        name = "validation" if self.plan.validated else "test"
        self._results, self._evaluated_at = dict(results), self._done
        if self.writes:
            with self._writing():
                self._log.write(step=self._done, **prefixed(name, results))
        # A validated run counts epochs: one that is cut off by the last step does not count.
        if self._done % self._evaluation_interval() == 0 or not self.plan.validated:
            before = self.progress.best_step
            self.progress = advance(
                self.progress,
                step=self._done,
                accuracy=results["accuracy"],
                patience=self.plan.patience,
            )
            self._improved = self.progress.best_step != before
        text = f"step {self._done}: {name} accuracy {accuracies(results)}"
        self._console.later(text, result=True)
        self._console.phase("training")

    def checkpoint_due(self) -> bool:
        """Tell whether to save after the step in hand."""
        if not self.writes:
            return False
        every = self.settings.checkpoint_every
        waited = time.monotonic() - self._saved_time
        due = (
            self._is_last()
            or self._ending is not None
            or self._diverged is not None
            or self._evaluated_at == self._done
            or bool(every and self._done % every == 0)
            or waited >= 60 * self.settings.checkpoint_minutes
        )
        if due:
            self._pause("saving")
        return due

    def save(self, state: Mapping[str, Array]) -> None:
        """Write a checkpoint of the state after the step in hand, unless that is not finite."""
        if not self.writes:
            return
        spoilt = [name for name, array in sorted(state.items()) if not np.isfinite(array).all()]
        if spoilt and self._diverged is None:
            self._diverged = {"step": self._done, "loss": None}
        if self._diverged is not None or self._ending == DIVERGENCE:
            self._report_divergence(spoilt)
            return
        manifest = Manifest(
            self._identity["network"],
            self._done,
            self.plan.recipe.seed,
            self.plan.batch_size,
            progress=asdict(self.progress),
            window={"count": self._count, "total": self._total},
            digest=self._identity["digest"],
            data=self._identity["data"],
            settings=self._settings,
        )
        with self._writing():
            self._log.sync()
            self.folder.save(state, manifest, best=self._improved)
        self._improved = False
        self._saved_at, self._saved_time = self._done, time.monotonic()
        self._console.phase("training")
        self._console.tell()

    # --- What is behind ---

    def _prepare(self, state_bytes: int) -> Restored | None:
        """Lock the folder, and return what to go on from after checks."""
        settings, path = self.settings, self.folder.path
        if settings.tensorboard and find_spec(EVENTS) is None:
            raise RunError(f"--tensorboard needs {EVENTS}: pip install {EVENTS}")
        if self.writes:
            self._lock = self.folder.prepare()
            self._require_space(state_bytes)
        if settings.overwrite:
            return None
        self._config = self.folder.config()
        restored, self._warnings = self.folder.restore()
        if restored:
            self._require_same_run(path, restored[1])
        if settings.resume != "auto":
            restored, self._warnings = load(Path(settings.resume)), []
            self._require_same_run(settings.resume, restored[1])
            self._source = Path(settings.resume).parent
        if restored and self.writes:
            self._require_space(sum(array.nbytes for array in restored[0].values()))
        return restored

    def _require_space(self, size: int) -> None:
        try:
            self.folder.require_space(size)
        except OSError as error:
            message = f"{self.folder.path}: no room for checkpoints: {error.strerror}"
            raise FolderError(message) from None

    def _require_same_run(self, where: str | Path, there: Manifest) -> None:
        if there.settings is None:
            raise RunError(f"{where}: holds weights and no run: give it as --weights")
        found = differences(there, self._identity, self._settings)
        if found or (found := self.plan.differences(there)):
            raise RunError(
                f"{where}: holds another run, of {there.step} steps:\n"
                + "".join(f"  {line}\n" for line in found)
                + "choose another --output, or --overwrite to begin anew in its place"
            )

    def _leave_if_finished(self) -> None:
        over = self.first_step >= self.plan.iterations or self.plan.stops(self.progress)
        if over and self._config.get("state") == "finished":
            self._console.result(
                f"{self.folder.path}: finished after {self.first_step} steps; more with a larger "
                "--iterations, or --overwrite to begin anew"
            )
            if self._lock:
                self._lock.release()
            raise SystemExit(0)

    def _is_last(self) -> bool:
        return self._done >= self.plan.iterations

    def _line_due(self) -> bool:
        return self._is_last() or self._done % self._log_every == 0

    def _evaluation_interval(self) -> int:
        return self._epoch if self.plan.validated else self._evaluate_every

    def _boundary(self, start: int, stop: int) -> int:
        """Return where a block ends that starts at a step: at `stop` or earlier."""
        intervals: list[int] = [
            self._log_every,
            self._evaluation_interval(),
            self.settings.checkpoint_every or self.plan.iterations,
            AGREE_EVERY if self._agree else self.plan.iterations,
        ]
        ends = (start + every - start % every for every in intervals)
        return min(stop, self.plan.iterations, *ends)

    def _drain(self) -> None:
        """Fetch the losses that are still on the device; when they are here, so are the steps."""
        losses = self._fetch(self._pending)
        if len(losses) != self._pending_steps:
            raise RuntimeError(f"{len(losses)} losses were added for {self._pending_steps} steps")
        for step, loss in enumerate(losses, self._done - self._pending_steps):
            if self._diverged is None and not isfinite(loss):
                self._diverged = {"step": step, "loss": str(loss)}
            self._count += 1
            self._total += loss
        self._pending.clear()
        self._pending_steps = 0

    def _pause(self, phase: str) -> None:
        """Stop the clock, for what is not training."""
        self._drain()
        self._watch.pause(self._done)
        self._console.phase(phase)

    def _write_line(self) -> None:
        self._drain()
        self._watch.pause(self._done)
        speed = self._watch.take()
        images = speed * self.plan.batch_size if speed else None
        rate, loss = self.learning_rate(self._done - 1), self._total / self._count
        self._count, self._total = 0, 0.0
        if self.writes:
            with self._writing():
                self._log.write(
                    step=self._done,
                    epoch=self._done / self._epoch,
                    learning_rate=rate,
                    loss=loss,
                    images_per_second=images,
                )
        values = {"loss": f"{loss:.4f}", "rate": f"{rate:.3g}"}
        if self._results:
            values["error"] = f"{1 - self._results['accuracy']:.2%}"
        if images:
            values["images/s"] = f"{images:,.0f}"
        self._console.line(self._done, values)
        self._watch.go(self._done)

    def _asked(self, yes: bool) -> bool:
        return self._agree(yes) if self._agree else yes

    def _settle(self) -> None:
        """Find out, with one question as a rule, whether the run is to end after this step."""
        signalled = self._signal is not None and not self._is_last()
        if self._ending is None and self._asked(signalled or self._diverged is not None):
            self._settle_divergence()
            if self._ending is None and not self._is_last():
                self._ending = INTERRUPTED

    def _settle_divergence(self) -> None:
        if self._ending is None and self._asked(self._diverged is not None):
            self._ending = DIVERGENCE

    def _report_divergence(self, spoilt: Sequence[str]) -> None:
        if self._reported:
            return
        self._reported = True
        report = {**(self._diverged or {}), "seen_after": self._done, "tensors": list(spoilt)}
        report["last_checkpoint"] = self._saved_at
        with self._writing():
            self.folder.write_text(DIVERGED, json.dumps(report, indent=2) + "\n")

    def _leave_if_ending(self) -> None:
        if self._ending is None:
            return
        if self._ending == DIVERGENCE:
            found = self._diverged or {"step": self._done, "loss": "of another process"}
            if self.writes and not self._reported:
                self._report_divergence(())
            what = f"loss {found['loss']}" if found["loss"] else "a weight that is not finite"
            place = self.folder.path / DIVERGED
            self._console.later(
                f"error: {what} at step {found['step']}, see {place}; {self._kept()}"
            )
        else:
            self._console.later(
                f"ended by {self._signal or 'a signal to another process'} after step "
                f"{self._done}, with a checkpoint: start it again to go on"
            )
        raise SystemExit(self._ending)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal == "SIGINT" and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name
        self._console.later(f"{self._signal}: ending after the step in hand")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Exit with a word to the user where a file cannot be written."""
        try:
            yield
        except OSError as error:
            full = error.errno in (ENOSPC, EDQUOT)
            what = "the disk is full" if full else str(error.strerror or error)
            detail = f" ({error.strerror})" if full else ""
            self._console.tell()
            self._console.message(
                f"error: {error.filename or self.folder.path}: {what}{detail}; {self._kept()}"
            )
            raise SystemExit(UNWRITTEN) from error

    def _kept(self) -> str:
        if not self.folder.checkpoints():
            return "there was no checkpoint before"
        return f"the checkpoint of step {self._saved_at} is kept"

    def _say_in_config(self, state: str) -> dict[str, Any]:
        sessions = list(self._config.get("sessions", ()))
        session = {
            **whereabouts(),
            **self._place,
            "since": self._started,
            "until": now(),
            "first_step": self.first_step,
            "last_step": self._done,
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
        }
        config = {
            **self._identity,
            "state": state,
            "step": self._done,
            **self._place,
            "settings": as_json(asdict(self.settings)),
            **built_from(Path(__file__).parent),
            "images": self._images,
            "command": sys.argv,
            "sessions": [*sessions, session],
        }
        if self._is_finished:
            config["results"] = self._results
        self.folder.write_config(config)
        return config


def _twentieth(iterations: int) -> int:
    return max(1, iterations // 20)


def _floats(losses: Sequence[Any]) -> list[float]:
    return [float(value) for loss in losses for value in np.ravel(loss)]


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Have a function called at the signals that end a run; return what was there before."""
    before: dict[int, Any] = {}
    for name in SIGNALS:
        number = getattr(signal, name, None)
        # What is ignored, as by nohup, stays so. Only the main thread may set handlers.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):
                before[number] = signal.signal(number, handler)
    return before
