"""The command line: results to stdout, messages to stderr, and no traceback for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from ranspec.cli import count as count_command
from ranspec.cli.app import app
from ranspec.cli.completion import complete_backend, complete_spec
from ranspec.codegen.backend import available_backends, load_backend
from ranspec.codegen.render import render_files
from ranspec.spec import load_spec, packaged_specs
from ranspec.spec.writer import scalar
from ranspec.spec.yaml_source import resolve

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("build", "check", "count", "list", "new"),
    *("compare", "plan", "schema", "show", "train", "verify", "weights"),
)

installed = pytest.mark.skipif(
    "torch" not in available_backends(), reason="the torch backend is not installed"
)


def ranspec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def data(*arguments: str | Path) -> Any:
    result = ranspec(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    file = tmp_path / "broken.yaml"
    file.write_text("name: broken\nclases: 10\n")
    return file


def test_help_names_every_command_and_gives_examples() -> None:
    text = ranspec("--help").stdout
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "Examples:" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(command: str) -> None:
    assert f"    ranspec {command}" in ranspec(command, "--help").stdout


def test_the_version_is_printed() -> None:
    assert ranspec("--version").stdout.startswith("ranspec 0.")


# --- count ---


def test_count_json_of_one_spec_is_one_object() -> None:
    result = data("count", "attention56_cifar")
    assert result["parameters"]["trainable"] == 1_030_394


def test_count_json_of_several_specs_is_a_list() -> None:
    results = data("count", "attention56_cifar", "attention92_cifar")
    assert [result["trunk_depth"] for result in results] == [56, 92]


def test_count_of_one_spec_has_a_row_for_each_stage() -> None:
    text = ranspec("count", "attention92_cifar").stdout
    starts = [line.split()[0] for line in text.splitlines() if line]
    assert starts[1:8] == ["path", "stem", "stage1", "stage2", "stage3", "head", "total"]
    assert "1,841,274" in text
    assert "-3.1 %" in text


def test_count_of_several_specs_has_a_row_for_each() -> None:
    text = ranspec("count", "attention56_cifar", "attention92_cifar").stdout
    header, first, second = text.splitlines()
    assert header.split()[:3] == ["spec", "input", "depth"]
    assert first.startswith("attention56_cifar") and second.startswith("attention92_cifar")


def test_specs_in_folders_keep_their_folder_in_tables() -> None:
    text = ranspec("count", "attention56_cifar", "yeah2020/attention56_cifar").stdout
    assert [line.split()[0] for line in text.splitlines()[1:]] == [
        "attention56_cifar",
        "yeah2020/attention56_cifar",
    ]


def test_count_writes_markdown_tables() -> None:
    text = ranspec("count", "attention92_cifar", "--by", "total", "--format", "markdown").stdout
    header, rule, row = text.splitlines()
    assert header.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| attention92_cifar | 32x32x3 | 92 | 1,841,274 |")


def test_count_takes_another_input_size() -> None:
    assert data("count", "attention56_cifar", "--input", "64x48")["input"] == [64, 48, 3]


@pytest.mark.parametrize("size", ["0", "32x", "axb", "32x32x3", "99999"])
def test_count_refuses_a_wrong_input_size(size: str) -> None:
    result = ranspec("count", "attention56_cifar", "--input", size)
    assert result.exit_code == 2
    assert "expected HEIGHTxWIDTH" in result.stderr


def test_a_map_too_small_for_a_mask_is_told_with_its_position() -> None:
    result = ranspec("count", "attention56_cifar", "--input", "4x4")
    assert result.exit_code == 2
    assert "stages.stage1.mask_depth" in result.stderr


def test_conventions_say_what_they_count() -> None:
    found = data("count", "attention56_imagenet", "--convention", "caffe")["conventions"]
    assert [(item["convention"], item["parameters"]) for item in found] == [("caffe", 31_883_432)]
    assert found[0]["parameters_are"] == "trainable parameters and batch-norm statistics"
    assert found[0]["cost_is"] == "MACs of convolutions and linear layers"


def test_an_unknown_convention_is_told_with_the_nearest() -> None:
    result = ranspec("count", "attention56_cifar", "--convention", "fvcor")
    assert result.exit_code == 2
    assert "did you mean fvcore?" in result.stderr


# --- show, check, list, schema ---


def test_show_prints_a_spec_that_is_the_same_spec(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(ranspec("show", "attention92_imagenet").stdout)
    assert load_spec(file).digest == load_spec("attention92_imagenet").digest


def test_show_says_where_each_value_came_from() -> None:
    text = ranspec("show", "attention92_cifar", "--origins", "--set", "attention.p=2").stdout
    lines = {line.split(":")[0].strip(): line for line in text.splitlines() if "#" in line}
    assert "attention92_cifar.yaml:3:" in lines["name"]
    assert "attention56_cifar.yaml:" in lines["classes"]
    assert lines["p"].endswith("# --set attention.p=2")
    assert lines["align_corners"].endswith("# default")


def test_show_json_is_the_resolved_spec() -> None:
    assert data("show", "attention56_cifar") == load_spec("attention56_cifar").resolved()


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -3, 1e-5, 1e22, 2.0, 0.25, "he_normal", "on", "null", "1e5", "a: b", "é"],
)
def test_scalars_are_read_back_as_they_were(value: Any) -> None:
    text = scalar(value)
    assert yaml.safe_load(text) == value
    if not isinstance(value, str):
        assert resolve(text) == value


def test_check_tells_every_mistake_and_goes_on(broken: Path) -> None:
    result = ranspec("check", "attention56_cifar", broken, "attention92_cifar")
    assert result.exit_code == 2
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["ok", "attention56_cifar"],
        ["ok", "attention92_cifar"],
    ]
    lines = result.stderr.splitlines()
    index = lines.index(f"{broken}:2:1: clases: unknown key; did you mean classes?")
    assert lines[index + 1 : index + 3] == ["    2 | clases: 10", "      | ^"]


def test_check_warns_and_is_strict_if_asked_to(broken: Path) -> None:
    command = ("check", "attention56_cifar", "--set", "classes=12")
    assert ranspec(*command).exit_code == 0
    assert ranspec(*command, "--strict").exit_code == 1
    assert ranspec("check", "attention56_cifar", "--strict").exit_code == 0
    assert ranspec(*command, broken, "--strict").exit_code == 2
    assert ranspec(*command).stderr.splitlines() == [
        "--set classes=12: warning: classes: cifar10 has 10 classes, the network 12",
        "  --set classes=12",
        "                ^",
    ]


def test_check_is_data_if_asked_to(broken: Path) -> None:
    result = ranspec("check", broken, "attention56_cifar", "--format", "json")
    assert result.exit_code == 2
    assert result.stderr == ""
    first, second = json.loads(result.stdout)["specs"]
    assert {problem["key"] for problem in first["problems"]} >= {"clases", "input", "train"}
    assert first["problems"][-1] == {
        "file": str(broken),
        "line": 2,
        "column": 1,
        "key": "clases",
        "message": "unknown key; did you mean classes?",
    }
    assert (second["valid"], second["warnings"]) == (True, [])


@pytest.mark.parametrize("command", ["check", "show", "count"])
def test_a_spec_is_read_from_standard_input(command: str) -> None:
    text = "extends: attention56_cifar\nname: piped\n"
    result = CliRunner().invoke(app, [command, "-"], input=text)
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(app, [command, "-"], input="extends: attention56_cifar\nx: 1\n")
    assert wrong.exit_code == 2
    assert "<stdin>:2:1: x: unknown key" in wrong.stderr


def test_list_has_specs_with_their_figures() -> None:
    entries = {entry["name"]: entry for entry in data("list", "specs")["specs"]}
    assert entries["attention92_cifar100"]["parameters"] == 1_864_404


@installed
def test_list_has_the_backends() -> None:
    (torch,) = (entry for entry in data("list", "backends")["backends"] if entry["name"] == "torch")
    assert (torch["title"], torch["trains"], torch["embeds_weights"]) == ("PyTorch", True, False)


def test_schema_is_printed() -> None:
    assert json.loads(ranspec("schema").stdout)["title"] == "ranspec network"


# --- build, weights, new, train ---


@installed
def test_build_writes_refuses_edited_files_and_checks(tmp_path: Path) -> None:
    command = ("build", "attention_digits", "--backend", "torch", "-o", tmp_path / "out")
    assert ranspec(*command).stdout == f"{tmp_path / 'out'}\n"
    assert ranspec(*command, "--check").exit_code == 0
    model = tmp_path / "out" / "model.py"
    model.write_text(model.read_text() + "# mine\n")
    stale = ranspec(*command, "--check")
    assert stale.exit_code == 1
    assert "model.py" in stale.stderr
    refused = ranspec(*command)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert ranspec(*command, "--force").exit_code == 0
    assert "# mine" not in model.read_text()


def test_build_needs_a_backend() -> None:
    result = ranspec("build", "attention_digits")
    assert result.exit_code == 2
    assert "--all-backends" in result.stderr


@installed
def test_an_unknown_backend_is_told_with_the_nearest(tmp_path: Path) -> None:
    result = ranspec("build", "attention_digits", "-b", "toch", "-o", tmp_path)
    assert result.exit_code == 2
    assert "did you mean torch?" in result.stderr


@installed
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    result = ranspec("build", "attention_digits", "-b", "torch", "-o", file / "out")
    assert result.exit_code == 2
    assert str(file) in result.stderr


@installed
def test_build_shows_what_would_be_lost(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = ("build", "attention_digits", "--backend", "torch", "-o", folder)
    assert ranspec(*command).exit_code == 0
    model = folder / "model.py"
    model.write_text(model.read_text() + "# mine \x1b[31m\n")
    (folder / "README.md").unlink()
    checked, refused = ranspec(*command, "--check", "--diff"), ranspec(*command, "--diff")
    assert (checked.exit_code, refused.exit_code) == (1, 2)
    for text in (checked.stdout, refused.stdout):
        assert f"--- {model}\n+++ {model} (as built)\n" in text
        assert "\n-# mine \\x1b[31m\n" in text
        assert "--- /dev/null\n" in text and "\n+# attention_digits in PyTorch\n" in text
        assert "\x1b" not in text


@installed
@pytest.mark.parametrize("command", ["build", "train"])
def test_a_folder_without_a_name_is_refused(command: str) -> None:
    result = ranspec(command, "attention_digits", "--backend", "torch", "-o", "")
    assert result.exit_code == 2
    assert "for the current one give ." in " ".join(result.stderr.split())


@installed
def test_the_current_folder_can_be_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("build", "attention_digits", "--backend", "torch", "-o", ".")
    assert ranspec(*command).stdout == ".\n"
    assert ranspec("build", "spec.yaml", *command[2:], "--check").exit_code == 0
    assert ranspec("check", "spec.yaml", "--strict").exit_code == 0
    (tmp_path / "README.md").write_text("mine")
    assert "README.md was edited" in ranspec(*command).stderr


@installed
def test_all_backends_are_built_or_none(tmp_path: Path) -> None:
    foreign = tmp_path / "torch" / "model.py"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    command = ("build", "attention_digits", "--all-backends", "-o", tmp_path)
    refused = ranspec(*command)
    assert refused.exit_code == 2
    assert f"{foreign} was not built by ranspec" in refused.stderr
    assert list(tmp_path.rglob("*.*")) == [foreign]
    folders = ranspec(*command, "--force").stdout.splitlines()
    assert folders == [str(tmp_path / name) for name in available_backends()]


def test_weights_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file, seed in zip(files, ("1", "1", "2"), strict=True):
        assert ranspec("weights", "attention_digits", "--seed", seed, "-o", file).exit_code == 0
    first, second, other = (file.read_bytes() for file in files)
    assert first == second != other


def test_weights_overwrite_only_what_they_are_told_to(tmp_path: Path) -> None:
    spec, weights = tmp_path / "my_network.yaml", tmp_path / "w.safetensors"
    spec.write_text("mine")
    weights.write_text("mine")
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    command = ("weights", "attention_digits", "-o")
    for arguments, reason in (
        ((spec, "--force"), "does not end in .safetensors"),
        ((weights,), "--force overwrites it"),
        ((pipe, "--force"), "is a FIFO, not a file"),
    ):
        refused = ranspec(*command, *arguments)
        assert refused.exit_code == 2
        assert reason in " ".join(refused.stderr.split())
    assert spec.read_text() == weights.read_text() == "mine"
    assert ranspec(*command, weights, "--force").exit_code == 0
    assert weights.read_bytes() != b"mine"


@pytest.mark.parametrize("base", [(), ("--from", "attention56_cifar"), ("--from", "mine.yaml")])
def test_a_new_spec_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes((packaged_specs() / "attention_digits.yaml").read_bytes())
    assert ranspec("new", "my_network", *base).stdout == "my_network.yaml\n"
    checked = ranspec("check", "my_network.yaml", "--strict")
    assert checked.exit_code == 0, checked.stderr
    loaded = load_spec("my_network.yaml")
    assert loaded.spec.name == "my_network"
    for backend in available_backends():
        assert render_files(loaded, load_backend(backend))
    text = Path("my_network.yaml").read_text()
    assert ranspec("new", "my_network").exit_code == 2
    assert Path("my_network.yaml").read_text() == text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("My-Net",), "my_net would be one"),
        (("class",), "cannot be the name of a network"),
        (("mine", "--from", "atention56_cifar"), "did you mean attention56_cifar"),
        (("mine", "--from", "../other.yaml"), "which lies outside its folder"),
        (("mine", "-o", "mine.txt"), "does not end in .yaml or .yml"),
        (("mine", "-o", ""), "the name of the file is empty"),
    ],
)
def test_a_new_spec_that_would_be_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "other.yaml").write_text(ranspec("show", "attention_digits").stdout)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = ranspec("new", *arguments)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert not list(Path().iterdir())


def test_a_schema_is_written_over_a_schema_alone(tmp_path: Path) -> None:
    file, mine = tmp_path / "schema.json", tmp_path / "mine.json"
    assert ranspec("schema", "-o", file).exit_code == 0
    assert file.read_text() == ranspec("schema").stdout
    file.write_text(file.read_text().replace("height", "tallness"))
    assert ranspec("schema", "-o", file).exit_code == 0
    assert file.read_text() == ranspec("schema").stdout
    mine.write_text("{}")
    assert ranspec("schema", "-o", mine).exit_code == 2
    assert mine.read_text() == "{}"
    assert ranspec("schema", "-o", mine, "--force").exit_code == 0


def test_train_exits_as_the_program_does() -> None:
    from ranspec.cli.train import run

    assert run([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), 9)"]) == 137


# --- mistakes, interruptions, completion ---


@pytest.mark.parametrize("command", ["count", "show", "check", "weights"])
def test_an_unknown_spec_is_told_with_the_nearest(command: str) -> None:
    result = ranspec(command, "atention56_cifar")
    assert result.exit_code == 2
    assert "did you mean attention56_cifar" in result.stderr
    assert result.stdout == ""


def test_an_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(count_command, "_count", interrupt)
    assert ranspec("count", "attention56_cifar").exit_code == 130


def test_an_error_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(count_command, "_count", fail)
    assert isinstance(ranspec("count", "attention56_cifar").exception, ZeroDivisionError)


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m ranspec count attention452_cifar --by layer | head -n 1"
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, env=_environment()
    )
    assert result.stderr == ""
    assert result.stdout.startswith("attention452_cifar")


def test_names_are_completed() -> None:
    assert "attention92_cifar" in complete_spec("attention9")
    assert all(name.startswith("to") for name in complete_backend("to"))


def completed(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    monkeypatch.setenv("_RANSPEC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["ranspec", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return CliRunner().invoke(app, [], prog_name="ranspec").stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("build", "attention_dig"), ["attention_digits"]),
        (("build", "attention_digits", "--backend", "tor"), ["torch"]),
        (("show", "--set", "attention.learning"), ["attention.learning=residual",
                                                   "attention.learning=naive"]),
        (("show", "attention56_cifar", "--set", "stages.stage2.un"), [
            "stages.stage2.units=", "stages.stage2.units_after="]),
        (("check", "attention56_cifar", "--set", "head.norm"), ["head.normalization=true",
                                                                "head.normalization=false"]),
        (("count", "attention56_localconv_cifar", "--set", "attention.mask.un"), [
            "attention.mask.units="]),
        (("show", "--set", "train.optimizer=s"), ["train.optimizer=sgd"]),
    ],
)  # fmt: skip
def test_the_shell_completes_specs_backends_and_settings(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[str]
) -> None:
    found = completed(monkeypatch, *words)
    assert set(expected) <= set(found)
    assert all(name.startswith(words[-1]) for name in found)


def test_a_backend_has_aliases(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    command = ("build", "attention_digits", "-o", folder)
    for name in ("torch", "pytorch", "PyTorch"):
        assert ranspec(*command, "--backend", name).exit_code == 0
    near = ranspec(*command, "--backend", "pytorhc")
    assert (near.exit_code, "did you mean pytorch?" in near.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["count", "attention56_cifar"], ["list", "specs"]]
)
def test_no_framework_and_no_numpy_is_imported(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom ranspec.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'jax', 'flax', 'numpy', 'rich', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(),
    )
    assert result.stderr == "[]\n"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}
