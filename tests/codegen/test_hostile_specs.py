"""No text in a spec puts code, markup or files anywhere."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ranspec.codegen.backend import load_backend
from ranspec.codegen.build import build
from ranspec.codegen.render import render_files
from ranspec.compile import compile_spec
from ranspec.ir.graph import unique_traces
from ranspec.ir.trace import BlockNode
from ranspec.spec import SpecError, load_spec, packaged_specs
from tests.rendering import BACKENDS, SPECS

SPEC = """\
name: {name}
source: {source}
notes: [{note}]
input: {{height: 8, width: 8}}
classes: 10
stem: {{channels: 8}}
stages:
  {stage}: {{channels: 8, modules: 1, mask_depth: 1}}
train: {{data: digits}}
paper: {{source: {source}, comment: {note}}}
"""

TEXTS = {
    "quotes": "'\"'\"",
    "triple quotes": '"""\nimport os\nos.system("true")\n"""',
    "triple single quotes": "'''; import os; '''",
    "trailing quotes": 'x"""',
    "trailing backslash": "x\\",
    "escaped quotes": '\\"""\\\\"""\\\\\\"""',
    "many backslashes": "\\" * 151,
    "many quotes": '"' * 151,
    "escapes": "\\x22\\x22\\x22 \\N{QUOTATION MARK} \\u0022 \\042",
    "newlines": "x\n\nimport os\n\n# y",
    "jinja": "{{ 7 * 7 }} {% raw %} {# #} {{ cycler.__init__.__globals__ }}",
    "format": "{0} {x!r} %s %(x)s $x ${x} {self.__class__}",
    "comment": "x # y\n# -*- coding: utf-7 -*-",
    "code": "__import__('os').system('true')",
    "long": "x" * 2000,
    "long with quotes": 'x"""y ' * 300,
    "wide": "網路" * 300,
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "markdown": "# x\n\n```\n[a](javascript:b) ![c](http://d.invalid/e)\n- f\n1. g\n| h | i |\n---",
    "table": "| a | b |\n|---|---|\n| c | d |",
}
INVISIBLE = ["\u2028", "\u2029", "\u0085", "\u202e", "\u2066", "\u200b", "\ufeff", "\u00a0", "\t"]
NAMES = [
    "x; import os",
    "../../x",
    "/tmp/x",
    "x/y",
    "a.b",
    "x\ny",
    "x y",
    "x'",
    'x"',
    "x\\",
    "{{ 7 * 7 }}",
    "{x}",
    "é",
    "\uff58",
    "x\u2028y",
    "x\u202ey",
    "X",
    "_x",
    "__class__",
    "0x",
    "import",
    "class",
    "lambda",
    "x" * 65,
    "",
    ".",
    "..",
    "-x",
    "--force",
]


def spec_text(
    name: str = "twin", source: str = "plain", note: str = "plain", stage: str = "stage"
) -> str:
    values = {"name": name, "source": source, "note": note, "stage": stage}
    return SPEC.format(**{key: json.dumps(value) for key, value in values.items()})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rendered(text: str, backend: str) -> dict[str, str]:
    Path("a.yaml").write_text(text, encoding="utf-8")
    return render_files(load_spec("a.yaml"), load_backend(backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.usefixtures("here")
def test_texts_stay_texts(text: str, backend: str) -> None:
    twin = rendered(spec_text(), backend)
    files = rendered(spec_text(source=text, note=text), backend)
    assert list(files) == list(twin)
    for name, content in files.items():
        if name.endswith(".py"):
            assert skeleton(content) == skeleton(twin[name]), name
    assert headings(files["README.md"]) == headings(twin["README.md"])
    assert markup(files["README.md"]) == markup(twin["README.md"])


def skeleton(source: str) -> str:
    """Return the syntax tree of a module without the contents of its strings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def headings(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if re.match(r"#|```|---|===|\|", line.strip())]


def markup(markdown: str) -> list[str]:
    """Return what opens a link or a tag, as it is not escaped."""
    return re.findall(r"(?<!\\)[<\[]", markdown)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("key", ["source", "note"])
@pytest.mark.usefixtures("here")
def test_characters_that_cannot_be_seen_are_refused(key: str, character: str) -> None:
    text = spec_text(**{key: f"x{character}y"})
    assert "\\" in text
    with pytest.raises(SpecError, match=rf"a\.yaml:\d+:\d+.*U\+{ord(character):04X}"):
        rendered(text, BACKENDS[0])


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("key", ["name", "stage"])
def test_names_that_are_no_identifiers_are_refused(here: Path, key: str, name: str) -> None:
    Path("a.yaml").write_text(spec_text(**{key: name}), encoding="utf-8")
    with pytest.raises(SpecError, match=r"a\.yaml:\d+:\d+"):
        build(load_spec("a.yaml"), BACKENDS[0])
    assert [path.name for path in here.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("name", ["stem", "head"])
@pytest.mark.usefixtures("here")
def test_stages_cannot_take_the_names_of_other_parts(name: str) -> None:
    Path("a.yaml").write_text(spec_text(stage=name), encoding="utf-8")
    with pytest.raises(SpecError, match=rf"a\.yaml:8:3.*stages\.{name}.*another name"):
        load_spec("a.yaml")


RESERVED = [
    (backend, name) for backend in BACKENDS for name in sorted(load_backend(backend).reserved)
]


@pytest.mark.parametrize(("backend", "name"), RESERVED)
@pytest.mark.usefixtures("here")
def test_stages_cannot_take_the_names_of_what_frameworks_use(backend: str, name: str) -> None:
    with pytest.raises(SpecError, match=rf"a\.yaml:8:3.*stages\.{name}.*another name"):
        rendered(spec_text(stage=name), backend)


@pytest.mark.usefixtures("here")
def test_a_stage_named_as_a_number_of_the_network_is_refused() -> None:
    with pytest.raises(SpecError, match=r"a\.yaml:8:3.*stages\.classes.*choose another"):
        rendered(spec_text(stage="classes"), BACKENDS[0])


@pytest.mark.usefixtures("here")
def test_a_name_of_one_framework_is_free_in_the_others() -> None:
    assert "self.layers = " in rendered(spec_text(stage="layers"), "torch")["model.py"]


ATTRIBUTES = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import {module}
print(*dir({instance}))
"""
FRAMEWORKS = {
    "torch": ("torch", "torch.nn.Module()"),
    "tensorflow": ("keras", "keras.Model()"),
    "jax": ("flax.nnx", "flax.nnx.Module()"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_part_hides_an_attribute_of_a_framework(framework: str) -> None:
    module, instance = FRAMEWORKS[framework]
    pytest.importorskip(module)
    attributes = framework_attributes(module, instance)
    possible = {name for name in attributes if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert possible <= load_backend(framework).reserved
    assert not parts() & attributes


def framework_attributes(module: str, instance: str) -> set[str]:
    code = ATTRIBUTES.format(module=module, instance=instance)
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def parts() -> set[str]:
    """Return the names of all parts of all networks but their stages."""
    found = set()
    for spec in SPECS:
        loaded = load_spec(packaged_specs() / f"{spec}.yaml")
        root = compile_spec(loaded).root
        for trace in unique_traces(root):
            for node in trace.nodes:
                owns = isinstance(node, BlockNode) or node.operation.parameters()
                if owns and node.name not in loaded.spec.stages:
                    found.add(node.name)
    return found
