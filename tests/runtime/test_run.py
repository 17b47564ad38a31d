"""A run, survived, resumed and refused, with a training in NumPy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from errno import ENOSPC
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from ranspec.runtime import checkpoint, metrics
from ranspec.runtime import run as runs
from ranspec.runtime.checkpoint import CheckpointError
from ranspec.runtime.folder import FolderError
from ranspec.runtime.identity import decisive
from ranspec.runtime.metrics import read_records
from ranspec.runtime.run import AGREE_EVERY, RunError
from ranspec.runtime.settings import fail, parse_settings
from tests.runtime.training import Settings, start, train

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def settings(folder: Path, **others: Any) -> Settings:
    return Settings(**{"output": folder, "evaluate_every": 10, "log_every": 5} | others)


def command(file: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / file), *map(str, arguments)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run but for its speeds, which no two runs share."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "images_per_second"}
        for line in lines
    ]


def config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def newest(folder: Path) -> tuple[dict[str, Any], checkpoint.Manifest]:
    return checkpoint.load(folder / "checkpoint.safetensors")


def same_result(one: Path, other: Path) -> bool:
    """Tell whether two runs ended with the same bits, and wrote the same metrics."""
    pairs = [(newest(one), newest(other))]
    pairs.append(tuple(checkpoint.load(run / "best.safetensors") for run in (one, other)))
    equal = all(
        np.array_equal(first[name], second[name])
        for (first, _), (second, _) in pairs
        for name in first | second
    )
    steps = all(first.step == second.step for (_, first), (_, second) in pairs)
    return equal and steps and records(one) == records(other)


def exit_code(action: Callable[[], object]) -> object:
    with pytest.raises(SystemExit) as ended:
        action()
    return ended.value.code


def signalled(step: int, *numbers: int) -> Callable[[int], None]:
    """Return what sends this process signals after a step."""

    def send(done: int) -> None:
        if done == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return send


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; not to be changed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(settings(folder))
    return folder


@pytest.fixture
def whole(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(undisturbed, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """The folder of a run that was ended after 17 of 40 steps."""
    train_to(17, settings(tmp_path / "half"))
    return tmp_path / "half"


def train_to(step: int, chosen: Settings, **options: Any) -> None:
    after = signalled(step - 1, signal.SIGTERM)
    assert exit_code(lambda: train(chosen, after=after, **options)) == 75


# --- What a folder holds ---


def test_a_run_keeps_the_newest_checkpoints_and_the_best(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        *(".lock", "best.safetensors", "checkpoint-30.safetensors", "checkpoint.safetensors"),
        *("config.json", "metrics.jsonl", "report.html"),
    ]
    said = config(whole)
    assert (said["state"], said["step"], said["framework"]) == ("finished", 40, "numpy")
    assert said["images"] == {"training": 80}
    results = {r["step"]: r["test_accuracy"] for r in records(whole) if "test_accuracy" in r}
    _, best = checkpoint.load(whole / "best.safetensors")
    assert best.step == max(results, key=lambda step: results[step])


def test_a_run_lies_in_a_folder_of_its_network_and_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(Settings(), framework="torch 2.13.0")
    assert (tmp_path / "runs" / "toy" / "torch" / "config.json").is_file()


@pytest.mark.parametrize(("keep", "older"), [(1, []), (3, [30, 20]), (9, [30, 20, 10])])
def test_as_many_checkpoints_are_kept_as_asked_for(
    tmp_path: Path, keep: int, older: list[int]
) -> None:
    train(settings(tmp_path / "run", keep=keep))
    kept = {path.name for path in (tmp_path / "run").glob("checkpoint-*")}
    assert kept == {f"checkpoint-{step}.safetensors" for step in older}


def test_a_finished_run_says_so(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: train(settings(whole))) == 0
    assert "finished after 40 steps" in capsys.readouterr().out


# --- Ended, and gone on with ---


@pytest.fixture
def heard() -> Iterator[None]:
    """Hear the signals that whoever started the tests had them ignore, as nohup does SIGHUP."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is signal.SIG_IGN
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("step", "number"),
    [(1, "SIGTERM"), (5, "SIGINT"), (9, "SIGUSR1"), (10, "SIGUSR2"), (39, "SIGHUP")],
)
def test_a_signal_ends_after_the_step_in_hand_and_the_run_goes_on(
    heard: None, undisturbed: Path, tmp_path: Path, step: int, number: str
) -> None:
    chosen = settings(tmp_path / "parts")
    after = signalled(step - 1, getattr(signal, number))
    assert exit_code(lambda: train(chosen, after=after)) == 75
    assert newest(tmp_path / "parts")[1].step == step
    assert config(tmp_path / "parts")["state"] == "interrupted"
    train(chosen)
    assert same_result(undisturbed, tmp_path / "parts")


