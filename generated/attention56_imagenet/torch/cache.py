"""What is kept between runs: hashes of files, and decoded images as memory-mapped arrays.

Everything can be deleted at any time, and is made again when it is needed. Files are written
beside their place and renamed, so that what is there is whole; processes that need the same wait
for the one that makes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from errno import ENOSPC
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from checkpoint import replaced
from images import DataError, ImageFiles, check

FORMAT = 1
"""Of the files of this cache: others are made anew."""
BLOCK = 1 << 26
SETTLED = 2 * 10**9
"""Nanoseconds after which a changed file has another time, on the coarsest of file systems."""


@dataclass(frozen=True)
class Survey:
    """What files hold: SHA-256, uint8 [N, 32]; height and width, int32 [N, 2]; what is wrong."""

    hashes: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    faults: dict[int, str]


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder that was chosen, or that of the user (XDG_CACHE_HOME or ~/.cache)."""
    if chosen is not None:
        return chosen
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "ranspec"


def survey(
    files: ImageFiles, cache: Path, look: Callable[[bytes], tuple[int, int]] = check
) -> Survey:
    """Look at every file once, and again only at those that changed since.

    A file is taken for unchanged where name, size and both times are those recorded, unless it
    changed just before the record was written. `look` returns height and width, or raises
    DataError for what is no usable image. What was looked at before an interruption counts.
    """
    place = hashlib.sha256(f"{look.__name__} {files.folder.resolve()}".encode()).hexdigest()[:32]
    record = cache / "files" / f"{place}.npz"
    stamps = _stamps(files)
    found, known = _recorded(record, files, stamps)
    if known.all():
        return found
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with locked(record.with_suffix(".lock")):
            found, known = _recorded(record, files, stamps)
            _look(files, look, record, stamps, found, known)
    except OSError as error:
        raise _unwritable(record.parent, error) from None
    return replace(found, faults=dict(sorted(found.faults.items())))


def _look(
    files: ImageFiles,
    look: Callable[[bytes], tuple[int, int]],
    record: Path,
    stamps: NDArray[np.int64],
    found: Survey,
    known: NDArray[np.bool_],
) -> None:
    """Complete a survey, and record it."""
    written = time.time_ns()

    def examine(index: int) -> None:
        content = files.content(index)
        found.hashes[index] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        try:
            found.sizes[index] = look(content)
        except DataError as error:
            found.faults[index] = str(error)
        known[index] = True

    new = np.flatnonzero(~known)
    try:
        in_threads(examine, new, f"checking {files.folder}")
    finally:
        seen = np.flatnonzero(known)
        if len(seen):
            rows = {int(index): row for row, index in enumerate(seen)}
            faults = [(rows[index], reason) for index, reason in sorted(found.faults.items())]
            _save_arrays(
                record,
                names=_bytes("\0".join(files.names[index] for index in seen.tolist())),
                starts=_starts(files)[seen],
                stamps=stamps[seen],
                hashes=found.hashes[seen],
                sizes=found.sizes[seen],
                faults=_bytes(json.dumps(faults)),
                written=np.array(written),
            )


def _recorded(
    record: Path, files: ImageFiles, stamps: NDArray[np.int64]
) -> tuple[Survey, NDArray[np.bool_]]:
    """Return what is recorded of files, and of which of them it holds."""
    count = len(files)
    found = Survey(np.zeros((count, 32), np.uint8), np.zeros((count, 2), np.int32), {})
    kept = _load_arrays(record)
    if kept is None:
        return found, np.zeros(count, dtype=np.bool_)
    rows = _rows(kept, files)
    same = (kept["stamps"][rows] == stamps).all(axis=1)
    settled = stamps[:, 1:3].max(axis=1, initial=0) < kept["written"] - SETTLED
    known = (rows >= 0) & same & settled
    found.hashes[known], found.sizes[known] = (
        kept["hashes"][rows[known]],
        kept["sizes"][rows[known]],
    )
    faults = {int(row): reason for row, reason in json.loads(kept["faults"].tobytes())}
    if faults:
        row_of = zip(np.flatnonzero(known).tolist(), rows[known].tolist(), strict=True)
        found.faults.update({index: faults[row] for index, row in row_of if row in faults})
    return found, known


def stored_array(
    cache: Path,
    key: str,
    shape: tuple[int, ...],
    fill: Callable[[NDArray[np.uint8]], None],
) -> tuple[NDArray[np.uint8], str]:
    """Return the uint8 array kept under a key, and its digest.

    It is mapped into memory; what is written into it stays in memory.

    Where there is none, or a damaged one, `fill` is given one to write into. Raises DataError
    where it cannot be kept.
    """
    path = cache / "arrays" / f"{key}.npy"
    found = _intact(path, shape)
    if found is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock")) as alone:
            found = _intact(path, shape)
            if found is not None:
                return found
            if alone:
                _remove(path.parent.glob(f".{path.name}.*"))
            _write(path, shape, fill)
    except OSError as error:
        raise _unwritable(cache, error) from None
    found = _intact(path, shape)
    if found is None:
        raise DataError(f"{path}: damaged as soon as it was written")
    return found


