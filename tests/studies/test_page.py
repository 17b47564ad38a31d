"""docs/studies.md speaks of studies as they are."""

from __future__ import annotations

import re

from ranspec.studies.loader import load_study
from ranspec.studies.model import Entry, Study
from tests.rendering import ROOT
from tests.studies.conftest import Write

PAGE = (ROOT / "docs/studies.md").read_text(encoding="utf-8")


def test_its_example_is_a_study(write: Write) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    study = load_study(write(example)).study
    assert [entry.name for entry in study.entries] == ["mixed", "spatial"]


def test_it_has_every_key() -> None:
    rows = re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {*Study.model_fields, *Entry.model_fields} <= named


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
