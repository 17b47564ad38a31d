"""A study comes to the same table whatever is killed, and how many drivers are at it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ranspec.studies.driver import drive
from ranspec.studies.engines.local import LocalEngine
from tests.rendering import ROOT
from tests.studies.drivers import RUNS, study
from tests.studies.standins import noted, notes, table, tasks


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    quick = tasks(tmp_path_factory.mktemp("study"), RUNS, "--iterations", "25")
    drive(LocalEngine(), quick, lambda: None)
    return table(quick)


def drivers(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.studies.drivers", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_drivers_and_trainings_may_be_killed_at_any_moment(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    assert drivers("killed", str(tmp_path), "0", "10") == ""
    assert table(study(tmp_path)) == undisturbed
    assert sum(noted(task, "start") for task in study(tmp_path)) > RUNS
    for task in study(tmp_path):
        steps = [note.step for note in notes(task) if note.what == "step"]
        assert len(steps) == len(set(steps))


def test_two_drivers_share_a_study(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert drivers("twice", str(tmp_path)) == ""
    assert table(study(tmp_path)) == undisturbed
    assert [noted(task, "start") for task in study(tmp_path)] == [1] * RUNS
