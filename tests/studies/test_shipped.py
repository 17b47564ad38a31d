"""Every table of the four sources is a study whose networks compile, whole and shortened."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ranspec.analysis.count import NetworkCounter
from ranspec.spec import available_specs, load_spec, packaged_specs
from ranspec.spec.training import StepSchedule
from ranspec.studies.jobs import jobs, scaled_spec
from ranspec.studies.loader import LoadedStudy, available_studies, load_study

LEAST = Fraction(1, 5000)
ENTRIES = {
    "edirisooriya2017": 4,
    "lzlz2020_activations": 3,
    "lzlz2020_cifar100": 4,
    "lzlz2020_learning": 9,
    "lzlz2020_noise": 8,
    "wang2017_figure4": 2,
    "wang2017_table1": 3,
    "wang2017_table3": 8,
    "wang2017_table4": 2,
    "wang2017_table5": 8,
    "wang2017_table6": 14,
    "wang2017_table7": 9,
    "yeah2020_activations": 3,
    "yeah2020_cifar100": 2,
    "yeah2020_learning": 4,
    "yeah2020_noise": 4,
    "yeah2020_tiny_imagenet": 1,
}
"""How many figures each table prints."""


@pytest.fixture(scope="module")
def studies() -> dict[str, LoadedStudy]:
    return {name: load_study(name) for name in available_studies()}


@pytest.fixture(scope="module")
def counter() -> NetworkCounter:
    return NetworkCounter()


def test_every_table_is_there(studies: dict[str, LoadedStudy]) -> None:
    assert {name: len(loaded.study.entries) for name, loaded in studies.items()} == ENTRIES


@pytest.mark.parametrize("name", ENTRIES)
def test_its_networks_compile_at_a_5000th(
    name: str, studies: dict[str, LoadedStudy], counter: NetworkCounter
) -> None:
    for job in jobs(studies[name], scale=LEAST):
        spec, whole = scaled_spec(job).spec, load_spec(job.spec, job.overrides).spec
        assert spec.train.iterations == max(1, round(whole.train.iterations * LEAST))
        assert spec.train.seed == job.seed
        schedule = spec.train.learning_rate
        if isinstance(schedule, StepSchedule):
            assert schedule.at[0] < spec.train.iterations
        _, cost = counter.count(spec)
        assert cost.parameters > 10_000


@pytest.mark.parametrize("name", ENTRIES)
def test_it_prints_what_its_specs_print(name: str, studies: dict[str, LoadedStudy]) -> None:
    loaded = studies[name]
    for entry in loaded.study.entries:
        paper = load_spec(loaded.spec_name(entry)).spec.paper
        figures = {measure: said.figure for measure, said in entry.printed.figures().items()}
        assert figures
        if entry.set or paper is None:
            continue
        if "accuracy" in figures:
            assert paper.test_error == pytest.approx(100 - figures["accuracy"])
        else:
            assert figures.get("error") == paper.test_error
            assert figures.get("top5_error") == paper.top5_error


def test_every_printed_error_has_a_study(studies: dict[str, LoadedStudy]) -> None:
    used = {entry.spec for loaded in studies.values() for entry in loaded.study.entries}
    for name in available_specs([packaged_specs()]):
        paper = load_spec(packaged_specs() / f"{name}.yaml").spec.paper
        if paper and paper.test_error is not None:
            assert name in used, f"no study trains {name}"


def test_figures_that_cannot_be_compared_say_why(studies: dict[str, LoadedStudy]) -> None:
    marked = {
        (name, entry.row, measure)
        for name, loaded in studies.items()
        for entry in loaded.study.entries
        for measure, figure in entry.printed.figures().items()
        if figure.not_comparable
    }
    assert marked == {
        ("wang2017_table7", "ResNet-200", "error"),
        ("wang2017_table7", "ResNet-200", "top5_error"),
        ("wang2017_table7", "Attention-92", "error"),
        ("wang2017_table7", "Attention-92", "top5_error"),
        ("yeah2020_tiny_imagenet", "Attention-56", "top5_error"),
    }
