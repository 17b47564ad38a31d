from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from ranspec.runtime.settings import (
    Count,
    Fraction,
    Positive,
    Range,
    Rising,
    fail,
    parse_settings,
)


@dataclass(frozen=True)
class Settings:
    """All settings."""

    folder: Annotated[Path | None, "where 100% of it lies"] = None
    size: Annotated[Positive, "images per step"] = 64
    momentum: Annotated[Fraction, "momentum"] = 0.9
    drops: Annotated[tuple[Count, ...], "when"] = (1, 2)
    area: Annotated[tuple[Fraction, Fraction], "least and largest"] = (0.1, 0.2)
    flip: Annotated[bool, "mirror"] = True
    device: Annotated[Literal["cpu", "gpu"], "where to run"] = "cpu"


@dataclass(frozen=True)
class Recipe:
    """The recipe.

    A second paragraph.
    """

    batch_size: Annotated[int, Range(1, 65536), "images per step"] = 64
    micro_batches: Annotated[int, Range(1, 65536), "parts of a batch"] = 1
    learning_rate: Annotated[float, Range(above=0, most=1e3), "rate"] = 0.1
    steps: Annotated[tuple[Positive, ...], Rising(), "when it falls"] = (10, 20)
    area: Annotated[tuple[Fraction, Fraction], Rising(strictly=False), "of a crop"] = (0.1, 0.9)

    def __post_init__(self) -> None:
        if self.batch_size % self.micro_batches:
            raise ValueError(f"micro_batches is {self.micro_batches}, which does not divide it")


@dataclass(frozen=True)
class Options:
    """How to run it."""

    resume: Annotated[bool, "go on"] = False
    overwrite: Annotated[bool, "begin again"] = False

    def __post_init__(self) -> None:
        if self.resume and self.overwrite:
            raise ValueError("overwrite is asked for beside --resume")


@dataclass(frozen=True)
class Composed(Options, Recipe):
    """Both."""

    batch_size: Annotated[int, Range(1, 65536), "images per step of all devices"] = 32


def test_defaults_are_the_dataclass_defaults() -> None:
    assert parse_settings(Settings, "", []) == Settings()


def test_every_field_is_an_option() -> None:
    numbers = ["--size", "3", "--momentum", "0", "--drops", "5", "6", "7", "--area", ".3", ".4"]
    arguments = ["--folder", "a/b", *numbers, "--no-flip", "--device", "gpu"]
    expected = Settings(Path("a/b"), 3, 0.0, (5, 6, 7), (0.3, 0.4), False, "gpu")
    assert parse_settings(Settings, "", arguments) == expected
    assert parse_settings(Settings, "", ["--drops"]).drops == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size 0", "argument --size: '0' is not a whole number, 1 or more"),
        ("--size 1.5", "argument --size: '1.5' is not a whole number"),
        ("--momentum 1", "argument --momentum: '1' is not a number, 0 or more, below 1"),
        ("--momentum nan", "argument --momentum: 'nan' is not a number"),
        ("--area 0.5", "argument --area: expected 2 arguments"),
        ("--device tpu", "argument --device: invalid choice"),
        ("--size 2147483648", "is not a whole number, 1 or more, at most 2,147,483,647"),
    ],
)
def test_bad_values_are_named(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        parse_settings(Settings, "", arguments.split())
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(Settings, "Train.\n\n  python train.py", ["--help"])
    shown = capsys.readouterr().out
    assert "Train.\n\n  python train.py" in shown
    assert "where 100% of it lies\n" in shown
    for default in ("64", "0.9", "1 2", "yes", "cpu"):
        assert f"(default: {default})" in shown


def test_failing_says_why_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        fail("no data")
    assert exit.value.code == 2
    assert capsys.readouterr().err == "error: no data\n"


def test_settings_are_composed_by_inheritance() -> None:
    arguments = ["--resume", "--micro-batches", "4", "--steps", "5", "6", "7"]
    expected = Composed(resume=True, micro_batches=4, steps=(5, 6, 7))
    assert parse_settings(Composed, "", arguments) == expected
    assert expected.batch_size == 32


def test_help_is_grouped_by_the_class_that_a_setting_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(Composed, None, ["--help"])
    shown = capsys.readouterr().out
    titles = ("Both:", "The recipe:", "How to run it:")
    places = {title: shown.index(f"\n{title}\n") for title in titles}
    assert "A second paragraph" not in shown
    owners = {
        option: max(
            (title for title in titles if places[title] < shown.index(f"\n  {option}")),
            key=places.__getitem__,
        )
        for option in ("--batch-size", "--learning-rate", "--steps", "--overwrite")
    }
    assert owners == {
        "--batch-size": "Both:",
        "--learning-rate": "The recipe:",
        "--steps": "The recipe:",
        "--overwrite": "How to run it:",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--learning-rate 1e40", "'1e40' is not a number, above 0, at most 1,000"),
        ("--learning-rate 0", "argument --learning-rate: '0' is not a number, above 0"),
        ("--learning-rate inf", "argument --learning-rate: 'inf' is not a number"),
        ("--steps 20 10", "argument --steps: found 20 10, expected rising"),
        ("--steps 10 10", "argument --steps: found 10 10, expected rising"),
        ("--area 0.5 0.4", "argument --area: found 0.5 0.4, expected the least, then the largest"),
        ("--micro-batches 3", "argument --micro-batches: is 3, which does not divide it"),
        ("--resume --overwrite", "argument --overwrite: is asked for beside --resume"),
    ],
)
def test_what_a_class_says_of_its_settings_holds_wherever_it_is_inherited(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        parse_settings(Composed, "", arguments.split())
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_equal_limits_are_the_least_and_the_largest() -> None:
    assert parse_settings(Recipe, "", ["--area", "0.5", "0.5"]).area == (0.5, 0.5)
