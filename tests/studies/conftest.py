"""A small study that tests change, and results that were never measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

STUDY = """\
title: Two networks
source: these tests
place: Table 9
seeds: [0, 1]
entries:
  - row: small
    column: ARL
    spec: attention_digits
    printed: {error: 5.0, top5_error: {figure: 1.0, not_comparable: measured otherwise}}
  - row: small
    column: NAL
    spec: attention_digits
    set: [attention.learning=naive]
    printed: {error: 6.0}
    notes: [naive]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make the working folder a fresh one and return a function that writes files in it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str = STUDY, name: str = "two.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
