"""Published datasets in the layouts in which they are distributed: CIFAR, Tiny ImageNet, ImageNet.

Nothing of an archive is executed, and nothing is written outside the folder it is unpacked to.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranspec.runtime.cache import locked, shown_progress, stored_tensors
from ranspec.runtime.images import SUFFIXES, DataError, ImageFiles

ATTEMPTS = 5
"""To fetch an archive, without a byte more than before."""
TIMEOUT = 60.0
CHUNK = 1 << 20
LARGEST_MEMBER = 1 << 30


@dataclass(frozen=True)
class Archive:
    """A published file; where it is, its length in bytes and its MD5."""

    name: str
    url: str
    size: int
    md5: str


ARCHIVES = {
    "cifar10": Archive(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        170_052_171,
        "c32a1d4ab5d03f1284b67883e8d87530",
    ),
    "cifar100": Archive(
        "cifar-100-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        168_513_733,
        "03b5dce01913d631647c71ecec9e9cb8",
    ),
    "tiny_imagenet": Archive(
        "tiny-imagenet-200.zip",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        248_100_043,
        "90528d7ca1a48142e341f4ef8d21d0de",
    ),
}
"""What can be fetched, by the name that a spec has for the data."""


@dataclass(frozen=True)
class CifarLayout:
    """Files of a CIFAR archive: a header byte or two before each image's 3072, or pickles."""

    folder: str
    archive: str
    training: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    """The file that names the classes."""
    header: int = 0
    """Bytes before an image in a record, of which the last is the label; 0 for pickles."""
    labels: str = ""
    """The key of the labels in a pickle."""
    label_names: str = ""
    """The key of the classes' names in a pickle."""

    def files(self, split: str) -> tuple[str, ...]:
        """Return the files that hold the `training` or `test` images."""
        return self.training if split == "training" else self.test


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR = {
    "cifar10": (
        CifarLayout(
            "cifar-10-batches-bin",
            "cifar-10-binary.tar.gz",
            tuple(f"{name}.bin" for name in _BATCHES),
            ("test_batch.bin",),
            "batches.meta.txt",
            header=1,
        ),
        CifarLayout(
            "cifar-10-batches-py",
            "cifar-10-python.tar.gz",
            _BATCHES,
            ("test_batch",),
            "batches.meta",
            labels="labels",
            label_names="label_names",
        ),
    ),
    "cifar100": (
        CifarLayout(
            "cifar-100-binary",
            "cifar-100-binary.tar.gz",
            ("train.bin",),
            ("test.bin",),
            "fine_label_names.txt",
            header=2,
        ),
        CifarLayout(
            "cifar-100-python",
            "cifar-100-python.tar.gz",
            ("train",),
            ("test",),
            "meta",
            labels="fine_labels",
            label_names="fine_label_names",
        ),
    ),
}


class LabelledImages(NamedTuple):
    """Images, uint8 [N, H, W, C], labels, int64 [N], and the classes' names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


class LabelledFiles(NamedTuple):
    """Image files, labels, int64 [N], and the classes' names."""

    files: ImageFiles
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Cifar:
    """CIFAR-10 or -100 as it lies in a folder or an archive."""

    layout: CifarLayout
    place: Path

    def sources(self, split: str) -> ImageFiles:
        """Return the files that have to be unchanged for `read` to return the same."""
        if self.place.is_file():
            return ImageFiles(self.place.parent, [self.place.name])
        return ImageFiles(self.place, [*self.layout.files(split), self.layout.names])

    def read(self, split: str) -> LabelledImages:
        """Return the `training` or `test` images; raise DataError for damaged files."""
        wanted = self.layout.files(split)
        contents = _contents(self.place, self.layout, (*wanted, self.layout.names))
        parse = _parse_records if self.layout.header else _parse_pickle
        parts = [parse(self.layout, name, contents[name]) for name in wanted]
        classes = _class_names(self.layout, contents[self.layout.names])
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
            raise DataError(f"{self.place}: labels beyond the {len(classes)} classes")
        pixels = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return LabelledImages(np.ascontiguousarray(pixels), labels, classes)


def find_cifar(data: str, place: Path) -> Cifar | None:
    """Return the CIFAR data at `place`: an archive, its folder, or the folder of either."""
    for layout in CIFAR.get(data, ()):
        for folder in (place, place / layout.folder):
            if (folder / layout.test[0]).is_file() and (folder / layout.names).is_file():
                return Cifar(layout, folder)
    for layout in CIFAR.get(data, ()):
        for file in (place, place / layout.archive):
            if file.is_file() and file.name == layout.archive:
                return Cifar(layout, file)
    return None