def test_a_signal_in_the_last_step_does_not_keep_a_run_from_its_end(
    undisturbed: Path, tmp_path: Path
) -> None:
    train(settings(tmp_path / "run"), after=signalled(39, signal.SIGTERM))
    assert same_result(undisturbed, tmp_path / "run")


def test_a_second_interrupt_ends_at_once(heard: None, tmp_path: Path) -> None:
    after = signalled(25, signal.SIGINT, signal.SIGINT)
    assert exit_code(lambda: train(settings(tmp_path / "run"), after=after)) == 130
    assert newest(tmp_path / "run")[1].step == 20


def test_signals_mean_after_a_run_what_they_meant_before(whole: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(settings(tmp_path / "run"))
    assert signal.getsignal(signal.SIGTERM) is before


def test_blocks_of_steps_are_the_same_run(undisturbed: Path, tmp_path: Path) -> None:
    train(settings(tmp_path / "blocks"), most=7)
    assert same_result(undisturbed, tmp_path / "blocks")


@pytest.mark.parametrize("seed", range(3))
def test_processes_killed_at_any_moment_lose_nothing(
    undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    options = ["--checkpoint-every", 2, "--evaluate-every", 10, "--log-every", 5]
    killed = command("killed.py", seed, 14, "--output", tmp_path / "killed", *options)
    result = subprocess.run(
        killed, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    moments = [line for line in result.stdout.splitlines() if line.startswith(("open", "os."))]
    assert len(moments) >= 10
    assert any(".checkpoint.safetensors." in moment for moment in moments)
    assert same_result(undisturbed, tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*[0-9]"))


def test_validation_early_stopping_and_the_best_weights_go_on_too(tmp_path: Path) -> None:
    plan = {"validated": True, "patience": 1, "early_stopping": 2, "restore_best": True}
    chosen = {"iterations": 900}
    train(settings(tmp_path / "whole", **chosen), plan=plan)
    stopped = newest(tmp_path / "whole")[1]
    assert stopped.progress is not None
    assert (stopped.progress["stale"], stopped.progress["reductions"]) == (2, 2)
    assert 40 < stopped.step < 900
    for step in (stopped.step - 15, stopped.step - 1):
        train_to(step, settings(tmp_path / "parts", **chosen), plan=plan)
    model = train(settings(tmp_path / "parts", **chosen), plan=plan)
    assert same_result(tmp_path / "whole", tmp_path / "parts")
    best, manifest = checkpoint.load(tmp_path / "parts" / "best.safetensors")
    assert manifest.step == stopped.progress["best_step"] < stopped.step
    assert np.array_equal(model.weights, best["weights"])


def test_the_framework_may_change_and_what_changes_no_result(undisturbed: Path, half: Path) -> None:
    other = settings(half, keep=5, checkpoint_minutes=0.0, nap=1e-4)
    train(other, framework="another")
    assert same_result(undisturbed, half)
    assert [s["framework"] for s in config(half)["sessions"]] == ["numpy", "another"]


# --- Another run ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "--seed: 0 there, 1 here"),
        ({"batch_size": 4}, "--batch-size: 8 there, 4 here"),
        ({"initial": 0.2}, "--initial: 0.1 there, 0.2 here"),
        ({"precision": "float32"}, "--precision: float64 there, float32 here"),
        ({"images": "others"}, "data: images there, others here"),
        ({"iterations": 20}, "--iterations: 40 steps taken there, 20 asked for here"),
        ({"tensorboard": True}, "--tensorboard needs tensorboardX: pip install"),
        ({"resume": "absent"}, "absent: no such file"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_changed(
    whole: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    before = {path: path.read_bytes() for path in whole.iterdir() if path.name != ".lock"}
    with pytest.raises((RunError, CheckpointError), match=message):
        start(replace(settings(whole), **change))
    assert {path: path.read_bytes() for path in before} == before


def test_to_overwrite_and_to_resume_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: parse_settings(Settings, "", ["--overwrite", "--resume", "x"])) == 2
    assert "one of them is meant" in capsys.readouterr().err


def test_all_differences_are_said_at_once(whole: Path) -> None:
    with pytest.raises(RunError, match=r"(?s)data: .*--seed: .*--overwrite to begin anew"):
        start(settings(whole, seed=1, images="others"))


def test_more_iterations_go_on(whole: Path, tmp_path: Path) -> None:
    train(settings(whole, iterations=60))
    train(settings(tmp_path / "long", iterations=60))
    assert same_result(whole, tmp_path / "long")


def test_more_iterations_are_refused_where_the_past_would_have_been_another(
    tmp_path: Path,
) -> None:
    train(settings(tmp_path / "run", cosine=True))
    with pytest.raises(RunError, match="the 40 steps taken would have had other learning rates"):
        start(settings(tmp_path / "run", cosine=True, iterations=60))


def test_a_class_of_settings_says_which_of_its_own_decide() -> None:
    @dataclass(frozen=True)
    class Options:
        decisive: ClassVar[tuple[str, ...]] = ("one",)
        one: int = 1
        two: int = 2

    @dataclass(frozen=True)
    class Recipe:
        three: int = 3

    @dataclass(frozen=True)
    class Both(Options, Recipe):
        four: int = 4

    assert decisive(Both()) == {"one": 1, "three": 3, "four": 4}


def test_overwrite_begins_anew_and_leaves_what_is_not_the_runs(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (whole / "notes.txt").write_text("mine")
    train(settings(whole, seed=1, overwrite=True))
    assert ".replaced until the first checkpoint" in capsys.readouterr().err
    assert (whole / "notes.txt").read_text() == "mine"
    assert newest(whole)[1].seed == 1
    assert not (whole / ".replaced").exists()


def test_what_is_overwritten_is_there_until_the_first_new_checkpoint(whole: Path) -> None:
    old = (whole / "checkpoint.safetensors").read_bytes()

    def ended() -> None:
        with start(settings(whole, seed=1, overwrite=True)):
            raise SystemExit(9)

    assert exit_code(ended) == 9
    assert (whole / ".replaced" / "checkpoint.safetensors").read_bytes() == old


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FolderError, match=r"holds 'thesis.tex' and is no run's folder"):
        start(settings(tmp_path, overwrite=overwrite))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="choose another --output"):
        start(settings(tmp_path / "file"))


def test_a_folder_in_use_is_refused_with_who_uses_it(tmp_path: Path) -> None:
    busy = command("training.py", "--output", tmp_path / "run", "--nap", 0.01, "--iterations", 9999)
    with subprocess.Popen(busy, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "data: 80 images\n"
            assert "step " in process.stderr.readline()
            with pytest.raises(FolderError, match=f"in use by process {process.pid} on .*, since"):
                start(settings(tmp_path / "run"))
        finally:
            process.kill()
    # The lock has died with its process.
    start(settings(tmp_path / "run", nap=0.01, iterations=9999))


# --- Checkpoints ---


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_checkpoint_before_is_used_where_the_newest_is_damaged(
    undisturbed: Path, half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(half / "checkpoint.safetensors")
    assert start(settings(half)).first_step == 10
    train(settings(half))
    assert "checkpoint.safetensors: damaged" in capsys.readouterr().err
    assert same_result(undisturbed, half)


def test_damaged_checkpoints_alone_are_refused(half: Path) -> None:
    for path in half.glob("checkpoint*"):
        damage(path)
    with pytest.raises(CheckpointError, match="--overwrite begins anew"):
        start(settings(half))


def test_a_run_goes_on_from_a_checkpoint_by_name(undisturbed: Path, half: Path) -> None:
    train(settings(half, resume=str(half / "checkpoint-10.safetensors")))
    assert same_result(undisturbed, half)


def test_a_run_goes_on_in_another_folder(undisturbed: Path, half: Path, tmp_path: Path) -> None:
    elsewhere = settings(tmp_path / "elsewhere", resume=str(half / "checkpoint.safetensors"))
    train(elsewhere)
    assert same_result(undisturbed, tmp_path / "elsewhere")
    assert newest(half)[1].step == 17


def test_weights_are_no_run(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "w", {"weights": np.ones(3)}, checkpoint.Manifest("toy", 0, 0, 8))
    with pytest.raises(RunError, match="holds weights and no run: give it as --weights"):
        start(settings(tmp_path / "run", resume=str(tmp_path / "w")))


def test_checkpoints_come_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def three_minutes(step: int) -> None:
        nonlocal now
        now += 180.0

    monkeypatch.setattr(runs.time, "monotonic", lambda: now)
    chosen = settings(tmp_path / "run", keep=99, evaluate_every=40, checkpoint_minutes=10.0)
    train(chosen, after=three_minutes)
    saved = {int(path.stem[11:]) for path in (tmp_path / "run").glob("checkpoint-*")}
    assert saved == set(range(4, 40, 4))


@pytest.mark.parametrize("number", [ENOSPC])
@pytest.mark.parametrize("function", ["write", "sync"])
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(
    undisturbed: Path,
    half: Path,
    function: str,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(f"ranspec.runtime.folder.{function}", full)
        assert exit_code(lambda: train(settings(half))) == 74
    assert "the disk is full" in capsys.readouterr().err
    assert newest(half)[1].step == 17
    train(settings(half))
    assert same_result(undisturbed, half)


def test_a_file_that_cannot_grow_ends_the_run(tmp_path: Path) -> None:
    limit = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    training = command("training.py", "--output", tmp_path / "run", "--evaluate-every", 10)
    limited = subprocess.run(
        [sys.executable, "-c", limit, *training[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 74
    assert "File too large" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert not list((tmp_path / "run").glob(".checkpoint*"))


def test_a_disk_without_room_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"no room for checkpoints: .* MB are needed"):
        start(settings(tmp_path / "run"), state_bytes=10**18)


def test_a_run_that_goes_on_needs_room_for_another_checkpoint(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=15_999))
    with pytest.raises(FolderError, match="no room for checkpoints"):
        start(settings(half))


def test_what_cannot_be_written_at_first_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr("ranspec.runtime.folder.RunFolder.write_text", full)
    assert exit_code(lambda: train(settings(tmp_path / "run"))) == 74
    assert "the disk is full" in capsys.readouterr().err


def test_weights_for_a_run_that_goes_on_are_a_warning(
    half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(settings(half, weights=half / "best.safetensors"))
    assert "warning: the run goes on: --weights is for one that begins" in capsys.readouterr().err


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_nobody_reads_loses_nothing(
    undisturbed: Path, tmp_path: Path, stream: str
) -> None:
    options = ["--evaluate-every", 10, "--log-every", 5]
    reading, writing = os.pipe()
    os.close(reading)
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with os.fdopen(writing, "wb") as closed:
        result = subprocess.run(
            command("training.py", "--output", tmp_path / "run", *options),
            env=environment(),
            check=False,
            **streams | {stream: closed},
        )
    assert result.returncode == 0
    assert same_result(undisturbed, tmp_path / "run")


# --- Losses that are not finite ---


@pytest.mark.parametrize("step", [3, 17])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, step: int) -> None:
    assert exit_code(lambda: train(settings(tmp_path / "run", spoil=step))) == 1
    report = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert (report["step"], report["loss"]) == (step, "nan")
    assert report["tensors"] == ["optimizer.momentum.weights", "weights"]
    assert config(tmp_path / "run")["state"] == "diverged"
    kept = list((tmp_path / "run").glob("*.safetensors"))
    assert bool(kept) == (step > 10)
    for path in kept:
        assert all(np.isfinite(array).all() for array in checkpoint.load(path)[0].values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    # The loss of the step that spoils them is still finite, and no other follows.
    run = start(settings(tmp_path / "run", iterations=10))

    def go() -> None:
        with run:
            for _ in run.steps():
                run.add(1.0)
                if run.checkpoint_due():
                    run.save({"weights": np.array([1.0, np.inf])})

    assert exit_code(go) == 1
    report = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert (report["loss"], report["tensors"]) == (None, ["weights"])
    assert not list((tmp_path / "run").glob("*.safetensors"))


# --- Speeds ---


class Device:
    """Takes a second for each step, counted when its loss is fetched; the first takes 100."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pending = 0.0

    def launch(self, step: int) -> Device:
        self.pending += 100.0 if step == 0 else 1.0
        return self

    def fetch(self, losses: Sequence[Any]) -> list[float]:
        self.now, self.pending = self.now + self.pending, 0.0
        return [1.0] * len(losses)


def test_speeds_are_those_of_the_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device()
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: device.now)
    chosen = settings(tmp_path / "run", evaluate_every=4, checkpoint_every=3)
    run = start(chosen, fetch=device.fetch)
    with run:
        for step in run.steps():
            run.add(device.launch(step))
            if run.evaluation_due():
                device.fetch([])
                device.now += 50
                run.evaluated({"loss": 1.0, "accuracy": 0.5})
            if run.checkpoint_due():
                device.fetch([])
                device.now += 20
                run.save({"weights": np.ones(3)})
        run.finished({"loss": 1.0, "accuracy": 0.5})
    lines = read_records(tmp_path / "run" / "metrics.jsonl")
    speeds = [line["images_per_second"] for line in lines if "images_per_second" in line]
    assert speeds == [8.0] * 8


# --- Events for TensorBoard ---


def scalars(file: Path) -> list[tuple[int, str, float]]:
    """Return what a file of TensorBoard's records holds: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, found = file.read_bytes(), []
    while content:
        end = 12 + int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12:end])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        content = content[end + 4 :]
    return found


def test_events_hold_what_metrics_do_and_go_on(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "run", tensorboard=True)
    train_to(17, chosen)
    train(chosen)
    files = sorted((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(files) == 2
    events = {(step, name) for file in files for step, name, _ in scalars(file)}
    metrics = {(line["step"], name) for line in records(tmp_path / "run") for name in line}
    speeds = {(step, name) for step, name in events if name == "images_per_second"}
    assert events - speeds == {(step, name) for step, name in metrics if name != "step"}


# --- Several processes ---


def together(rank: int, folders: Sequence[Path], barrier: Any, asked: Any, spoil: Any) -> None:
    """Train as one of two processes, of which the second is told to end after 13 steps."""

    def agree(yes: bool) -> bool:
        asked[rank] = yes
        barrier.wait()
        answer = any(asked)
        barrier.wait()
        return answer

    def after(step: int) -> None:
        if rank == 1 and step == 12 and spoil is None:
            os.kill(os.getpid(), signal.SIGTERM)

    chosen = settings(folders[rank], spoil=spoil if rank == 1 else None)
    try:
        train(chosen, after=after, writes=rank == 0, agree=agree)
    except RunError as error:
        fail(error)


def run_two(*folders: Path, spoil: int | None = None) -> list[int | None]:
    context = get_context("spawn")
    barrier, asked = context.Barrier(2), context.Array("b", 2)
    workers = [
        context.Process(target=together, args=(rank, folders * 2, barrier, asked, spoil))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def test_processes_end_at_the_same_step_and_go_on(undisturbed: Path, tmp_path: Path) -> None:
    assert run_two(tmp_path / "run") == [75, 75]
    assert newest(tmp_path / "run")[1].step == 2 * AGREE_EVERY
    assert run_two(tmp_path / "run") == [0, 0]
    assert same_result(undisturbed, tmp_path / "run")


def test_processes_that_do_not_see_the_same_folder_are_refused(half: Path, tmp_path: Path) -> None:
    assert run_two(half, tmp_path / "another") == [2, 2]
    assert newest(half)[1].step == 17


def test_a_loss_that_is_not_finite_ends_all_processes(tmp_path: Path) -> None:
    assert run_two(tmp_path / "run", spoil=22) == [1, 1]
    assert newest(tmp_path / "run")[1].step == 20
