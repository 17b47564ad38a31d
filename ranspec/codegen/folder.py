"""Folders that are written whole or not at all, among files that are someone else's.

New files are prepared in a folder within the one that they are for, or beside it where it is still
to be made, and then moved to their places; where one move fails, all are undone. What a killed
process left behind is cleared by the next build of the folder.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PREPARED = ".ranspec-build"
_REPLACED = "replaced"


@dataclass(frozen=True)
class Change:
    """What is to become of a folder: files to write, the last of them last, others to remove.

    `prepared` is the folder's own, from `claimed`.
    """

    folder: Path
    prepared: Path
    write: Mapping[str, bytes]
    remove: Collection[str] = ()


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """Keep other builds off a folder; yield where its new files are to be prepared.

    That folder holds what a killed build left there. It is on the file system of the other, and
    is removed in the end, as are the parents that were made for it if nothing came to be in them.
    """
    with ExitStack() as after:
        for parent in reversed([parent for parent in folder.parents if not parent.exists()]):
            parent.mkdir(exist_ok=True)
            after.callback(_remove_if_empty, parent)
        prepared, lock = _lock(folder)
        after.callback(_release, prepared, lock)
        yield prepared


def apply(changes: Sequence[Change]) -> None:
    """Carry out changes of claimed folders: all of them, or none where an exception is raised."""
    for change in changes:
        _prepare(change)
    with ExitStack() as undo:
        for change in changes:
            if change.prepared.parent == change.folder:
                _exchange(change, undo)
            else:
                undo.callback(_move, change.folder, change.prepared)
                change.prepared.rename(change.folder)
        undo.pop_all()
    for change in changes:
        shutil.rmtree(change.prepared / _REPLACED, ignore_errors=True)


def kind(path: Path) -> str | None:
    """Say what is at a path, links followed: `file`, `folder`, or another word; None if nothing."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "link to nothing" if path.is_symlink() else None
    return next((word for test, word in _KINDS.items() if test(mode)), "special file")


_KINDS = {
    stat.S_ISREG: "file",
    stat.S_ISDIR: "folder",
    stat.S_ISFIFO: "FIFO",
    stat.S_ISSOCK: "socket",
    stat.S_ISCHR: "device",
    stat.S_ISBLK: "device",
}


def _lock(folder: Path) -> tuple[Path, int | None]:
    while True:
        exists = folder.exists()
        prepared = folder / PREPARED if exists else folder.with_name(f"{PREPARED}-{folder.name}")
        if prepared.is_symlink():
            prepared.unlink()
        with suppress(FileExistsError):
            prepared.mkdir()
        try:
            lock = _wait_for(prepared)
        except FileNotFoundError:
            continue
        if folder.exists() == exists and (lock is None or _is_open_at(lock, prepared)):
            return prepared, lock
        # Another build held it until now, and has made the folder or removed this one.
        _unlock(lock)


def _wait_for(prepared: Path) -> int | None:
    """Lock a folder as soon as no other process has it, where the system has such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    lock = os.open(prepared, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _is_open_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _release(prepared: Path, lock: int | None) -> None:
    # Once it is removed or renamed, the next build may have one of this name. What was replaced is
    # there still where a build was killed, or could not be undone.
    ours = lock is None or _is_open_at(lock, prepared)
    if ours and not (prepared / _REPLACED).exists():
        shutil.rmtree(prepared, ignore_errors=True)
    _unlock(lock)


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _prepare(change: Change) -> None:
    for path in change.prepared.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name, content in change.write.items():
        with (change.prepared / name).open("xb") as file:
            file.write(content)


def _exchange(change: Change, undo: ExitStack) -> None:
    """Move prepared files to their places, and those that had them, or have none now, away."""
    replaced = change.prepared / _REPLACED
    replaced.mkdir()
    undo.callback(replaced.rmdir)
    for name in (*change.remove, *change.write):
        path, new, old = change.folder / name, change.prepared / name, replaced / name
        undo.callback(_restore, path, new if name in change.write else None, old)
        if os.path.lexists(path):
            path.rename(old)
        if name in change.write:
            new.rename(path)


def _restore(path: Path, new: Path | None, old: Path) -> None:
    if os.path.lexists(old):
        old.replace(path)
    elif new:
        _move(path, new)


def _move(path: Path, target: Path) -> None:
    """Move what is at a path, unless it is at the target already."""
    if not os.path.lexists(target):
        path.rename(target)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
