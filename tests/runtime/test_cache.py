"""What is kept between runs is made once, noticed when damaged, and can be deleted."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.runtime import cache
from ranspec.runtime.cache import Survey, cache_folder, stored_array, stored_tensors, survey
from ranspec.runtime.images import DataError, ImageFiles

LONG_AGO = 10**18


class Looks:
    """Counts the contents that were looked at."""

    __name__ = "looks"

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def __call__(self, content: bytes) -> tuple[int, int]:
        self.seen.append(content)
        if content.startswith(b"bad"):
            raise DataError(f"of {len(content)} bytes")
        return len(content), 1


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageFiles:
    """Three files that are settled: files of tests are too new to be taken for unchanged."""
    monkeypatch.setattr(cache, "SETTLED", -(10**18))
    folder = tmp_path / "images"
    folder.mkdir()
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        (folder / name).write_bytes(name.encode())
    return ImageFiles(folder, names)


def look(files: ImageFiles, folder: Path) -> tuple[Survey, list[bytes]]:
    looks = Looks()
    return survey(files, folder, looks), sorted(looks.seen)


def test_files_are_looked_at_once(files: ImageFiles, tmp_path: Path) -> None:
    (files.folder / "b.png").write_bytes(b"bad!")
    first, seen = look(files, tmp_path)
    assert seen == [b"a.png", b"bad!", b"c.png"]
    assert first.faults == {1: "of 4 bytes"}
    assert first.sizes.tolist() == [[5, 1], [0, 0], [5, 1]]
    second, seen = look(files, tmp_path)
    assert seen == []
    assert second.faults == first.faults
    assert np.array_equal(second.hashes, first.hashes)
    assert np.array_equal(second.sizes, first.sizes)


def test_only_what_changed_is_looked_at_again(files: ImageFiles, tmp_path: Path) -> None:
    first, _ = look(files, tmp_path)
    (files.folder / "b.png").write_bytes(b"B.png")
    (files.folder / "d.png").write_bytes(b"d.png")
    second, seen = look(ImageFiles(files.folder, ["b.png", "c.png", "d.png"]), tmp_path)
    assert seen == [b"B.png", b"d.png"]
    assert np.array_equal(second.hashes[1], first.hashes[2])
    assert not np.array_equal(second.hashes[0], first.hashes[1])


def test_a_change_that_keeps_size_and_time_is_noticed(files: ImageFiles, tmp_path: Path) -> None:
    path = files.folder / "a.png"
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    look(files, tmp_path)
    time.sleep(0.02)
    path.write_bytes(b"A.png")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert look(files, tmp_path)[1] == [b"A.png"]


def test_files_that_just_changed_are_looked_at_again(
    files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SETTLED", 2 * 10**9)
    look(files, tmp_path)
    assert len(look(files, tmp_path)[1]) == 3


def test_what_was_looked_at_before_an_interruption_counts(
    files: ImageFiles, tmp_path: Path
) -> None:
    class Interrupted(Looks):
        def __call__(self, content: bytes) -> tuple[int, int]:
            if len(self.seen) == 2:
                raise KeyboardInterrupt
            return super().__call__(content)

    looks = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        survey(files, tmp_path, looks)
    assert len(looks.seen) == 2
    assert len(look(files, tmp_path)[1]) == 1


def test_starts_at_the_same_time_look_once(files: ImageFiles, tmp_path: Path) -> None:
    class Slow(Looks):
        def __call__(self, content: bytes) -> tuple[int, int]:
            time.sleep(0.02)
            return super().__call__(content)

    looks = Slow()
    starts = [threading.Thread(target=survey, args=(files, tmp_path, looks)) for _ in range(4)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert len(looks.seen) == 3


def test_images_within_a_file_are_told_apart(files: ImageFiles, tmp_path: Path) -> None:
    (files.folder / "all.tar").write_bytes(b"onetwo")
    places = np.array([[0, 3], [3, 3]])
    within = ImageFiles(files.folder, ["all.tar", "all.tar"], places)
    assert look(within, tmp_path)[1] == [b"one", b"two"]
    assert look(within, tmp_path)[1] == []
    moved = ImageFiles(files.folder, ["all.tar", "all.tar"], np.array([[0, 2], [3, 3]]))
    assert look(moved, tmp_path)[1] == [b"on"]


def test_a_damaged_record_is_made_anew(files: ImageFiles, tmp_path: Path) -> None:
    look(files, tmp_path)
    (record,) = (tmp_path / "files").glob("*.npz")
    whole = record.read_bytes()
    for damaged in (b"", whole[:50], whole[:400] + b"\xff" * 20 + whole[420:]):
        record.write_bytes(damaged)
        assert len(look(files, tmp_path)[1]) == 3
    assert look(files, tmp_path)[1] == []


def test_a_file_that_is_gone_is_named(files: ImageFiles, tmp_path: Path) -> None:
    (files.folder / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png: No such file"):
        look(files, tmp_path)


class Fill:
    """Fills an array, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, array: NDArray[np.uint8]) -> None:
        self.calls += 1
        time.sleep(0.05)
        array[:] = np.arange(array.size).reshape(array.shape) % 251


