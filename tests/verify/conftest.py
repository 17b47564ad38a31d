"""What the tests of verification share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.verify.laboratory import Laboratory


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """Where the code of every backend is run, in a process for each."""
    laboratory = Laboratory(tmp_path_factory.mktemp("laboratory"))
    yield laboratory
    laboratory.end()
