from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from ranspec.runtime import checkpoint
from ranspec.runtime.checkpoint import CheckpointError, Manifest

MANIFEST = Manifest("tiny", step=7, seed=3, batch_size=64)


def tensors() -> dict[str, np.ndarray]:
    values = np.arange(24.0).reshape(2, 3, 4)
    return {
        "transposed": values.transpose(2, 0, 1),
        "fortran": np.asfortranarray(values[0], dtype=np.float32),
        "scalar": np.array(2.0),
        "empty": np.zeros((0, 3)),
    }


def test_tensors_of_any_memory_layout_come_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a" / "c.safetensors", tensors(), MANIFEST)
    loaded, manifest = checkpoint.load(tmp_path / "a" / "c.safetensors")
    assert manifest == MANIFEST
    assert loaded.keys() == tensors().keys()
    for name, array in tensors().items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        assert np.array_equal(loaded[name], array)


def test_files_do_not_depend_on_the_order_of_tensors(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a", tensors(), MANIFEST)
    checkpoint.save(tmp_path / "b", dict(reversed(tensors().items())), MANIFEST)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, tensors(), MANIFEST)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"other": np.ones(3)}, MANIFEST)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "c"
    checkpoint.save(path, tensors(), MANIFEST)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(content[:40])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        checkpoint.load(path)


def test_foreign_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(tmp_path / "absent")
    path = tmp_path / "foreign"
    for metadata, message in [
        (None, "no manifest"),
        ({"ranspec": "[1]"}, "no manifest"),
        ({"ranspec": '{"format": 9, "sha256": ""}'}, "format 9, this code reads format 1"),
    ]:
        safetensors.numpy.save_file({"a": np.ones(1)}, path, metadata=metadata)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.load(path)


def test_tensors_that_do_not_fit_are_named() -> None:
    like = {"a": np.zeros(2), "b": np.zeros((2, 3))}
    fitting = {"a": np.ones(2), "b": np.ones((2, 3)), "optimizer.momentum.a": np.ones(2)}
    fitting |= {"data.mean": np.ones(3), "average.a": np.ones(2)}
    assert checkpoint.select(fitting, like).keys() == like.keys()
    with pytest.raises(CheckpointError, match="tensor b is missing"):
        checkpoint.select({"a": np.ones(2)}, like)
    with pytest.raises(CheckpointError, match=r"tensor b has shape \[3, 2\].* needs \[2, 3\]"):
        checkpoint.select({**fitting, "b": np.ones((3, 2))}, like)
    with pytest.raises(CheckpointError, match="tensor c has no place"):
        checkpoint.select({**fitting, "c": np.ones(1)}, like)
