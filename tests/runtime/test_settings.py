from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from ranspec.runtime.settings import Count, Fraction, Positive, fail, parse_settings


@dataclass(frozen=True)
class Settings:
    folder: Annotated[Path | None, "where 100% of it lies"] = None
    size: Annotated[Positive, "images per step"] = 64
    momentum: Annotated[Fraction, "momentum"] = 0.9
    drops: Annotated[tuple[Count, ...], "when"] = (1, 2)
    area: Annotated[tuple[Fraction, Fraction], "least and largest"] = (0.1, 0.2)
    flip: Annotated[bool, "mirror"] = True
    device: Annotated[Literal["cpu", "gpu"], "where to run"] = "cpu"


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
