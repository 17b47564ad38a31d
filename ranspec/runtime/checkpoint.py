"""Checkpoints: safetensors under canonical names and layouts, with a manifest.

Weights and batch-norm statistics have their canonical names; optimiser state is
`optimizer.momentum.<name>` for SGD (PyTorch's velocity, without the learning rate),
`optimizer.first_moment.<name>` and `optimizer.second_moment.<name>` for Adam, the latter alone for
RMSProp. `average.<name>` is a moving average of a weight, `data.<name>` a statistic of the training
set. Any framework can resume any other's checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
METADATA_KEY = "ranspec"
BESIDE_WEIGHTS = ("optimizer.", "average.", "data.")
"""How the names of tensors begin that are no weights of the network."""

Array = NDArray[Any]


class CheckpointError(Exception):
    """A checkpoint cannot be read or does not fit; the message says why."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds: the network's name, and the run up to `step` steps taken.

    `progress` is what evaluations have shown, `window` the steps and the summed loss since the last
    line of metrics. `digest` (of the spec), `data` (a hash of the images) and `settings` tell
    whether a run that goes on from here is the same run; weights alone have none.
    """

    network: str
    step: int
    seed: int
    batch_size: int
    progress: Mapping[str, float] | None = None
    window: Mapping[str, float] | None = None
    digest: str | None = None
    data: str | None = None
    settings: Mapping[str, Any] | None = None


def save(path: Path, tensors: Mapping[str, Array], manifest: Manifest) -> None:
    """Write a checkpoint atomically: `path` is always a whole checkpoint, the old or the new."""
    with replaced(path) as temporary:
        write(temporary, tensors, manifest)


def write(path: Path, tensors: Mapping[str, Array], manifest: Manifest) -> None:
    """Write a checkpoint to a new file."""
    import safetensors.numpy

    # safetensors writes non-contiguous arrays wrongly, and several metadata keys in random order.
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(tensors.items())}
    header = {"format": FORMAT, "sha256": digest(arrays), **asdict(manifest)}
    content = safetensors.numpy.save(
        arrays, metadata={METADATA_KEY: json.dumps(header, sort_keys=True)}
    )
    path.write_bytes(content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield where to write a file that then takes the place of `path`, whole and synced, or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on its disk."""
    with suppress(PermissionError) if path.is_dir() else nullcontext():
        # Windows opens no folders; its renames are on disk without.
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: Path) -> tuple[dict[str, Array], Manifest]:
    """Read a checkpoint; raise CheckpointError if it is absent, damaged or of another format."""
    with _opened(path) as file:
        manifest, expected = _manifest(path, file)
        tensors: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if digest(tensors) != expected:
        raise CheckpointError(f"{path}: damaged (its tensors do not have the recorded hash)")
    return tensors, manifest


def load_manifest(path: Path) -> Manifest:
    """Read what a checkpoint holds without its tensors; raise CheckpointError as `load` does."""
    with _opened(path) as file:
        return _manifest(path, file)[0]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import safetensors

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None


def _manifest(path: Path, file: Any) -> tuple[Manifest, str]:
    """Return the manifest of an open checkpoint, and the hash that its tensors are to have."""
    try:
        header = json.loads((file.metadata() or {})[METADATA_KEY])
        version, expected = header.pop("format"), header.pop("sha256")
        if version == FORMAT:
            return Manifest(**header), expected
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: not a ranspec checkpoint (no manifest)") from None
    raise CheckpointError(f"{path}: format {version}, this code reads format {FORMAT}")


def select(tensors: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors that `like` names; raise CheckpointError unless all fit.

    What stands beside the weights is left out where `like` does not name it; any other tensor is
    an error.
    """
    for name, expected in like.items():
        if name not in tensors:
            raise CheckpointError(f"tensor {name} is missing")
        if tensors[name].shape != expected.shape:
            raise CheckpointError(
                f"tensor {name} has shape {list(tensors[name].shape)}, "
                f"the network needs {list(expected.shape)}"
            )
    for name in tensors:
        if name not in like and not name.startswith(BESIDE_WEIGHTS):
            raise CheckpointError(f"tensor {name} has no place in the network")
    return {name: tensors[name] for name in like}


def digest(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the tensors' names, types, shapes and values."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(np.asarray(array, order="C").tobytes())
    return total.hexdigest()
