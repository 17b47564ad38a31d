"""`count --paper` and `explain`: printed figures beside ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ranspec.cli.app import app

DOCS = Path(__file__).parents[2] / "docs"


def ranspec(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_ledger_in_the_documentation_is_fresh() -> None:
    written = (DOCS / "ledger.md").read_text(encoding="utf-8")
    shown = ranspec("count", "--paper", "--format", "markdown").stdout
    assert written == shown, "run ranspec count --paper --format markdown > docs/ledger.md"


def test_the_ledger_says_what_explains_a_figure_and_what_nothing_explains() -> None:
    result = ranspec("count", "--paper", "attention92_imagenet", "attention56_imagenet")
    larger, smaller = result.stdout.splitlines()[1:3]
    assert "parameters and MACs: " in larger
    assert "with batch-norm statistics 31,883,432, which rounds to it" in smaller
    assert "2 specs, 4 printed figures: 0 are ours as printed, 2 by another way" in result.stdout


def test_the_ledger_is_data_for_programs() -> None:
    result = ranspec("count", "--paper", "attentioninception56_imagenet", "--format", "json")
    (entry,) = json.loads(result.stdout)
    assert entry["input"] == [299, 299, 3]
    assert entry["comparisons"][1]["ours"] == 6_289_351_680
    assert entry["comparisons"][1]["agrees"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["count"], "name a spec, or give --paper for all"),
        (["count", "--paper", "--by", "stage"], "--paper goes without"),
        (["explain", "attention_digits"], "give --parameters, --macs or both"),
        (["explain", "attention92_cifar", "attention236_cifar", "--macs", "1M"], "found 1 for 2"),
        (["explain", "attention452_cifar", "--also", "attention.r=[=attention.tt]"], "tt is null"),
        (["explain", "attention452_cifar", "--macs", "much"], "found 'much', expected a number"),
        (["explain", "attention_digits", "--macs", "1M"], "declares no alternatives"),
        (["explain", "attention452_cifar", "--macs", "1M", "--vary", "clases"], "classes?"),
        (["explain", "attention452_cifar", "--macs", "1M", "--vary", "attention.t=[x]"], "integer"),
        (["explain", "attention452_cifar", "--macs", "1M", "--vary", "attention.t=2"], "a list"),
        (["explain", "attention452_cifar", "--macs", "1M", "--vary", "=["], "key.path=value"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments: list[str], expected: str) -> None:
    result = ranspec(*arguments)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def explained(*arguments: str) -> Any:
    result = ranspec("explain", *arguments, "--format", "json")
    return result.exit_code, json.loads(result.stdout)


def test_readings_that_print_a_figure_are_found() -> None:
    code, found = explained("lzlz2020/attention236_cifar", "--parameters", "60.9M")
    assert code == 0
    assert found["matching"] == 3
    assert found["readings"][0]["changes"] == {"stages.stage1.mask_depth": 2, "classes": 100}
    assert found["readings"][0]["convention"] == "with-statistics"


def test_one_choice_can_be_varied_alone_and_over_other_values() -> None:
    vary = ("--vary", "classes", "--vary", "attention.t=[1, 3]")
    code, found = explained("attention56_cifar", "--parameters", "123M", *vary)
    assert code == 1
    assert found["alternatives"] == {"classes": [10, 100], "attention.t": [2, 1, 3]}
    assert found["matching"] == 0
    assert found["readings"][0]["changes"] == {"classes": 100, "attention.t": 3}


def test_where_nothing_matches_the_nearest_are_named() -> None:
    result = ranspec("explain", "lzlz2020/attention236_cifar", "--parameters", "70M")
    assert result.exit_code == 1
    assert "none of 48 combinations prints 70 M parameters; the nearest:" in result.stdout


def test_too_many_combinations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranspec.cli.explain.MOST_COMBINATIONS", 10)
    result = ranspec("explain", "lzlz2020/attention236_cifar", "--parameters", "1M")
    assert result.exit_code == 2
    assert "stages.stage1.mask_depth" in " ".join(result.stderr.split())


JOINT = ("attention92_cifar", "attention236_cifar", "attention452_cifar")


def test_one_reading_is_found_for_several_networks() -> None:
    vary = ("--vary", "attention.mask.skip_units", "--vary", "stages.stage1.mask_depth=[4]")
    figures = ("--parameters", "1.96M", "--parameters", "5.44M", "--parameters", "9.2M")
    code, found = explained(*JOINT, *vary, *figures)
    assert code == 0
    assert found["names"] == list(JOINT)
    (reading,) = (item for item in found["readings"] if item["matches"])
    assert reading["changes"] == {"stages.stage1.mask_depth": 4, "attention.mask.skip_units": 2}
    assert [len(item["relative_differences"]) for item in reading["networks"]] == [1, 1, 1]


def test_where_no_reading_gives_all_figures_the_nearest_are_named() -> None:
    result = ranspec("explain", *JOINT, "--vary", "attention.mask.skip_units", "--limit", "2")
    assert result.exit_code == 1
    first, _, header, *rows = result.stdout.splitlines()
    assert first == (
        "attention92_cifar, attention236_cifar and attention452_cifar: none of 3 combinations "
        "prints 1.9 M, 5.1 M and 8.6 M parameters; the nearest:"
    )
    assert header.split().count("off") == 3
    assert len(rows) == 2


@pytest.mark.parametrize(
    "command",
    [
        ["attention452_cifar", "--parameters", "8.6M", "--limit", "4"],
        [*JOINT, "--limit", "3", "--format", "markdown"],
    ],
)
def test_the_worked_examples_of_the_documentation_are_what_the_command_prints(
    command: list[str],
) -> None:
    text = (DOCS / "explain.md").read_text(encoding="utf-8")
    shown = ranspec("explain", *command).stdout
    assert f"$ ranspec explain {' '.join(command)}\n{shown}" in text
