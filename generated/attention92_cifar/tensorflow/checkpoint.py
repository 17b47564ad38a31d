"""Checkpoints: safetensors under canonical names and layouts, with a manifest.

Weights and batch-norm statistics have their canonical names; optimiser state is
`optimizer.momentum.<name>` for SGD (PyTorch's velocity, without the learning rate),
`optimizer.first_moment.<name>` and `optimizer.second_moment.<name>` for Adam, the latter alone for
RMSProp. Any framework can resume any other's checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
METADATA_KEY = "ranspec"
OPTIMIZER = "optimizer."

Array = NDArray[Any]


class CheckpointError(Exception):
    """A checkpoint cannot be read or does not fit; the message says why."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds: the network's name, and the run up to `step` steps taken.

    `progress` is what validation has shown, if the run has any.
    """

    network: str
    step: int
    seed: int
    batch_size: int
    progress: Mapping[str, float] | None = None

    def check_run(self, *, seed: int, batch_size: int) -> None:
        """Raise CheckpointError if a run with these settings would see other batches."""
        for option, there, here in (
            ("seed", self.seed, seed),
            ("batch-size", self.batch_size, batch_size),
        ):
            if there != here:
                raise CheckpointError(
                    f"the checkpoint's run has {option} {there}, this one {here}: "
                    f"pass --{option} {there} to resume it"
                )


def save(path: Path, tensors: Mapping[str, Array], manifest: Manifest) -> None:
    """Write a checkpoint atomically: `path` is always a whole checkpoint, the old or the new."""
    import safetensors.numpy

    # safetensors writes non-contiguous arrays wrongly, and several metadata keys in random order.
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(tensors.items())}
    header = {"format": FORMAT, "sha256": digest(arrays), **asdict(manifest)}
    content = safetensors.numpy.save(
        arrays, metadata={METADATA_KEY: json.dumps(header, sort_keys=True)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Array], Manifest]:
    """Read a checkpoint; raise CheckpointError if it is absent, damaged or of another format."""
    import safetensors

    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None
    try:
        header = json.loads(metadata[METADATA_KEY])
        version, expected = header.pop("format"), header.pop("sha256")
        if version == FORMAT:
            manifest = Manifest(**header)
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{path}: not a ranspec checkpoint (no manifest)") from None
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this code reads format {FORMAT}")
    if digest(tensors) != expected:
        raise CheckpointError(f"{path}: damaged (its tensors do not have the recorded hash)")
    return tensors, manifest


def select(tensors: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors that `like` names; raise CheckpointError unless all fit.

    Optimiser state that `like` does not name is left out; any other tensor is an error.
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
        if name not in like and not name.startswith(OPTIMIZER):
            raise CheckpointError(f"tensor {name} has no place in the network")
    return {name: tensors[name] for name in like}


def digest(tensors: Mapping[str, Array]) -> str:
    """Return the SHA-256 of the tensors' names, types, shapes and values."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        total.update(np.asarray(array, order="C").tobytes())
    return total.hexdigest()
