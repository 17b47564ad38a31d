"""Typical mistakes are told in their place, with a caret and what to write instead."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ranspec.compile import compile_spec
from ranspec.spec import Problem, SpecError, load_spec
from ranspec.spec.errors import MAX_WIDTH, Excerpt, columns

from .conftest import BASE, Write
from .mistakes import MISTAKES, Mistake


def problems(source: Path, *overrides: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        compile_spec(load_spec(source, overrides))
    return caught.value.problems


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_where_it_is(write: Write, mistake: Mistake) -> None:
    assert mistake.old in BASE
    text = BASE.replace(mistake.old, mistake.new, 1) if mistake.old else BASE + mistake.new
    found = problems(write(text))
    problem = found[-1]
    assert len(found) <= 2, "one mistake is told once, twice where a line is out of its place"
    assert str(problem) == f"a.yaml:{problem.line}:{problem.column}: {mistake.told}"
    written = text.splitlines()[mistake.line - 1]
    assert problem.line == mistake.line
    assert written[problem.column - 1 :].startswith(mistake.below)
    _, shown, caret = problem.report().splitlines()
    assert shown.expandtabs() == f"{mistake.line:>5} | {written}".replace("\t", "    ")
    assert caret.index("^") == len("12345 | ") + columns(
        written[: problem.column - 1].replace("\t", "    ")
    )


def test_there_are_many() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 68


def test_no_word_of_the_tools_beneath_is_shown() -> None:
    told = " ".join(mistake.told for mistake in MISTAKES)
    for word in ("constrained", "literal_error", "Input should", "tagged", "pydantic", "node"):
        assert word not in told


@pytest.mark.parametrize(
    ("override", "expected", "below"),
    [
        ("attention.t=abc", "attention.t: found 'abc' (a string), expected an integer", "abc"),
        ("atention.t=3", "atention: unknown key; did you mean attention?", "atention"),
        ("attention.tt=3", "attention.tt: unknown key; did you mean t?", "tt"),
        ("unit={kind: basic, groups: 2}", "unit.groups: unknown key; it is a key of kind "
         "bottleneck", "groups"),
        ("head.hidden=[64", "head.hidden: the [ that opens here is never closed", "[64"),
        ("stages.stage1.mask_depth=9", "stages.stage1.mask_depth: a 32x32 map can be pooled 5 "
         "times, not 9 times (at stage1.1.mask)", "9"),
        ("stages.stage2.channels=130", "stages.stage2.channels: 130 channels are not divisible by "
         "reduction 4 (at stage2)", "130"),
        ("extends=b.yaml", "extends: unknown key", "extends"),
        ("attention.t", "expected key.path=value", "attention.t"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_shown_in_it(
    write: Write, override: str, expected: str, below: str
) -> None:
    (problem,) = problems(write(f"# one\n{BASE}"), override)
    head, shown, caret = problem.report().splitlines()
    assert head.startswith(f"--set {override}: {expected}")
    assert shown == f"  --set {override}"
    assert shown[caret.index("^") :].startswith(below)


def test_a_mistake_in_what_is_extended_is_shown_there(write: Write) -> None:
    write(BASE.replace("10", "ten"), "base.yaml")
    (problem,) = problems(write("extends: base\nname: child\n"))
    assert problem.report().splitlines() == [
        "base.yaml:4:10: classes: found 'ten' (a string), expected an integer",
        "    4 | classes: ten",
        "      |          ^",
    ]


# --- the line that is shown


@pytest.mark.parametrize(
    ("text", "column", "indent"),
    [
        ("a: b", 4, 3), ("\ta: b", 5, 7), ("網路: x", 5, 6), ("e\u0301: x", 5, 3),
        ("é: x", 4, 3), ("a\x07: x", 5, 7), ("", 1, 0), ("a", 2, 1),
    ],
)  # fmt: skip
def test_the_caret_is_below_what_is_meant(text: str, column: int, indent: int) -> None:
    line, caret = Excerpt(text, column).lines()
    assert caret == " " * indent + "^"
    assert line.isprintable()


@pytest.mark.parametrize("column", [1, 30, 99, 100, 101, 500, 4_990, 5_000])
def test_a_long_line_is_cut_around_the_caret(column: int) -> None:
    text = "".join(chr(0x4E00 + index) for index in range(5_000))
    line, caret = Excerpt(text, column).lines()
    assert columns(line) <= MAX_WIDTH
    assert columns(line[: line.index(text[column - 1])]) == len(caret) - 1
    assert line.endswith("...") == (column < 4_950)
    assert line.startswith("...") == (column > 33)


def test_colours_are_for_terminals_alone(tmp_path: Path) -> None:
    broken = tmp_path / "a.yaml"
    broken.write_text("clases: 10\n")
    command = [sys.executable, "-m", "ranspec", "check", str(broken)]
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}

    def stderr(environment: dict[str, str], terminal: bool) -> bytes:
        reading, writing = pty.openpty() if terminal else os.pipe()
        with os.fdopen(reading, "rb") as stream:
            subprocess.run(command, stderr=writing, env=environment, check=False)
            os.close(writing)
            return os.read(stream.fileno(), 10_000)

    assert b"\x1b[" in stderr({**plain, "TERM": "xterm"}, terminal=True)
    for terminal, more in ((True, {"NO_COLOR": "1"}), (True, {"TERM": "dumb"}), (False, {})):
        assert b"\x1b[" not in stderr({**plain, **more}, terminal)
