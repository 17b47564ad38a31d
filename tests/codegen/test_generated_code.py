"""Every spec in every backend becomes clean, short, independent and reproducible code."""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import pytest

from ranspec.codegen.backend import available_backends, load_backend
from ranspec.codegen.names import class_names
from ranspec.codegen.render import render_files
from ranspec.compile import class_name, compile_spec
from ranspec.spec import load_spec, packaged_specs
from tests.rendering import ROOT, SPECS, TRAINING, everything, rendered, write

TEMPORARY = re.compile(r"(t|tmp|temp|var|v)_?\d+|.*_\d+")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every spec for every backend, below one folder; of files that are the same only one."""
    root = tmp_path_factory.mktemp("generated")
    seen: set[tuple[str, str]] = set()
    for spec, backend, files in everything():
        new = {name: text for name, text in files.items() if (name, text) not in seen}
        write(root / spec / backend, new)
        seen |= new.items()
    return root


def ruff(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    config = ("--config", str(ROOT / "pyproject.toml"), "--no-cache")
    command = [sys.executable, "-m", "ruff", *map(str, arguments), *config]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_three_backends_are_installed() -> None:
    assert set(available_backends()) >= {"torch", "tensorflow", "jax"}
    assert set(TRAINING) >= {"torch", "tensorflow", "jax"}


def test_ruff_finds_nothing(folders: Path) -> None:
    result = ruff("check", folders)
    assert result.returncode == 0, result.stdout


def test_ruff_would_format_nothing(folders: Path) -> None:
    result = ruff("format", "--check", "--diff", folders)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("spec", SPECS)
def test_models_are_short_and_stand_alone(spec: str, backend: str) -> None:
    files = rendered(spec, backend)
    assert len(files["model.py"].splitlines()) < 500
    for name, text in files.items():
        if name.endswith(".py"):
            assert not {module for module in imports(text) if module.startswith("ranspec")}, name


@cache
def imports(text: str) -> frozenset[str]:
    """Return the top-level modules that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return frozenset(module.partition(".")[0] for module in found)


REBUILD = """
import hashlib, json, sys
from pathlib import Path
from ranspec.codegen.render import render_files
from ranspec.spec import load_spec, packaged_specs
from tests.rendering import SPECS, WRITERS

def digests(files):
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}

found = {}
for spec in SPECS:
    file = Path(sys.argv[1], f"{spec}.yaml")
    loaded = load_spec(file, search=[packaged_specs()])
    found[spec] = {name: digests(render_files(loaded, item)) for name, item in WRITERS.items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the digests of the files that the `spec.yaml` of every build gives.

    They are built by a process with other hashes, in another folder, zone and locale.
    """
    folder = tmp_path_factory.mktemp("rebuilt")
    for spec in SPECS:
        file = folder / f"{spec}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(rendered(spec, TRAINING[0])["spec.yaml"], encoding="utf-8")
    environment = os.environ | {
        "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") == "77" else "77",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backends'}",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
    }
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", REBUILD, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed)


@pytest.mark.parametrize("spec", SPECS)
def test_the_spec_in_a_folder_builds_the_folder_whatever_the_process(
    rebuilt: Any, spec: str
) -> None:
    for backend in TRAINING:
        assert rebuilt[spec][backend] == {
            name: hashlib.sha256(text.encode()).hexdigest()
            for name, text in rendered(spec, backend).items()
        }


@pytest.mark.parametrize("backend", TRAINING)
def test_attention_452_is_no_longer_than_attention_92(backend: str) -> None:
    deep, shallow = (
        len(rendered(spec, backend)["model.py"].splitlines())
        for spec in ("attention452_cifar", "attention92_cifar")
    )
    assert deep < 400
    assert deep <= 1.1 * shallow


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("spec", SPECS)
def test_variables_have_names_that_a_person_would_choose(spec: str, backend: str) -> None:
    tree = ast.parse(rendered(spec, backend)["model.py"])
    stored = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert not {name for name in stored if TEMPORARY.fullmatch(name)}


@pytest.mark.parametrize("backend", TRAINING)
def test_no_network_takes_a_name_that_generated_code_uses(backend: str) -> None:
    loaded = load_backend(backend)
    graph = compile_spec(load_spec(packaged_specs() / "attention_digits.yaml"))
    for spec in (
        "attention_digits",
        "attention56_imagenet",
        "lzlz2020/attention56_cifar",
        "baselines/inception_resnet_v1_imagenet",
    ):
        files = rendered(spec, backend)
        own = {node.name for node in ast.parse(files["model.py"]).body if is_class(node)}
        used = {*loaded.layers, *loaded.imports}
        used |= names(ast.parse(files["model.py"])) | names(ast.parse(files["train.py"]))
        for name in filter(capitalised, used - own - set(dir(builtins))):
            named = replace(graph, root=replace(graph.root, class_name=name))
            *_, network = class_names(named, loaded).values()
            assert network == f"{name}Network", name


def capitalised(name: str) -> bool:
    return name[0].isupper()


def is_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def names(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("attention92_cifar", "Attention92"),
        ("attentionnext56_imagenet", "AttentionNeXt56"),
        ("inception_resnet_v2_imagenet", "InceptionResNetV2"),
        ("resnet164_cifar", "ResNet164"),
        ("wrn28_10_cifar", "WRN28x10"),
        ("attention56_tiny_imagenet", "Attention56"),
        ("attention_digits", "AttentionDigits"),
        ("cifar", "CIFAR"),
        ("flowers_3_classes", "Flowers3Classes"),
        ("mixed5b", "Mixed5b"),
    ],
)
def test_a_class_is_named_as_people_write_it(name: str, written: str) -> None:
    assert class_name(name) == written


@pytest.mark.parametrize("name", ["true", "value_error"])
def test_a_network_named_like_something_of_python_gets_a_name_of_its_own(name: str) -> None:
    assert class_name(name).endswith("Network")


def test_a_network_named_like_a_block_is_told_apart() -> None:
    spec = load_spec("attention_digits", ["name=stem"], search=[packaged_specs()])
    *_, network = compile_spec(spec).definitions
    assert network.class_name == "Stem2"


@pytest.mark.parametrize("backend", TRAINING)
def test_the_longest_names_still_fit(backend: str, tmp_path: Path) -> None:
    name = "n" * 64
    text = (packaged_specs() / "attention_digits.yaml").read_text()
    for found in ("attention_digits", "stage1", "stage2"):
        text = text.replace(found, f"{found}_{name}"[:64])
    text = text.replace("height: 8, width: 8", "height: 4096, width: 4096")
    path = tmp_path / "a.yaml"
    path.write_text(text)
    write(tmp_path / "out", render_files(load_spec(path), load_backend(backend)))
    for command in ("check", "format"):
        options = () if command == "check" else ("--check", "--diff")
        result = ruff(command, *options, tmp_path / "out")
        assert result.returncode == 0, result.stdout


def test_a_convolution_with_its_norm_that_recurs_is_one_class() -> None:
    model = rendered("baselines/inception_resnet_v2_imagenet", "torch")["model.py"]
    classes = re.findall(r"^class (Convolution\w+)", model, re.MULTILINE)
    assert len(classes) == len(set(classes)) == 8
    # One in each of these, and one in the stem.
    assert model.count("nn.BatchNorm2d(") == len(classes) + 1
