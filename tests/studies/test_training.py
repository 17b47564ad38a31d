"""A network of each source is trained by its table's own recipe, on a few images, and reported.

Where the environment says EXHAUSTIVE (`make exhaustive`), every network of every table is.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ranspec.cli.app import app
from ranspec.spec import load_spec
from ranspec.spec.writer import flow
from ranspec.studies.loader import available_studies, load_study
from ranspec.studies.model import Entry
from tests.studies.images import CLASSES, write_images

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")

SMALLEST = {
    "wang2017_table1": "mixed",
    "yeah2020_learning": "Attention-56, ARL",
    "lzlz2020_noise": "10 %, ResNet-56",
    "edirisooriya2017": "No Attention",
}
"""An entry of each source."""
ONE_STEP = "1/99999999"


def entries_of(studies: Iterable[str]) -> list[tuple[str, Entry]]:
    """Return the networks of studies, those that several have once."""
    found: dict[object, tuple[str, Entry]] = {}
    for name in studies:
        for entry in load_study(name).study.entries:
            found.setdefault((entry.spec, entry.set), (name, entry))
    return list(found.values())


def smallest() -> list[tuple[str, Entry]]:
    return [each for each in entries_of(SMALLEST) if SMALLEST[each[0]] == each[1].name]


def study_of(entries: Iterable[tuple[str, Entry]]) -> str:
    heading = "title: Of each source\nsource: these tests\nentries:\n"
    return heading + "".join(of_few_images(*each) for each in entries)


def of_few_images(name: str, entry: Entry) -> str:
    """Return an entry whose recipe is made for the few images that there are here."""
    train = load_spec(entry.spec, entry.set).spec.train
    few = ["train.batch_size=2", *(["train.validation=2"] if train.validation else [])]
    few += [f"classes={CLASSES}"] if "imagenet" in train.data else []
    printed = {measure: said.figure for measure, said in entry.printed.figures().items()}
    said = {
        "row": f"{name}: {entry.name}",
        "spec": entry.spec,
        "set": [*entry.set, *few],
        "printed": printed,
    }
    return f"  - {flow(said)}\n"


def test_all_networks_of_all_tables_are_one_study(tmp_path: Path) -> None:
    entries = entries_of(available_studies())
    path = tmp_path / "all.yaml"
    path.write_text(study_of(entries))
    assert len(load_study(path).study.entries) == len(entries) > 60


def test_every_table_trains_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entries = entries_of(available_studies()) if "EXHAUSTIVE" in os.environ else smallest()
    Path("sources.yaml").write_text(study_of(entries))
    images = write_images(tmp_path / "images")
    options = ["--scale", ONE_STEP, "--data-dir", str(images), "--jobs", "2"]
    ran = CliRunner().invoke(app, ["study", "run", "sources.yaml", *options])
    assert ran.exit_code == 0, ran.output
    reported = CliRunner().invoke(app, ["study", "report", "sources.yaml"])
    assert reported.exit_code == 0, reported.output
    paths = [Path(line) for line in reported.output.splitlines()]
    assert [path.name for path in paths] == ["report.md", "report.csv", "report.html"]
    with paths[1].open() as file:
        lines = list(csv.DictReader(file))
    assert {line["row"] for line in lines} == {f"{name}: {entry.name}" for name, entry in entries}
    for line in lines:
        assert line["state"] == "1 of 1 finished"
        assert 0 <= float(line["mean"]) <= 100
        assert (line["difference"], line["scale"]) == ("", ONE_STEP)
    assert paths[0].read_text().startswith(f"# Of each source (at scale {ONE_STEP})\n")
    assert "Loss during training" in paths[2].read_text()
