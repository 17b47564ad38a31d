"""The folder of a run: who has it, and what is found in it."""

from __future__ import annotations

import json
import os
import socket
from errno import EACCES, ENOLCK
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranspec.runtime import checkpoint, folder
from ranspec.runtime.checkpoint import CheckpointError, Manifest
from ranspec.runtime.folder import FolderError, Lock, RunFolder


def save(runs: RunFolder, step: int, *, best: bool = False) -> None:
    runs.save({"w": np.full(3, float(step))}, Manifest("net", step, 0, 8), best=best)


def steps(path: Path) -> dict[str, int]:
    """Return the step of each checkpoint of a folder."""
    return {
        found.name: checkpoint.load_manifest(found).step for found in path.glob("*.safetensors")
    }


def test_checkpoints_are_called_after_their_steps_but_for_the_newest(tmp_path: Path) -> None:
    runs = RunFolder(tmp_path, keep=2)
    for step in (5, 9, 30):
        save(runs, step, best=step == 5)
    assert steps(tmp_path) == {
        "best.safetensors": 5,
        "checkpoint-9.safetensors": 9,
        "checkpoint.safetensors": 30,
    }


def test_steps_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    runs = RunFolder(tmp_path, keep=5)
    for step in (8, 9, 10, 100):
        save(runs, step)
    assert [path.name for path in runs.checkpoints()] == [
        "checkpoint.safetensors",
        *(f"checkpoint-{step}.safetensors" for step in (10, 9, 8)),
    ]


def test_a_checkpoint_of_the_same_step_takes_the_place_of_the_first(tmp_path: Path) -> None:
    runs = RunFolder(tmp_path, keep=5)
    save(runs, 5)
    save(runs, 5)
    assert steps(tmp_path) == {"checkpoint.safetensors": 5}


def test_a_process_killed_between_two_renames_leaves_the_checkpoint_before(
    tmp_path: Path,
) -> None:
    runs = RunFolder(tmp_path, keep=2)
    save(runs, 5)
    (tmp_path / "checkpoint.safetensors").rename(tmp_path / "checkpoint-5.safetensors")
    restored, warnings = RunFolder(tmp_path, keep=2).restore()
    assert restored is not None
    assert (restored[1].step, warnings) == (5, [])


def test_a_damaged_checkpoint_is_kept_under_no_name(tmp_path: Path) -> None:
    runs = RunFolder(tmp_path, keep=3)
    save(runs, 5)
    save(runs, 6)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    again = RunFolder(tmp_path, keep=3)
    restored, warnings = again.restore()
    assert restored is not None
    assert restored[1].step == 5
    assert "checkpoint.safetensors: not a readable safetensors file" in warnings[0]
    save(again, 7)
    assert steps(tmp_path) == {"checkpoint-5.safetensors": 5, "checkpoint.safetensors": 7}


def test_the_best_checkpoint_is_found_wherever_it_is(tmp_path: Path) -> None:
    runs, other = RunFolder(tmp_path / "a", keep=3), RunFolder(tmp_path / "b", keep=3)
    runs.prepare().release()
    for step in (5, 6):
        save(runs, step, best=True)
    assert runs.find(6, tmp_path / "a") == tmp_path / "a" / "best.safetensors"
    assert runs.find(5, tmp_path / "a") == tmp_path / "a" / "checkpoint-5.safetensors"
    assert other.find(6, tmp_path / "a") == tmp_path / "a" / "best.safetensors"
    assert other.find(7, tmp_path / "a") is None


def test_what_killed_processes_left_is_cleared(tmp_path: Path) -> None:
    names = [
        ".checkpoint.safetensors.123",
        ".config.json.7",
        ".metrics.jsonl.7",
        ".best.safetensors.9",
    ]
    kept = [".hidden", "checkpoint.safetensors.123"]
    (tmp_path / "config.json").write_text("{}")
    for name in names + kept:
        (tmp_path / name).write_text("")
    RunFolder(tmp_path, keep=2).prepare().release()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*kept, ".lock", "config.json"]
    )


def test_a_start_that_was_killed_before_it_said_what_it_was_is_no_obstacle(
    tmp_path: Path,
) -> None:
    for name in (".lock", ".config.json.7"):
        (tmp_path / name).write_text("")
    RunFolder(tmp_path, keep=2).prepare().release()


def test_a_damaged_config_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FolderError, match=r"config.json: damaged: choose another --output"):
        RunFolder(tmp_path, keep=2).config()


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object) -> int:
        raise PermissionError(EACCES, os.strerror(EACCES), str(tmp_path / ".lock"))

    monkeypatch.setattr("os.open", forbidden)
    with pytest.raises(FolderError, match=r"\.lock: Permission denied; choose another --output"):
        RunFolder(tmp_path, keep=2).prepare()


def test_a_lock_that_was_released_can_be_had(tmp_path: Path) -> None:
    Lock(tmp_path / ".lock").release()
    lock = Lock(tmp_path / ".lock")
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize(
    ("holder", "held"),
    [
        (None, False),
        ({"host": socket.gethostname(), "pid": os.getppid()}, True),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "pid": 1}, True),
    ],
)
def test_where_there_are_no_locks_the_process_tells(
    tmp_path: Path, holder: dict[str, Any] | None, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int) -> None:
        raise OSError(ENOLCK, os.strerror(ENOLCK))

    monkeypatch.setattr(folder, "_lock", none)
    if holder:
        (tmp_path / ".lock").write_text(json.dumps(holder))
    if held:
        with pytest.raises(FolderError, match="in use by process"):
            Lock(tmp_path / ".lock")
    else:
        Lock(tmp_path / ".lock").release()


def test_a_manifest_is_read_without_tensors_and_refused_as_they_are(tmp_path: Path) -> None:
    save(RunFolder(tmp_path, keep=2), 5)
    assert checkpoint.load_manifest(tmp_path / "checkpoint.safetensors").step == 5
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        checkpoint.load_manifest(tmp_path / "checkpoint.safetensors")


def test_a_run_that_is_replaced_waits_for_the_first_new_checkpoint(tmp_path: Path) -> None:
    runs = RunFolder(tmp_path, keep=2)
    save(runs, 5)
    runs.write_config({"network": "old"})
    for _ in range(2):  # The second time, no checkpoint has come in between.
        runs.set_aside()
        runs.write_config({"network": "new"})
        assert steps(tmp_path / ".replaced") == {"checkpoint.safetensors": 5}
        assert RunFolder(tmp_path / ".replaced", keep=2).config() == {"network": "old"}
    save(runs, 1)
    assert not (tmp_path / ".replaced").exists()


def test_a_process_killed_while_it_replaces_a_run_leaves_a_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = RunFolder(tmp_path, keep=2)
    save(runs, 5)
    save(runs, 6)
    runs.write_config({"network": "old"})
    replace, moved = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal moved
        moved += 1
        if moved == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "replace", killed)
        runs.set_aside()
    runs.prepare().release()
    runs.set_aside()
    assert sorted(steps(tmp_path / ".replaced").values()) == [5, 6]
    assert not runs.checkpoints()