def _contents(place: Path, layout: CifarLayout, names: Sequence[str]) -> Mapping[str, bytes]:
    """Return the bytes of files of a folder or of an archive."""
    if place.is_dir():
        try:
            return {name: (place / name).read_bytes() for name in names}
        except OSError as error:
            raise DataError(f"{error.filename}: {error.strerror}") from None
    found: dict[str, bytes] = {}
    paths = {f"{layout.folder}/{name}": name for name in names}
    try:
        with gzip.open(place) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                name = paths.get(str(PurePosixPath(member.name)))
                if name is None or not member.isfile():
                    continue
                if member.size > LARGEST_MEMBER:
                    raise DataError(f"{place}: {member.name} has {member.size:,} bytes")
                file = archive.extractfile(member)
                assert file is not None
                found[name] = file.read()
            while stream.read(CHUNK):  # Its checksum lies at its end.
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{place}: a damaged archive ({error})") from None
    for path, name in paths.items():
        if name not in found:
            raise DataError(f"{place}: no file {path} in the archive")
    return found


Parsed = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _parse_records(layout: CifarLayout, name: str, content: bytes) -> Parsed:
    record = layout.header + 3072
    if not content or len(content) % record:
        raise DataError(
            f"{layout.folder}/{name}: {len(content):,} bytes, not a multiple of {record:,}"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record)
    return records[:, layout.header :], records[:, layout.header - 1].astype(np.int64)


def _parse_pickle(layout: CifarLayout, name: str, content: bytes) -> Parsed:
    where = f"{layout.folder}/{name}"
    values = read_pickle(content, where)
    data, labels = values.get("data"), values.get(layout.labels)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{where}: 'data' is not an array [N, 3072]")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data)
        or any(type(label) is not int for label in labels)
    ):
        raise DataError(f"{where}: {layout.labels!r} is not a list of {len(data)} whole numbers")
    return data, np.array(labels, dtype=np.int64)


def _class_names(layout: CifarLayout, content: bytes) -> tuple[str, ...]:
    if layout.header:
        return tuple(content.decode("utf-8", "replace").split())
    where = f"{layout.folder}/{layout.names}"
    names = read_pickle(content, where).get(layout.label_names)
    if not isinstance(names, list):
        raise DataError(f"{where}: no list {layout.label_names!r}")
    return tuple(_text(name) for name in names)


def read_pickle(content: bytes, where: str) -> dict[str, Any]:
    """Return the dictionary of a pickle of plain values and uint8 arrays.

    Nothing that a pickle names is called: what stands for NumPy's functions only keeps their
    arguments, so that no pickle allocates more than it holds. Raises DataError for any other.
    """
    try:
        values = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(values, dict):
            raise ValueError("not a dictionary")
        return {_text(key): _plain(value) for key, value in values.items()}
    except Exception as error:  # A hostile pickle makes the unpickler raise errors of any kind.
        raise DataError(f"{where}: not a pickle of a dataset ({error})") from None


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, kind: object = "", *options: object) -> None:
        self.kind = _text(kind)

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment mean nothing for bytes."""


class _Array:
    """Stands for numpy.ndarray: keeps the bytes of an array, and its shape."""

    shape: object = None
    content: object = None

    def __init__(self, *arguments: object) -> None:
        """Take no notice of the size that is asked for."""

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, self.shape, dtype, fortran, self.content = state
        if not isinstance(dtype, _Dtype) or dtype.kind != "u1" or fortran:
            raise ValueError("an array that is not of bytes in rows")

    def array(self) -> NDArray[np.uint8]:
        assert isinstance(self.content, bytes | bytearray)
        values = np.frombuffer(self.content, dtype=np.uint8)
        return values.reshape(self.shape)  # type: ignore[call-overload, no-any-return]


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, _text(order) != "C", content))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stand for codecs.encode, by which Python 3 writes bytes for Python 2."""
    if _text(encoding) != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    NAMES: Mapping[tuple[str, str], Any] = {
        ("numpy", "dtype"): _Dtype,
        ("numpy", "ndarray"): _Array,
        ("_codecs", "encode"): _encode,
        **{
            (f"numpy.{core}.{module}", name): stand_in
            for core in ("core", "_core")
            for module, name, stand_in in (
                ("multiarray", "_reconstruct", _Array),
                ("numeric", "_frombuffer", _from_buffer),
            )
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.NAMES:
            raise ValueError(f"it names {module}.{name}")
        return self.NAMES[module, name]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: object) -> object:
    return value.array() if isinstance(value, _Array) else value


def fetch(archive: Archive, folder: Path) -> Path:
    """Download an archive, or the rest of it, unless it is there; return its path.

    What has come is kept in `.part`, from which the next attempt, or the next start, goes on.
    Raises DataError where it cannot be fetched whole.
    """
    path = folder / archive.name
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                _fetch_part(archive, part)
                part.replace(path)
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror or error}") from None
    return path