SHAPE = (5, 4, 3)


def stored(folder: Path, fill: Fill) -> list[int]:
    array, _ = stored_array(folder, "key", SHAPE, fill)
    return array.reshape(-1).tolist()


def test_an_array_is_made_once_and_can_be_deleted(tmp_path: Path) -> None:
    fill = Fill()
    assert stored(tmp_path, fill) == stored(tmp_path, fill) == list(range(60))
    assert fill.calls == 1
    shutil.rmtree(tmp_path / "arrays")
    assert stored(tmp_path, fill) == list(range(60))
    assert fill.calls == 2


def test_what_is_written_into_an_array_stays_in_memory(tmp_path: Path) -> None:
    array, digest = stored_array(tmp_path, "key", SHAPE, Fill())
    array[:] = 7
    again, same = stored_array(tmp_path, "key", SHAPE, Fill())
    assert again.reshape(-1).tolist() == list(range(60))
    assert digest == same


@pytest.mark.parametrize("damage", ["a bit", "cut", "empty", "no description", "description"])
def test_a_damaged_array_is_noticed_and_made_anew(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill = Fill()
    stored(tmp_path, fill)
    array, description = tmp_path / "arrays/key.npy", tmp_path / "arrays/key.json"
    content = array.read_bytes()
    if damage == "a bit":
        array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        array.write_bytes(content[:-20])
    elif damage == "empty":
        array.write_bytes(b"")
    elif damage == "description":
        description.write_text("{")
    else:
        description.unlink()
    assert stored(tmp_path, fill) == list(range(60))
    assert fill.calls == 2
    said = capsys.readouterr().err
    assert ("damaged, is made anew" in said) == (damage != "no description")


def test_starts_at_the_same_time_make_an_array_once(tmp_path: Path) -> None:
    fill = Fill()
    results: list[list[int]] = []
    starts = [
        threading.Thread(target=lambda: results.append(stored(tmp_path, fill))) for _ in range(4)
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert results == [list(range(60))] * 4
    assert fill.calls == 1


def test_what_a_killed_start_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    left = tmp_path / "arrays/.key.npy.12345"
    left.write_bytes(b"half")
    stored(tmp_path, Fill())
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == [
        "key.json",
        "key.lock",
        "key.npy",
    ]


def test_an_error_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(array: NDArray[np.uint8]) -> None:
        raise DataError("no pixels")

    with pytest.raises(DataError, match="no pixels"):
        stored_array(tmp_path, "key", SHAPE, fail)
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["key.lock"]


def test_too_little_space_is_said_before_the_work(tmp_path: Path) -> None:
    fill = Fill()
    with pytest.raises(DataError, match=r"GB are needed .* pass another --cache-dir"):
        stored_array(tmp_path, "key", (1 << 40, 1 << 20, 1), fill)
    assert fill.calls == 0


def test_a_disk_that_fills_up_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fill = Fill()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="No space left on device: pass another --cache-dir"):
        stored(tmp_path, fill)
    assert fill.calls == 0
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["key.lock"]


def test_a_file_system_that_reserves_no_space_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert stored(tmp_path, Fill()) == list(range(60))


def test_a_cache_that_cannot_be_written_is_named(files: ImageFiles, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for write in (lambda: stored(blocked, Fill()), lambda: look(files, blocked)):
        with pytest.raises(DataError, match=r"file.*: pass another --cache-dir"):
            write()


def test_small_tensors_are_made_once_even_where_they_were_damaged(tmp_path: Path) -> None:
    calls = []

    def make() -> dict[str, NDArray[np.float64]]:
        calls.append(1)
        return {"data.mean": np.array([0.1, 0.2])}

    path = tmp_path / "tensors/key.npz"
    for expected in (1, 1):
        assert stored_tensors(tmp_path, "key", make)["data.mean"].tolist() == [0.1, 0.2]
        assert len(calls) == expected
    path.write_bytes(path.read_bytes()[:-30])
    assert stored_tensors(tmp_path, "key", make)["data.mean"].tolist() == [0.1, 0.2]
    assert len(calls) == 2


def test_the_cache_is_the_users_unless_another_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(None) == tmp_path / "xdg" / "ranspec"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder(None) == tmp_path / ".cache" / "ranspec"
    assert cache_folder(tmp_path / "mine") == tmp_path / "mine"
