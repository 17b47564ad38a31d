"""The folder of a run: its lock, what it says of itself, and its checkpoints.

    config.json                     what is run, how, where, and how that ended
    metrics.jsonl                   losses, rates and results, a line each
    checkpoint.safetensors          the newest checkpoint, to go on from or to pass on
    checkpoint-STEP.safetensors     those before it, as many as are kept
    best.safetensors                that of the best evaluation
    diverged.json                   where the loss or a weight became infinite or NaN, if one did
    report.html                     the finished run, to look at

Files of other names are never touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from errno import EACCES, EAGAIN, EDEADLK, ENOSPC
from pathlib import Path
from typing import Any

from checkpoint import (
    Array,
    CheckpointError,
    Manifest,
    load,
    load_manifest,
    replaced,
    sync,
    write,
)

CONFIG, METRICS, DIVERGED, REPORT = "config.json", "metrics.jsonl", "diverged.json", "report.html"
NEWEST, BEST, LOCK, REPLACED = "checkpoint.safetensors", "best.safetensors", ".lock", ".replaced"
_OLDER = re.compile(r"checkpoint-(\d+)\.safetensors")
_LEFT_OVER = re.compile(r"\.[\w.-]+\.(json|jsonl|html|safetensors)\.\d+")
_EVENTS = re.compile(r"events\.out\.tfevents\..*")

_HELD = (EACCES, EAGAIN, EDEADLK)
"""What a lock that another process has is refused with; other errors mean that there are none."""

Restored = tuple[dict[str, Array], Manifest]


class FolderError(Exception):
    """A run's folder cannot be used; the message says why, and what to do."""


class Lock:
    """A lock on a file that ends with its process, however that ends.

    Raises FolderError where another process holds it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(self._descriptor)
        except OSError as error:
            holder = _read_json(path)
            if error.errno in _HELD or _may_run(holder):
                os.close(self._descriptor)
                raise FolderError(
                    f"{path.parent}: in use by {_name(holder)}: wait for its end, or choose "
                    "another --output"
                ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, json.dumps(whereabouts()).encode())

    def release(self) -> None:
        """Let others have it."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