def _fetch_part(archive: Archive, part: Path) -> None:
    import http.client
    import urllib.error

    here = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if archive.size - here > free:
        raise DataError(f"{part}: {archive.size:,} bytes are needed, {free + here:,} are free")
    failed, most = 0, here
    with shown_progress(archive.size, f"fetching {archive.url}", "byte") as advance:
        advance(here)
        while here < archive.size:
            try:
                for length in _receive(archive, part):
                    advance(length)
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"HTTP status {error.code} ({error.reason})"
                if error.code == 416:
                    part.unlink(missing_ok=True)
                    reason = f"{reason}, the file there ends before byte {here:,}"
                if error.code < 500 and error.code not in (408, 429):
                    raise DataError(f"{archive.url}: {reason}") from None
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
                reason = str(getattr(error, "reason", error) or type(error).__name__)
            except TimeoutError:
                reason = f"no answer for {TIMEOUT:g} s"
            here = part.stat().st_size if part.exists() else 0
            failed, most = (0, here) if here > most else (failed + 1, most)
            if failed == ATTEMPTS:
                raise DataError(
                    f"{archive.url}: {reason}, {here:,} of {archive.size:,} bytes are here: "
                    "start again to go on"
                )
            if here < archive.size:
                time.sleep(min(2.0**failed - 1, 30.0))
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if here != archive.size or found != archive.md5:
        part.unlink()
        raise DataError(
            f"{archive.url}: another file than the published one: {here:,} bytes with MD5 {found}, "
            f"expected {archive.size:,} bytes with {archive.md5}"
        )


