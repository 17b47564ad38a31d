"""Published datasets are read in the layouts in which they are distributed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ranspec.runtime import archives
from ranspec.runtime.archives import (
    CIFAR,
    Archive,
    CifarLayout,
    fetch,
    find_cifar,
    find_tiny_imagenet,
    imagenet,
    read_pickle,
    tiny_imagenet,
    unpack,
)
from ranspec.runtime.images import DataError

GENERATOR = np.random.Generator(np.random.Philox(key=3))
COUNT = 7
"""Images in each file of a CIFAR archive."""

LAYOUTS = [layout for layouts in CIFAR.values() for layout in layouts]


def classes_of(layout: CifarLayout) -> list[str]:
    return [f"class{number:02}" for number in range(100 if "100" in layout.folder else 10)]


def planes(name: str) -> tuple[NDArray[np.uint8], list[int], list[int]]:
    """Return pixels, uint8 [N, 3072], labels and coarse labels of a file, by its name."""
    generator = np.random.default_rng(sum(name.removesuffix(".bin").encode()))
    pixels = generator.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
    return pixels, generator.integers(0, 10, COUNT).tolist(), [19] * COUNT


def python2_pickle(values: Mapping[str, Any]) -> bytes:
    """Write a dictionary of bytes, lists and uint8 arrays as Python 2 did, with protocol 2."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + len(value).to_bytes(4, "little") + value

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    def item(value: Any) -> bytes:
        if isinstance(value, str):
            return text(value.encode())
        if isinstance(value, int):
            return number(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(item, value)) + b"e"
        shape = b"".join(map(number, value.shape))
        dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
        dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        made = reconstruct + b"(K\x00t" + text(b"b") + b"tR"
        return made + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    pairs = b"".join(text(key.encode()) + item(value) for key, value in values.items())
    return b"\x80\x02}(" + pairs + b"u."


def cifar_files(layout: CifarLayout) -> dict[str, bytes]:
    """Return the files of a CIFAR archive as they are distributed, with few images."""
    files = {}
    for name in (*layout.training, *layout.test):
        pixels, labels, coarse = planes(name)
        if layout.header:
            columns = [np.array(values, dtype=np.uint8) for values in (coarse, labels)]
            records = [*columns[2 - layout.header :], *pixels.T]
            files[name] = np.stack(records, axis=1).tobytes()
        else:
            names = [f"picture_{index}.png" for index in range(COUNT)]
            values = {"batch_label": "a batch", layout.labels: labels, "data": pixels}
            files[name] = python2_pickle({**values, "filenames": names})
    names = classes_of(layout)
    if layout.header:
        files[layout.names] = ("\n".join(names) + "\n\n").encode()
    else:
        files[layout.names] = python2_pickle({layout.label_names: names})
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_cifar(place: Path, layout: CifarLayout) -> Path:
    """Write the archive of a layout into a folder."""
    files = {f"{layout.folder}/{name}": data for name, data in cifar_files(layout).items()}
    return write_tar(place / layout.archive, {**files, f"{layout.folder}/readme.html": b"<html>"})


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.folder)
@pytest.mark.parametrize("split", ["training", "test"])
def test_cifar_is_read_packed_or_not_in_every_layout(
    layout: CifarLayout, packed: bool, split: str, tmp_path: Path
) -> None:
    if packed:
        place = write_cifar(tmp_path, layout)
    else:
        place = write_folder(tmp_path / layout.folder, cifar_files(layout))
    data = "cifar100" if "100" in layout.folder else "cifar10"
    wanted = [planes(name) for name in layout.files(split)]
    pixels = np.concatenate([part[0] for part in wanted]).reshape(-1, 3, 32, 32)
    for asked in (tmp_path, place):
        found = find_cifar(data, asked)
        assert found is not None
        images, labels, classes = found.read(split)
        assert np.array_equal(images, pixels.transpose(0, 2, 3, 1))
        assert labels.tolist() == [label for part in wanted for label in part[1]]
        assert list(classes) == classes_of(layout)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    write_cifar(tmp_path, CIFAR["cifar10"][0])
    assert find_cifar("cifar100", tmp_path) is None
    assert find_cifar("folder", tmp_path) is None
    assert find_cifar("cifar10", tmp_path / "other") is None


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_rewritten_by_python_3_are_read(protocol: int) -> None:
    pixels = GENERATOR.integers(0, 256, (4, 3072), dtype=np.uint8)
    values = {"data": pixels, "labels": [1, 2, 3, 4], b"names": [b"cat"]}
    read = read_pickle(pickle.dumps(values, protocol), "batch")
    assert np.array_equal(read["data"], pixels)
    assert read["labels"] == [1, 2, 3, 4]
    assert read["names"] == [b"cat"]


