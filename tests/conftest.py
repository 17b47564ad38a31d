"""The order of the test files: the longest first, so that parallel workers end together."""

from __future__ import annotations

import pytest

LONGEST = (
    "tests/verify/test_parity.py",
    "tests/specs/test_training_steps.py",
    "tests/verify/test_families.py",
    "tests/codegen/test_instances.py",
    "tests/runtime/test_validation.py",
    "tests/verify/test_faults.py",
    "tests/codegen/test_generated_code.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid.partition("::")[0]))


def _rank(file: str) -> int:
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)