def _receive(archive: Archive, part: Path) -> Iterator[int]:
    """Append what a server sends after the bytes that are there; yield the lengths received."""
    import http.client
    import urllib.request

    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(archive.url, headers={"User-Agent": "ranspec"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        goes_on = response.status == 206
        if goes_on and _first_byte(response) != start:
            part.unlink(missing_ok=True)
            raise http.client.HTTPException("the server sends another part than was asked for")
        if start and not goes_on:
            yield -start
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                yield len(chunk)
                if file.tell() > archive.size:
                    return


def _first_byte(response: Any) -> int | None:
    """Return where the part that a server sends starts; None if it does not say."""
    span = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(span) if span.isdecimal() else None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip file of images; return the folder. Raises DataError for unsafe or damaged ones.

    The folder is either whole or not there.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _unpack(archive, folder)
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {error.strerror or error}") from None
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            for member in members:
                parts = PurePosixPath(member.filename).parts
                if not parts or ".." in parts or member.filename.startswith(("/", "\\")):
                    raise DataError(f"{archive}: {member.filename!r} lies outside the archive")
                if member.file_size > LARGEST_MEMBER:
                    raise DataError(f"{archive}: {member.filename} has {member.file_size:,} bytes")
            needed = sum(member.file_size for member in members)
            free = shutil.disk_usage(folder.parent).free
            if needed > free:
                raise DataError(f"{folder}: {needed:,} bytes are needed, {free:,} are free")
            with shown_progress(len(members), f"unpacking {archive}", "file") as advance:
                for member in members:
                    file.extract(member, temporary)
                    advance(1)
        temporary.replace(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: a damaged archive ({error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_tiny_imagenet(place: Path, unpacked: Path) -> Path | None:
    """Return the folder of Tiny ImageNet at `place`: its archive, itself, or the folder of either.

    An archive is unpacked under `unpacked`.
    """
    name = "tiny-imagenet-200"
    for folder in (place, place / name):
        if (folder / "val" / "val_annotations.txt").is_file():
            return folder
    for file in (place, place / f"{name}.zip"):
        if file.is_file() and file.suffix == ".zip":
            status = file.stat()
            key = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
            folder = unpack(file, unpacked / hashlib.sha256(key.encode()).hexdigest()[:32])
            inner = folder / name
            if not (inner / "val" / "val_annotations.txt").is_file():
                raise DataError(f"{file}: no file {name}/val/val_annotations.txt in the archive")
            return inner
    return None


def tiny_imagenet(folder: Path, split: str) -> LabelledFiles:
    """Return the `training` images, or those for validation, whose labels are published."""
    if split == "training":
        return class_folders(folder / "train")
    classes = class_names(folder / "train")
    labels = {name: label for label, name in enumerate(classes)}
    annotations = folder / "val" / "val_annotations.txt"
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(annotations.read_text("utf-8", "replace").splitlines(), 1):
        name, _, rest = line.partition("\t")
        label = labels.get(rest.partition("\t")[0])
        if label is None or PurePosixPath(name).name != name:
            raise DataError(f"{annotations}:{number}: not a file's name and one of the classes")
        rows.append((name, label))
    rows.sort()
    files = ImageFiles(folder / "val" / "images", [name for name, _ in rows])
    return LabelledFiles(files, np.array([label for _, label in rows], dtype=np.int64), classes)


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's folders, sorted; hidden ones are none."""
    names = [entry.name for entry in _listed(str(folder)) if entry.is_dir()]
    if not names:
        raise DataError(f"{folder}: no images in folders, one for each class")
    return tuple(sorted(names))


def class_folders(folder: Path) -> LabelledFiles:
    """Return the images in `<class>/*` and below, sorted; hidden files are left out."""
    classes = class_names(folder)
    names: list[str] = []
    counts = []
    for name in classes:
        found = sorted(_images_below(str(folder), name), key=lambda path: path.split("/"))
        names += found
        counts.append(len(found))
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    if not names:
        raise DataError(f"{folder}: no images in folders, one for each class")
    return LabelledFiles(ImageFiles(folder, names), labels, classes)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """Return what lies in a folder and is not hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def _images_below(root: str, name: str, depth: int = 0) -> Iterator[str]:
    if depth > 16:
        raise DataError(f"{root}/{name}: folders within folders, perhaps by a link to one above")
    for entry in _listed(f"{root}/{name}"):
        path = f"{name}/{entry.name}"
        if f".{entry.name.rpartition('.')[2].lower()}" in SUFFIXES:
            yield path
        elif entry.is_dir():
            yield from _images_below(root, path, depth + 1)


TRAINING_TAR = "ILSVRC2012_img_train.tar"
VALIDATION_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12"


def imagenet(folder: Path, split: str, cache: Path) -> LabelledFiles:
    """Return ImageNet's `training` or validation images, from archives or folders.

    Classes are the synsets, sorted. Validation images that lie in no folders, one for each class,
    are labelled by the development kit beside them. Without them, those in `test` are taken.
    """
    if split == "training":
        if (folder / "train").is_dir():
            return _training_folder(folder / "train", cache)
        if (folder / TRAINING_TAR).is_file():
            return _training_tar(folder / TRAINING_TAR, cache)
        raise DataError(f"{folder}: no folder train and no {TRAINING_TAR}")
    if (folder / "val").is_dir():
        entries = _listed(str(folder / "val"))
        if any(entry.is_dir() for entry in entries):
            return class_folders(folder / "val")
        names = sorted(
            entry.name for entry in entries if Path(entry.name).suffix.lower() in SUFFIXES
        )
        files = ImageFiles(folder / "val", names)
    elif (folder / VALIDATION_TAR).is_file():
        names, places = _members(folder / VALIDATION_TAR, cache, nested=False)
        order = np.argsort(np.array(names), kind="stable")
        files = ImageFiles(folder, [VALIDATION_TAR] * len(names), places[order])
    elif (folder / "test").is_dir():
        return class_folders(folder / "test")
    else:
        raise DataError(f"{folder}: no folder val and no {VALIDATION_TAR}")
    labels, classes = _ground_truth(folder)
    if len(labels) != len(files):
        raise DataError(f"{folder}: {len(files)} validation images, {len(labels)} labels for them")
    return LabelledFiles(files, labels, classes)


def _training_folder(folder: Path, cache: Path) -> LabelledFiles:
    """Return the images of class folders, or of the archives of single classes."""
    archives = sorted(path for path in folder.glob("n*.tar") if path.is_file())
    if not archives:
        return class_folders(folder)
    names: list[str] = []
    places = []
    labels = []
    for label, path in enumerate(archives):
        members, found = _members(path, cache, nested=False)
        names += [path.name] * len(members)
        places.append(found)
        labels.append(np.full(len(members), label, dtype=np.int64))
    files = ImageFiles(folder, names, np.concatenate(places))
    return LabelledFiles(files, np.concatenate(labels), tuple(path.stem for path in archives))


def _training_tar(path: Path, cache: Path) -> LabelledFiles:
    names, places = _members(path, cache, nested=True)
    synsets = [name.partition("/")[0] for name in names]
    classes = tuple(sorted(set(synsets)))
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[name] for name in synsets], dtype=np.int64)
    order = np.lexsort((np.array(names), labels))
    files = ImageFiles(path.parent, [path.name] * len(names), places[order])
    return LabelledFiles(files, labels[order], classes)


def _members(path: Path, cache: Path, *, nested: bool) -> tuple[list[str], NDArray[np.int64]]:
    """Return names and places, int64 [N, 2], of the images in an uncompressed tar file.

    Where `nested`, they lie in tar files within it, whose names come before theirs.
    """
    status = path.stat()
    key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {nested}"

    def scan() -> dict[str, NDArray[Any]]:
        found = []
        with (
            shown_progress(status.st_size, f"listing {path}", "byte") as advance,
            path.open("rb") as file,
        ):
            for name, start, size in _entries(path, file):
                advance(size)
                if nested and name.endswith(".tar"):
                    inner = _Slice(file, start, size)
                    synset = PurePosixPath(name).stem
                    found += [
                        (f"{synset}/{image}", start + offset, length)
                        for image, offset, length in _entries(path, inner)
                    ]
                elif not nested:
                    found.append((name, start, size))
        if not found:
            raise DataError(f"{path}: no images in the archive")
        text = "\0".join(name for name, _, _ in found).encode("utf-8", "surrogateescape")
        places = np.array([place for _, *place in found], dtype=np.int64)
        return {"names": np.frombuffer(text, dtype=np.uint8), "places": places}

    kept = stored_tensors(cache, hashlib.sha256(key.encode()).hexdigest()[:32], scan)
    names = kept["names"].tobytes().decode("utf-8", "surrogateescape").split("\0")
    return names, kept["places"]


def _entries(path: Path, file: IO[bytes] | _Slice) -> Iterator[tuple[str, int, int]]:
    """Yield name, first byte and length of the files in a tar file."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile() and not member.issparse():
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{path}: a damaged archive ({error})") from None


class _Slice(io.RawIOBase):
    """A part of a file, read as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int):
        self.file, self.start, self.size, self.position = file, start, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self.position, self.size)[whence]
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.position)
        self.file.seek(self.start + self.position)
        content = self.file.read(left if size < 0 else min(size, left))
        self.position += len(content)
        return content


def _ground_truth(folder: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels of the validation images in the order of their names, and the synsets."""
    truth, meta = _devkit(folder)
    synsets = _synsets(meta)
    classes = tuple(sorted(synsets.values()))
    label_of = {name: label for label, name in enumerate(classes)}
    try:
        labels = [label_of[synsets[int(line)]] for line in truth.split()]
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder}: the ground truth has {error}, which meta.mat has not") from None
    return np.array(labels, dtype=np.int64), classes


def _devkit(folder: Path) -> tuple[bytes, bytes]:
    """Return the ground truth of validation and `meta.mat`."""
    names = ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")
    for place in (folder / DEVKIT / "data", folder / "data", folder):
        if all((place / name).is_file() for name in names):
            return (place / names[0]).read_bytes(), (place / names[1]).read_bytes()
    archive = folder / f"{DEVKIT}.tar.gz"
    if not archive.is_file():
        raise DataError(
            f"{folder}: validation images without folders, one for each class, need the labels of "
            f"{archive.name} beside them"
        )
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as file:
            for member in file:
                name = PurePosixPath(member.name).name
                if name in names and member.isfile() and member.size < LARGEST_MEMBER:
                    content = file.extractfile(member)
                    assert content is not None
                    found[name] = content.read()
        return found[names[0]], found[names[1]]
    except KeyError as error:
        raise DataError(f"{archive}: no file {error} in the archive") from None
    except (OSError, EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{archive}: a damaged archive ({error})") from None


def _synsets(meta: bytes) -> dict[int, str]:
    """Return the synsets of `meta.mat` that have no children, by their ILSVRC2012_ID."""
    try:
        import scipy.io  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            "meta.mat of the development kit needs SciPy: pip install scipy, or put the "
            "validation images into folders, one for each synset"
        ) from None
    try:
        rows = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        return {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in np.atleast_1d(rows)
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # SciPy raises errors of any kind for damaged files.
        raise DataError(f"meta.mat of the development kit is not readable ({error})") from None