class Hostile:
    def __init__(self, *call: Any):
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("touch /tmp/ranspec-was-here",)),
        (eval, ("1",)),
        (np.load, ("/etc/passwd",)),
        (getattr, ("", "join")),
        (np.frombuffer, (b"1",)),
    ],
    ids=lambda call: call[0].__name__,
)
def test_a_pickle_calls_nothing(call: Any) -> None:
    content = pickle.dumps({"data": Hostile(*call)})
    with pytest.raises(DataError, match=r"batch: not a pickle of a dataset \(it names "):
        read_pickle(content, "batch")


def test_a_small_pickle_of_a_huge_array_takes_no_memory() -> None:
    huge = b"\x80\x02}(U\x04datacnumpy\nndarray\n(J\x00\x00\x00\x7f\x85tRu."
    read = read_pickle(b"\x80\x02}.", "batch")
    assert read == {}
    with pytest.raises(DataError, match="not a pickle"):
        read_pickle(huge, "batch")
    pixels = np.zeros((2, 3072), dtype=np.uint8)
    wrong = pickle.dumps({"data": pixels}, 4).replace(b"M\x00\x0c", b"J\xff\xff\xff\x7f")
    with pytest.raises(DataError, match="not a pickle"):
        read_pickle(wrong, "batch")


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2)), np.asfortranarray(np.ones((3, 4), dtype=np.uint8)), np.array([{}])],
    ids=["floats", "columns first", "objects"],
)
def test_arrays_of_other_values_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(DataError, match="batch: not a pickle of a dataset"):
        read_pickle(pickle.dumps({"data": array}, 4), "batch")


def test_any_damage_to_a_pickle_is_a_data_error_or_other_values() -> None:
    content = python2_pickle({"labels": [1, 2], "data": np.zeros((2, 6), dtype=np.uint8)})
    for position in range(len(content)):
        for cut in (content[:position], content[:position] + b"\xff" + content[position + 1 :]):
            try:
                read_pickle(cut, "batch")
            except DataError:
                continue


def broken_cifar(layout: CifarLayout) -> dict[str, tuple[Mapping[str, bytes], str]]:
    files = cifar_files(layout)
    test = layout.test[0]
    pixels, labels, _ = planes(test)

    def other(name: str, content: bytes) -> Mapping[str, bytes]:
        return {**files, name: content}

    return {
        "a cut pickle": (other(test, files[test][:-9]), "test_batch: not a pickle"),
        "no labels": (other(test, python2_pickle({"data": pixels})), "'labels' is not a list of 7"),
        "few labels": (
            other(test, python2_pickle({"data": pixels, "labels": labels[1:]})),
            "'labels' is not a list of 7 whole numbers",
        ),
        "a label too many": (
            other(test, python2_pickle({"data": pixels, "labels": [*labels[1:], 10]})),
            "labels beyond the 10 classes",
        ),
        "short images": (
            other(test, python2_pickle({"data": pixels[:, 1:], "labels": labels})),
            r"'data' is not an array \[N, 3072\]",
        ),
        "no names": (other(layout.names, python2_pickle({})), "no list 'label_names'"),
    }


@pytest.mark.parametrize("fault", broken_cifar(CIFAR["cifar10"][1]))
def test_damaged_python_batches_are_named(fault: str, tmp_path: Path) -> None:
    layout = CIFAR["cifar10"][1]
    files, message = broken_cifar(layout)[fault]
    found = find_cifar("cifar10", write_folder(tmp_path / layout.folder, files))
    assert found is not None
    with pytest.raises(DataError, match=message):
        found.read("test")


