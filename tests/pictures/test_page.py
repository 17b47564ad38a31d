"""docs/pictures.md tells what the commands do."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import typer
from typer.testing import CliRunner

from ranspec.cli.app import app
from tests.rendering import ROOT

PAGE = (ROOT / "docs/pictures.md").read_text(encoding="utf-8")
EXAMPLES = [
    shlex.split(line)
    for line in re.findall(r"^    ranspec (.*)", PAGE.replace("\\\n", ""), re.MULTILINE)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_its_examples_have_options_that_there_are(example: list[str]) -> None:
    command = typer.main.get_command(app).commands[example[0]]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in example if word.startswith("-")} <= known


def test_the_receptive_fields_that_it_shows_are_those_of_the_network() -> None:
    (command, printed) = re.findall(r"```\n\$ ranspec (fields .*?)\n(.*?)```", PAGE, re.DOTALL)[0]
    assert CliRunner().invoke(app, command.split()).stdout == printed


def test_its_python_measures_what_the_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "pictures.md", "exec"), {})
    command = ["response", "attention_digits", "--count", "100", "--format", "json"]
    (found,) = json.loads(CliRunner().invoke(app, command).stdout)["networks"]
    assert capsys.readouterr().out == f"{found['mean_absolute_response']}\n"


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_defaults_that_it_names_are_those_of_the_commands() -> None:
    commands = typer.main.get_command(app).commands
    defaults = {parameter.name: parameter.default for parameter in commands["masks"].params}
    assert defaults["channels"] == "varied 4"
    assert "`varied N`, by default 4" in PAGE