def stored_tensors(
    cache: Path, key: str, make: Callable[[], Mapping[str, NDArray[Any]]]
) -> Mapping[str, NDArray[Any]]:
    """Return the small arrays kept under a key, or made."""
    path = cache / "tensors" / f"{key}.npz"
    found = _load_arrays(path)
    if found is not None:
        return found
    made = make()
    _save_arrays(path, **made)
    return made


def array_digest(array: NDArray[np.uint8]) -> str:
    """Return a SHA-256 of an array's bytes: that of the hashes of its blocks."""
    flat = array.reshape(-1)
    blocks = [flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK)]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda block: hashlib.sha256(block).digest(), blocks))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def in_threads(work: Callable[[int], None], indices: Iterable[int], what: str) -> None:
    """Call `work` with each index, in threads, and show how far it is.

    The first error ends it.
    """
    items = list(map(int, indices))
    parts = [items[start : start + 64] for start in range(0, len(items), 64)]

    def do(part: list[int]) -> int:
        for index in part:
            work(index)
        return len(part)

    with shown_progress(len(items), what, "image") as advance, ThreadPoolExecutor() as pool:
        try:
            for done in pool.map(do, parts):
                advance(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def shown_progress(total: int, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Yield a function to call with the amount done: a bar, or a line where no terminal is."""
    if not sys.stderr.isatty():
        print(f"{what}: {total:,} {unit}s", file=sys.stderr, flush=True)
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=unit == "byte",
        dynamic_ncols=True,
        leave=False,
    ) as bar:
        yield bar.update


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock among processes; yield whether it is held: some file systems have none."""
    with path.open("a+b") as file:
        try:
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another process at {path}", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            held = True
        except (ImportError, OSError):
            held = False
        yield held


def _write(path: Path, shape: tuple[int, ...], fill: Callable[[NDArray[np.uint8]], None]) -> None:
    header = io.BytesIO()
    layout = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, layout)
    size = len(header.getvalue()) + int(np.prod(shape))
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise DataError(
            f"{path.parent}: {size / 1e9:.1f} GB are needed for decoded images, "
            f"{free / 1e9:.1f} GB are free: pass another --cache-dir"
        )
    with replaced(path) as temporary:
        with temporary.open("w+b") as file:
            file.write(header.getvalue())
            _allocate(file, size)
        array = np.lib.format.open_memmap(temporary, mode="r+")
        fill(array)
        array.flush()
        described = {"format": FORMAT, "shape": shape, "sha256": array_digest(array)}
        del array
        path.with_suffix(".json").unlink(missing_ok=True)
    with replaced(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(described), encoding="utf-8")


def _allocate(file: IO[bytes], size: int) -> None:
    """Reserve a file's space: a full disk would end the process where it writes into a map."""
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) == ENOSPC:
            raise
        file.truncate(size)  # This system, or this file system, reserves nothing.


def _intact(path: Path, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], str] | None:
    """Return the array of a file, and its digest; None unless it is as it was written."""
    try:
        described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        array = np.lib.format.open_memmap(path, mode="c")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        described, array = {}, None
    expected = {"format": FORMAT, "shape": list(shape)}
    if array is not None and array.shape == shape and array.dtype == np.uint8:
        digest = array_digest(array)
        if described == {**expected, "sha256": digest}:
            return np.asarray(array), digest
    print(f"{path}: damaged, is made anew", file=sys.stderr, flush=True)
    return None


def _stamps(files: ImageFiles) -> NDArray[np.int64]:
    """Return size, time of the last change of content and of anything, of each image's file."""
    found: dict[str, tuple[int, int, int]] = {}
    folder = str(files.folder)
    for name in files.names:
        if name not in found:
            try:
                status = os.stat(f"{folder}/{name}")  # noqa: PTH116 (quicker than Path's)
            except OSError as error:
                raise DataError(f"{folder}/{name}: {error.strerror}") from None
            found[name] = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    stamps = np.array([found[name] for name in files.names], dtype=np.int64).reshape(-1, 3)
    return np.concatenate([stamps, _starts(files)], axis=1)


def _starts(files: ImageFiles) -> NDArray[np.int64]:
    return np.zeros((len(files), 2), dtype=np.int64) if files.places is None else files.places


def _rows(kept: Mapping[str, NDArray[Any]], files: ImageFiles) -> NDArray[np.int64]:
    """Return where in the record each file is, -1 for those that are not in it."""
    names = kept["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
    if names == list(files.names):
        return np.arange(len(names))
    places = zip(names, kept["starts"][:, 0].tolist(), strict=True)
    rows = {place: row for row, place in enumerate(places)}
    wanted = zip(files.names, _starts(files)[:, 0].tolist(), strict=True)
    return np.array([rows.get(place, -1) for place in wanted], dtype=np.int64)


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)


def _load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays if arrays.pop("format") == FORMAT else None
    except Exception:  # Whatever is wrong with it, it is made anew.
        return None


def _save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    try:
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez(file, format=np.array(FORMAT), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise _unwritable(path.parent, error) from None


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{error.filename or folder}: {error.strerror or error}: pass another --cache-dir"
    )


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