def test_damaged_binary_archives_are_named(tmp_path: Path) -> None:
    layout = CIFAR["cifar10"][0]
    path = write_cifar(tmp_path, layout)
    found = find_cifar("cifar10", path)
    assert found is not None
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: a damaged archive"):
        found.read("test")
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(DataError, match=r"a damaged archive \(CRC check failed"):
        found.read("test")
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: a damaged archive"):
        found.read("test")
    write_tar(path, {"cifar-10-batches-bin/batches.meta.txt": b"cat"})
    with pytest.raises(DataError, match=r"no file cifar-10-batches-bin/test_batch\.bin in the"):
        found.read("test")
    folder = write_folder(tmp_path / "cut", cifar_files(layout))
    (folder / "test_batch.bin").write_bytes(b"\0" * 3074)
    found = find_cifar("cifar10", folder)
    assert found is not None
    with pytest.raises(DataError, match=r"test_batch\.bin: 3,074 bytes, not a multiple of 3,073"):
        found.read("test")


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    layout = CIFAR["cifar10"][0]
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 3073)
    path = tmp_path / layout.archive
    with tarfile.open(path, "w:gz") as archive:
        for name in (*layout.test, layout.names):
            link = tarfile.TarInfo(f"{layout.folder}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(secret)
            archive.addfile(link)
    found = find_cifar("cifar10", path)
    assert found is not None
    with pytest.raises(DataError, match="no file"):
        found.read("test")


# Downloads


CONTENT = GENERATOR.bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves `content`, badly in the ways that a test asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cut_after: list[int] = []
        """How many bytes to send before each connection is cut, until the list is empty."""
        self.ranges = True
        self.shifted = False
        self.length: int | None = None
        self.statuses: list[int] = []
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        span = self.headers.get("Range")
        server.asked.append(span)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start - 1 if server.shifted else start
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        length = len(body) if server.length is None else server.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(archives.time, "sleep", lambda seconds: None)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def published(server: Server) -> Archive:
    url = f"http://127.0.0.1:{server.server_port}/images.tar.gz"
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    return Archive("images.tar.gz", url, len(CONTENT), digest)


@contextmanager
def refused(folder: Path, message: str) -> Iterator[None]:
    with pytest.raises(DataError, match=message):
        yield
    assert not (folder / "images.tar.gz").exists()


def test_an_archive_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = fetch(published(server), tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert fetch(published(server), tmp_path / "new") == path
    assert server.asked == [None]
    assert not list(path.parent.glob("*.part"))


def test_a_cut_connection_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1_000_000, 0, 700_000]
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1700000-"]


def test_a_later_start_goes_on_with_what_has_come(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1_000_000] + [0] * 20
    with refused(tmp_path, r"1,000,000 of 3,000,000 bytes are here: start again to go on"):
        fetch(published(server), tmp_path)
    server.cut_after = []
    server.asked.clear()
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000000-"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [2_000_000]
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-"]


def test_a_server_that_always_cuts_is_given_up(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = [2_000_000] * 100
    with refused(tmp_path, "2,000,000 of 3,000,000 bytes are here"):
        fetch(published(server), tmp_path)
    assert len(server.asked) < 10


def test_a_part_that_starts_elsewhere_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.shifted = True
    server.cut_after = [2_000_000]
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-", None]


@pytest.mark.parametrize("length", [1_000_000, 9_000_000])
def test_a_server_that_lies_about_the_length_does_no_harm(
    server: Server, length: int, tmp_path: Path
) -> None:
    server.length = length
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT + b"more" * 1_000_000],
    ids=["one bit", "longer"],
)
def test_another_file_than_the_published_one_is_refused(
    server: Server, content: bytes, tmp_path: Path
) -> None:
    server.content = content
    with refused(tmp_path, "another file than the published one: .* with MD5"):
        fetch(published(server), tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_shorter_file_than_the_published_one_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>moved</html>"
    with refused(tmp_path, r"HTTP status 416 .* the file there ends before byte 18"):
        fetch(published(server), tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_not_there_is_said_at_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404] * 9
    with refused(tmp_path, r"images\.tar\.gz: HTTP status 404"):
        fetch(published(server), tmp_path)
    assert len(server.asked) == 1


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    assert fetch(published(server), tmp_path).read_bytes() == CONTENT


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, server: Server) -> None:
    gone = replace(published(server), url="http://127.0.0.1:9/images.tar.gz")
    with refused(tmp_path, r"127\.0\.0\.1:9/images\.tar\.gz: .*refused, 0 of 3,000,000 bytes"):
        fetch(gone, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file"):
        fetch(published(server), tmp_path / "file")


# Tiny ImageNet


def jpeg(shade: int, side: int = 64) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


def tiny_files() -> dict[str, bytes]:
    """Return Tiny ImageNet as it is distributed, with two classes."""
    files = {"wnids.txt": b"n02\nn01\n", "words.txt": b"n01\tcat\nn02\tdog\nn03\tfox\n"}
    for label, name in enumerate(("n01", "n02")):
        files[f"train/{name}/{name}_boxes.txt"] = f"{name}_0.JPEG\t0\t0\t9\t9\n".encode()
        for index in range(3):
            files[f"train/{name}/images/{name}_{index}.JPEG"] = jpeg(100 * label + index)
    rows = [("val_10.JPEG", "n01"), ("val_2.JPEG", "n02"), ("val_0.JPEG", "n02")]
    files |= {f"val/images/{name}": jpeg(200) for name, _ in rows}
    lines = [f"{name}\t{wnid}\t0\t0\t62\t62\n" for name, wnid in rows]
    files["val/val_annotations.txt"] = "".join(lines).encode()
    files["test/images/test_0.JPEG"] = jpeg(9)
    return {f"tiny-imagenet-200/{name}": content for name, content in files.items()}


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_tiny_imagenet_has_the_labels_of_its_annotations(packed: bool, tmp_path: Path) -> None:
    if packed:
        write_zip(tmp_path / "tiny-imagenet-200.zip", tiny_files())
    else:
        write_folder(tmp_path, tiny_files())
    folder = find_tiny_imagenet(tmp_path, tmp_path / "unpacked")
    assert folder is not None
    train, test = tiny_imagenet(folder, "training"), tiny_imagenet(folder, "test")
    assert train.classes == test.classes == ("n01", "n02")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert test.files.names == ["val_0.JPEG", "val_10.JPEG", "val_2.JPEG"]
    assert test.labels.tolist() == [1, 0, 1]
    assert test.files.content(0) == jpeg(200)
    assert find_tiny_imagenet(tmp_path / "unpacked", tmp_path) is None


@pytest.mark.parametrize("line", ["val_0.JPEG n01", "val_0.JPEG\tn09\t0", "../x.JPEG\tn01\t0"])
def test_wrong_annotations_are_named_with_their_line(line: str, tmp_path: Path) -> None:
    files = tiny_files()
    files["tiny-imagenet-200/val/val_annotations.txt"] += line.encode()
    folder = write_folder(tmp_path, files) / "tiny-imagenet-200"
    with pytest.raises(DataError, match=r"val_annotations\.txt:4: not a file's name"):
        tiny_imagenet(folder, "test")


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside"])
def test_members_that_lie_outside_are_not_unpacked(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bad.zip", {**tiny_files(), name: b"here"})
    with pytest.raises(DataError, match="lies outside the archive"):
        unpack(path, tmp_path / "a" / "unpacked")
    assert not list(tmp_path.rglob("*outside*"))
    assert not (tmp_path / "a" / "unpacked").exists()


def test_a_damaged_zip_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "tiny-imagenet-200.zip", tiny_files())
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tiny-imagenet-200\.zip: a damaged archive"):
        find_tiny_imagenet(path, tmp_path / "unpacked")
    assert [item.suffix for item in (tmp_path / "unpacked").iterdir()] == [".lock"]


# ImageNet


SYNSETS = {3: "n01", 1: "n02", 2: "n03"}
"""By ILSVRC2012_ID, which is not the place in the sorted list."""
VALIDATION = {f"ILSVRC2012_val_0000000{place}.JPEG": n for place, n in ((1, 2), (2, 3), (3, 1))}
"""The ILSVRC2012_ID of each image."""


def meta_mat() -> bytes:
    import scipy.io

    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, name, "an animal", 0) for number, name in sorted(SYNSETS.items())]
    synsets = np.array([*rows, (4, "n00", "all animals", 3)], dtype=kinds).reshape(-1, 1)
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"synsets": synsets})
    return stream.getvalue()


