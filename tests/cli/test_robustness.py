"""Odd terminals, full disks, strange names and huge networks: a message, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from math import inf, nan
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ranspec.analysis.figures import Figure
from ranspec.cli.app import app
from ranspec.cli.output import finite
from ranspec.compile import MOST_LAYERS, compile_spec
from ranspec.errors import printable
from ranspec.spec import SpecError, load_spec

ROOT = Path(__file__).parents[2]
RANSPEC = f"{sys.executable} -m ranspec"
FOREIGN = {
    "unclosed.yaml": "a: [1\n",
    "list.yaml": "- x\n",
    "other.yaml": "foo: 1\n",
    "a\x1b[31mred\nx.yaml": "",
}


def shell(
    command: str, folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=os.environ | paths | environment,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    )


def ranspec(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


# --- sizes ---


def test_a_network_of_millions_of_layers_is_refused_where_it_is_written() -> None:
    huge = ["stages.stage2.modules=1000", "attention.p=1000"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpecError) as caught:
        compile_spec(load_spec("attention56_cifar", huge))
    (problem,) = caught.value.problems
    assert problem.key == "stages.stage2"
    assert f"layers, more than {MOST_LAYERS:,}; most are of stage2" in problem.message
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # KiB


def test_the_deepest_network_is_far_from_the_limit() -> None:
    assert len(compile_spec(load_spec("baselines/resnet1001_cifar")).layers) < MOST_LAYERS / 20


# --- output ---


@pytest.mark.parametrize("command", ["--help", "count attention56_cifar", "list --format json"])
def test_a_full_disk_is_told(command: str) -> None:
    result = shell(f"{RANSPEC} {command} > /dev/full")
    assert result.returncode == 2
    assert result.stderr == "error: input or output: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    result = shell(f"{RANSPEC} count attention56_cifar {closed}")
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_terminal_without_a_letter_is_given_its_code(
    tmp_path: Path, encoding: str, form: str
) -> None:
    letters = "\u03b1 \u4e2d \xe9"
    text = f"extends: attention56_cifar\nname: greek\nsource: {letters}\n"
    (tmp_path / "greek.yaml").write_text(text, encoding="utf-8")
    command = "show --format json" if form == "json" else "show"
    result = shell(f"{RANSPEC} {command} greek.yaml", tmp_path, PYTHONIOENCODING=encoding)
    assert (result.returncode, result.stderr) == (0, "")
    if form == "json":
        assert json.loads(result.stdout)["source"] == letters
    elif encoding == "latin-1":
        assert "\\u4e2d \udce9" in result.stdout


def test_json_has_null_for_what_it_cannot_say() -> None:
    value = {"loss": nan, "errors": [inf, -inf, 1.5], "pair": (1, None)}
    assert finite(value) == {"loss": None, "errors": [None, None, 1.5], "pair": [1, None]}


# --- names ---


@pytest.mark.parametrize("command", ["count --paper", "list specs"])
def test_foreign_files_beside_the_specs_are_named_and_passed_over(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "specs").mkdir()
    for name, text in FOREIGN.items():
        (tmp_path / "specs" / name).write_text(text)
    result = shell(f"{RANSPEC} {command}", tmp_path)
    assert result.returncode == 0
    assert "attention452_cifar" in result.stdout
    lines = result.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == sorted(
        printable(name.removesuffix(".yaml")) for name in FOREIGN
    )
    assert "\x1b" not in result.stderr + result.stdout


@pytest.mark.parametrize("command", ["check", "count", "show"])
def test_names_of_files_are_escaped(tmp_path: Path, command: str) -> None:
    path = tmp_path / "a\x1b[31mred.yaml"
    for name in (str(path), "a\x1b[31mre"):
        result = ranspec(command, name)
        assert result.exit_code == 2
        assert "\x1b" not in result.stderr
        assert "\\x1b[31mre" in result.stderr


# --- figures ---


@pytest.mark.parametrize(
    ("text", "meant"), [("8,6M", "8.6M"), ("1,9e6", "1.9e6"), ("10,45 G", "10.45 G")]
)
def test_a_decimal_comma_is_refused_with_what_is_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        Figure.parse(text)


@pytest.mark.parametrize("text", ["1,234", "31,810,728", "1,234.5k"])
def test_commas_between_thousands_are_read(text: str) -> None:
    value = float(text.replace(",", "").removesuffix("k"))
    assert Figure.parse(text).value == value * (1000 if text.endswith("k") else 1)