class RunFolder:
    """Reads and writes the files of a run; `keep` is how many checkpoints are kept."""

    def __init__(self, path: Path, keep: int):
        self.path = path
        self.keep = keep
        self._newest: int | None = None
        """The step of checkpoint.safetensors, where it is known to be whole."""

    def prepare(self) -> Lock:
        """Make the folder, unless it is there, and lock it; clear what killed processes left.

        Raises FolderError where it cannot be made or written, is in use, or holds other files.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_others_files()
            lock = Lock(self.path / LOCK)
        except OSError as error:
            place = error.filename or self.path
            raise FolderError(f"{place}: {error.strerror}; choose another --output") from error
        for path in self.path.iterdir():
            if _LEFT_OVER.fullmatch(path.name):
                path.unlink()
        return lock

    def _refuse_others_files(self) -> None:
        if (self.path / CONFIG).is_file():
            return
        others = [path.name for path in self.path.iterdir() if not _of_locks(path.name)]
        if others:
            raise FolderError(
                f"{self.path}: holds {min(others)!r} and is no run's folder (it has no {CONFIG}): "
                "choose another --output"
            )

    def config(self) -> dict[str, Any]:
        """Return what the folder says of its run; empty where there is none."""
        path = self.path / CONFIG
        config = _read_json(path)
        if config is None and path.is_file():
            raise FolderError(f"{path}: damaged: choose another --output, or --overwrite")
        return config or {}

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Say of the run what is to be said."""
        self.write_text(CONFIG, json.dumps(config, indent=2, default=str) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        with replaced(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        older = {
            int(found[1]): path
            for path in (self.path.iterdir() if self.path.is_dir() else ())
            if (found := _OLDER.fullmatch(path.name))
        }
        newest = [self.path / NEWEST] if (self.path / NEWEST).is_file() else []
        return newest + [older[step] for step in sorted(older, reverse=True)]

    def restore(self) -> tuple[Restored | None, list[str]]:
        """Return the newest checkpoint that is whole, if there is one, and warnings of others.

        Raises CheckpointError where there are checkpoints and all of them are damaged.
        """
        warnings = []
        for path in self.checkpoints():
            try:
                found = load(path)
            except CheckpointError as error:
                warnings.append(str(error))
            else:
                if path.name == NEWEST:
                    self._newest = found[1].step
                if warnings:
                    warnings.append(f"going on from {path}, step {found[1].step}")
                return found, warnings
        if warnings:
            raise CheckpointError(
                "; ".join(warnings) + ": --overwrite begins anew, or choose another --output"
            )
        return None, []

    def save(self, tensors: Mapping[str, Array], manifest: Manifest, *, best: bool) -> None:
        """Add a checkpoint; it is the best one too if `best`. Old ones are removed.

        Whatever happens, the checkpoint before stays whole until this one is.
        """
        self.require_space(sum(array.nbytes for array in tensors.values()))
        newest = self.path / NEWEST
        with replaced(newest) as temporary:
            write(temporary, tensors, manifest)
            sync(temporary)
            if self._newest is not None and newest.is_file() and self._newest != manifest.step:
                newest.replace(self._older(self._newest))
        self._newest = manifest.step
        if best:
            self.mark_best(newest)
        for path in self.checkpoints()[max(1, self.keep) :]:
            path.unlink()
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)

    def find(self, step: int, folder: Path) -> Path | None:
        """Return a checkpoint of a step, here or in another folder; None if there is none."""
        for path in (self.path / BEST, *self.checkpoints(), folder / BEST):
            with suppress(CheckpointError):
                if load_manifest(path).step == step:
                    return path
        return None

    def mark_best(self, source: Path) -> None:
        """Make a checkpoint the best one."""
        self._put(source, BEST)

    def adopt(self, source: Path) -> None:
        """Make a checkpoint, of this folder or another, the newest one; those here stay."""
        newest = self.path / NEWEST
        if newest.is_file() and newest.samefile(source):
            return
        step = load_manifest(source).step
        if self._newest is not None and self._newest != step:
            newest.replace(self._older(self._newest))
        self._put(source, NEWEST)
        self._newest = step

    def _put(self, source: Path, name: str) -> None:
        """Put a file into the folder under a name, as a link to the same file where possible."""
        if source == self.path / name:
            return
        with replaced(self.path / name) as temporary:
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)

    def require_space(self, size: int) -> None:
        """Raise OSError where the disk has no room for a checkpoint of so many bytes."""
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise OSError(
                ENOSPC, f"{size / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB free", self.path
            )

    def set_aside(self) -> bool:
        """Put the files of the run that was here out of the way, until the first new checkpoint.

        Where one that was put there is still waiting for that, it stays. Tells whether one is.
        """
        aside = RunFolder(self.path / REPLACED, self.keep)
        if aside.checkpoints() and not self.checkpoints():
            return True
        aside.path.mkdir(exist_ok=True)
        # What tells that this is a run's folder goes last.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == CONFIG):
            if _of_run(path.name):
                path.replace(aside.path / path.name)
        self._newest = None
        return bool(aside.checkpoints())

    def _older(self, step: int) -> Path:
        return self.path / f"checkpoint-{step}.safetensors"


def now() -> str:
    """Return the time, in UTC: 2026-01-31T12:00:00+00:00."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def whereabouts() -> dict[str, Any]:
    """Return which process this is."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}


def _name(holder: Mapping[str, Any] | None) -> str:
    if holder is None:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"


def _may_run(holder: Mapping[str, Any] | None) -> bool:
    """Tell whether a process may still run, where the file system has no locks to tell by."""
    if holder is None or holder.get("pid") == os.getpid():
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except OSError:
        return True
    return True


def _of_locks(name: str) -> bool:
    return name in (LOCK, REPLACED) or bool(_LEFT_OVER.fullmatch(name))


def _of_run(name: str) -> bool:
    known = (CONFIG, METRICS, DIVERGED, REPORT, NEWEST, BEST)
    return name in known or bool(_OLDER.fullmatch(name) or _EVENTS.fullmatch(name))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _lock(descriptor: int) -> None:
    """Lock an open file for this process alone; raise OSError where another has it.

    Not one that children inherit: a worker that outlives its parent would keep it.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # Others may still read who it is.
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