def tar_bytes(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def training_images() -> dict[str, dict[str, bytes]]:
    return {
        name: {f"{name}_{index}.JPEG": jpeg(10 * label + index) for index in range(2)}
        for label, name in enumerate(("n01", "n02", "n03"))
    }


def write_training(folder: Path, kind: str) -> None:
    if kind == "folders":
        for name, images in training_images().items():
            write_folder(folder / "train" / name, images)
        return
    inner = {f"{name}.tar": tar_bytes(images) for name, images in training_images().items()}
    if kind == "inner tars":
        write_folder(folder / "train", inner)
    else:
        shuffled = dict(reversed(inner.items()))
        write_tar(folder / archives.TRAINING_TAR, shuffled, "w")


@pytest.mark.parametrize("kind", ["folders", "inner tars", "tar"])
def test_imagenet_trains_from_folders_or_archives_alike(kind: str, tmp_path: Path) -> None:
    write_training(tmp_path, kind)
    for _ in range(2):  # The second time, places come from the cache.
        files, labels, classes = imagenet(tmp_path, "training", tmp_path / "cache")
        assert classes == ("n01", "n02", "n03")
        assert labels.tolist() == [0, 0, 1, 1, 2, 2]
        contents = [content for images in training_images().values() for content in images.values()]
        assert [files.content(index) for index in range(6)] == contents


def write_validation(folder: Path, kind: str) -> None:
    images = {name: jpeg(number) for name, number in VALIDATION.items()}
    if kind == "tar":
        write_tar(folder / archives.VALIDATION_TAR, dict(reversed(images.items())), "w")
    else:
        write_folder(folder / "val", images)
    truth = "".join(f"{number}\n" for number in VALIDATION.values()).encode()
    kit = {"ILSVRC2012_validation_ground_truth.txt": truth, "meta.mat": meta_mat()}
    devkit = {f"{archives.DEVKIT}/data/{name}": content for name, content in kit.items()}
    if kind == "tar":
        write_tar(folder / f"{archives.DEVKIT}.tar.gz", devkit)
    else:
        write_folder(folder, devkit)


@pytest.mark.parametrize("kind", ["tar", "flat"])
def test_imagenets_validation_has_the_labels_of_the_development_kit(
    kind: str, tmp_path: Path
) -> None:
    write_validation(tmp_path, kind)
    files, labels, classes = imagenet(tmp_path, "test", tmp_path / "cache")
    assert classes == ("n01", "n02", "n03")
    assert [classes[label] for label in labels] == [SYNSETS[n] for n in VALIDATION.values()]
    assert [files.content(index) for index in range(3)] == [jpeg(n) for n in VALIDATION.values()]


def test_imagenets_validation_may_lie_in_class_folders(tmp_path: Path) -> None:
    for name, images in training_images().items():
        write_folder(tmp_path / "val" / name, images)
    write_folder(tmp_path / "test", {"ILSVRC2012_test_00000001.JPEG": jpeg(1)})
    _, labels, classes = imagenet(tmp_path, "test", tmp_path / "cache")
    assert classes == ("n01", "n02", "n03")
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_imagenet_lacks_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"no folder train and no ILSVRC2012_img_train\.tar"):
        imagenet(tmp_path, "training", cache)
    with pytest.raises(DataError, match=r"no folder val and no ILSVRC2012_img_val\.tar"):
        imagenet(tmp_path, "test", cache)
    write_folder(tmp_path / "val", {name: jpeg(1) for name in VALIDATION})
    with pytest.raises(DataError, match=r"need the labels of ILSVRC2012_devkit_t12\.tar\.gz"):
        imagenet(tmp_path, "test", cache)
    kit = write_folder(
        tmp_path / archives.DEVKIT / "data",
        {"ILSVRC2012_validation_ground_truth.txt": b"1\n", "meta.mat": b"not a mat file"},
    )
    with pytest.raises(DataError, match=r"meta\.mat of the development kit is not readable"):
        imagenet(tmp_path, "test", cache)
    (kit / "meta.mat").write_bytes(meta_mat())
    with pytest.raises(DataError, match="3 validation images, 1 labels"):
        imagenet(tmp_path, "test", cache)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n9\n2\n")
    with pytest.raises(DataError, match=r"the ground truth has 9, which meta\.mat has not"):
        imagenet(tmp_path, "test", cache)
    (tmp_path / archives.TRAINING_TAR).write_bytes(b"not an archive" * 100)
    with pytest.raises(DataError, match=r"img_train\.tar: a damaged archive"):
        imagenet(tmp_path, "training", cache)


def test_every_published_archive_has_a_length_and_an_md5() -> None:
    for archive in archives.ARCHIVES.values():
        assert archive.url.endswith(archive.name)
        assert archive.size > 10**8
        assert re.fullmatch("[0-9a-f]{32}", archive.md5)
