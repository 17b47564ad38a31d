"""A small spec that the tests of the language change one value at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

BASE = """\
name: small
source: none
input: {height: 32, width: 32}
classes: 10
stem: {channels: 16}
stages:
  stage1:
    channels: 64
    modules: 1
    mask_depth: 2
  stage2: {channels: 128, stride: 2}
train:
  data: digits
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make the working folder a fresh one and return a function that writes files in it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes = BASE, name: str = "a.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
