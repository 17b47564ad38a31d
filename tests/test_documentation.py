"""docs/architecture.md speaks of the code as it is."""

from __future__ import annotations

import re

import pytest

from ranspec.ir.builder import Builder
from tests.rendering import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


def test_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`((?:ranspec|backends)/[\w/*.]+)`", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not any(ROOT.glob(name))] == []
    assert (ROOT / "docs" / "architecture.svg").is_file()


def test_calls_that_it_tells_of_are_the_builders() -> None:
    called = set(re.findall(r"`b\.(\w+)\(", PAGE))
    assert len(called) == 8
    assert [name for name in called if not hasattr(Builder, name)] == []


def test_its_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (example, printed) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(compile(example, "architecture.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_it_fits_two_pages() -> None:
    assert len(PAGE.splitlines()) < 150
