"""A study is read strictly, and its jobs follow from what it says alone."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from ranspec.cli.completion import complete_study
from ranspec.spec import SpecError, available_specs
from ranspec.spec.schema import is_schema
from ranspec.spec.yaml_source import parse
from ranspec.studies.jobs import SelectionError, job_from_json, job_to_json, jobs, scaled_spec
from ranspec.studies.loader import available_studies, load_study
from ranspec.studies.schema import FILE, TITLE, render
from tests.studies.conftest import STUDY, Write

SPEC_LINE = "    spec: attention_digits\n    printed"
MISTAKES = {
    "a key that is misspelt": ("title:", "titel:", 1, 1, "titel: unknown key; did you mean title?"),
    "a key of a row": ("notes: [naive]", "note: [naive]", 15, 5, "unknown key; did you mean notes"),
    "a measure": ("{error: 6.0}", "{eror: 6.0}", 14, 15, "unknown key; did you mean error?"),
    "a figure in words": ("error: 6.0", "error: six", 14, 22, "found 'six' (a string), expected"),
    "a figure above 100": ("error: 6.0", "error: 600", 14, 22, "found 600, expected at most 100"),
    "another output": ("place:", "output: tabel\nplace:", 3, 9, "expected table or response"),
    "a seed twice": ("[0, 1]", "[1, 1]", 4, 12, "1 is given twice"),
    "a seed in words": ("[0, 1]", "[0, one]", 4, 12, "found 'one' (a string), expected an integer"),
    "no seeds": ("[0, 1]", "[]", 4, 1, "found 0 entries, expected at least 1 entry"),
    "no title": ("title: Two networks", "", 2, 1, "title: required key is missing"),
    "two lines": ("title: Two networks", 'title: "a\\nb"', 1, 8, "expected one line of text"),
    "an unknown backend": (
        "place:", "backends: [troch]\nplace:", 3, 12,
        "unknown backend 'troch'; did you mean torch?",
    ),
    "a backend that cannot train": ("place:", "backends: [onnx]\nplace:", 3, 12, "only infers"),
    "an unknown spec": (
        SPEC_LINE, SPEC_LINE.replace("digits", "digit"), 8, 11,
        "no spec of this name; did you mean attention_digits",
    ),
    "an override of an unknown key": (
        "learning=naive", "lerning=naive", 13, 11,
        "attention.lerning: unknown key; did you mean learning?",
    ),
    "an override that is none": ("attention.learning=naive", "naive", 13, 11, "key.path=value"),
    "a label twice": ("column: NAL", "column: ARL", 10, 5, "entry 0 is called 'small, ARL' too"),
    "a network twice": (
        "    set: [attention.learning=naive]\n", "", 12, 11,
        "the same network and recipe as entry 'small, ARL'",
    ),
}  # fmt: skip
"""What is replaced by what in the study above; line, column and message of what is told."""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_where_it_stands(name: str, write: Write) -> None:
    old, new, line, column, told = MISTAKES[name]
    assert old in STUDY
    with pytest.raises(SpecError) as caught:
        load_study(write(STUDY.replace(old, new, 1)))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert told in str(problem)
    shown, caret = problem.report().splitlines()[-2:]
    assert caret.index("^") - caret.index("|") - 1 == column
    assert shown.startswith(f"{line:>5} | ")


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    text = STUDY.replace("title", "titel").replace("attention.learning=naive", "x=1")
    with pytest.raises(SpecError) as caught:
        load_study(write(text))
    assert [problem.line for problem in caught.value.problems] == [1]
    text = STUDY.replace("attention.learning=naive", "x=1").replace(
        "place:", "backends: [no]\nplace:"
    )
    with pytest.raises(SpecError) as caught:
        load_study(write(text))
    assert [problem.line for problem in caught.value.problems] == [3, 14]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("wang2017_tabel1", "no study of this name; did you mean wang2017_table1"),
        ("nothing.yaml", "no such file"),
        ("../wang2017_table1", "no study of this name"),
    ],
)
def test_what_is_not_there_is_not_loaded(source: str, told: str, write: Write) -> None:
    with pytest.raises(SpecError, match=told):
        load_study(source)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [1\n", "\x00", "title: a\n---\nb: 1\n"])
def test_what_is_no_study_is_refused(text: str, write: Write) -> None:
    with pytest.raises(SpecError):
        load_study(write(text))


def test_a_spec_beside_the_study_is_found(write: Write) -> None:
    write("extends: attention_digits\nname: beside\n", "own/net.yaml")
    text = STUDY.replace("spec: attention_digits", "spec: net.yaml", 1)
    loaded = load_study(write(text, "own/study.yaml"))
    assert scaled_spec(jobs(loaded)[0]).spec.name == "beside"


def test_a_study_as_run_is_the_same_elsewhere(write: Write) -> None:
    write("extends: attention_digits\nname: beside\n", "own/net.yaml")
    text = STUDY.replace("spec: attention_digits", "spec: net.yaml", 1)
    loaded = load_study(write(text, "own/study.yaml"))
    again = load_study(write(loaded.as_run(), "results/of/study.yaml"))
    assert [job.key for job in jobs(again)] == [job.key for job in jobs(loaded)]
    assert load_study(write()).as_run() == STUDY


def test_own_studies_have_names_and_are_no_specs(write: Write) -> None:
    write(name="specs/studies/own.yaml")
    assert "own" in available_studies()
    assert load_study("own").name == "own"
    assert complete_study("ow") == ["own"]
    assert not [name for name in available_specs() if name.startswith("studies")]


def test_jobs_are_every_entry_with_each_seed_and_backend(write: Write) -> None:
    loaded = load_study(write())
    found = [(job.seed, job.row, job.backend) for job in jobs(loaded, backends=["torch", "jax"])]
    assert found == [
        (seed, row, backend)
        for seed in (0, 1)
        for row in ("small, ARL", "small, NAL")
        for backend in ("torch", "jax")
    ]


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        (["small"], ["small, ARL", "small, NAL"]),
        (["nal"], ["small, NAL"]),
        (["small, ARL", "NAL"], ["small, ARL", "small, NAL"]),
    ],
)
def test_some_entries_alone(only: list[str], rows: list[str], write: Write) -> None:
    assert [job.row for job in jobs(load_study(write()), seeds=[5], only=only)] == rows


def test_an_entry_that_is_not_there_is_refused(write: Write) -> None:
    with pytest.raises(SelectionError, match="no row, column or entry 'NAI'; did you mean NAL"):
        jobs(load_study(write()), only=["NAI"])


def test_a_key_follows_from_all_that_decides_the_result(write: Write) -> None:
    loaded = load_study(write())
    keys = [
        job.key
        for seeds in ([0], [1])
        for backends in (["torch"], ["jax"])
        for scale in (Fraction(1), Fraction(1, 2))
        for job in jobs(loaded, seeds=seeds, backends=backends, scale=scale)
    ]
    assert len(set(keys)) == len(keys) == 16
    assert all(key.startswith("attention_digits-") for key in keys)
    changed = load_study(write(STUDY.replace("naive]", "naive, train.learning_rate.initial=0.3]")))
    before, after = jobs(loaded, seeds=[0]), jobs(changed, seeds=[0])
    assert before[0] == after[0]
    assert before[1].key != after[1].key


def test_words_do_not_change_a_key(write: Write) -> None:
    other = STUDY.replace("Two", "2").replace("row: small", "row: tiny").replace("5.0", "4.0")
    keys = [[job.key for job in jobs(load_study(write(text)))] for text in (STUDY, other)]
    assert keys[0] == keys[1]


def test_a_job_is_read_as_it_was_written(write: Write) -> None:
    for job in jobs(load_study(write()), scale=Fraction(1, 3)):
        assert job_from_json(job_to_json(job)) == job


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}', "[" * 10_000])
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        job_from_json(text)


def test_the_shipped_schema_is_fresh_and_describes_every_key() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m ranspec.studies.schema"
    assert is_schema(FILE, TITLE)
    assert not is_schema(FILE)
    schema = json.loads(render())
    Draft7Validator.check_schema(schema)
    parts = {"study": schema, **schema["definitions"]}
    assert not [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in part["properties"].items()
        if not value.get("description")
    ]


@pytest.mark.parametrize("name", ["a key that is misspelt", "a measure", "a figure above 100"])
def test_the_schema_refuses_mistakes_too(name: str) -> None:
    old, new, *_ = MISTAKES[name]
    validator = Draft7Validator(json.loads(render()))
    assert not list(validator.iter_errors(_data(STUDY)))
    assert list(validator.iter_errors(_data(STUDY.replace(old, new, 1))))


def _data(text: str) -> object:
    return json.loads(json.dumps(parse(text, str(Path("a.yaml")))[0].plain()))
