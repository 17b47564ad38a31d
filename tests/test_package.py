"""The wheel has everything that the command needs, wherever it is installed and called."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ranspec.spec import available_specs, packaged_specs
from tests.rendering import ROOT

needs_hatchling = pytest.mark.skipif(
    find_spec("hatchling") is None or find_spec("pip") is None,
    reason="building a wheel without a network needs pip and hatchling",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("*.whl")
    return path


def pip(*arguments: str, python: str = sys.executable) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    environment = os.environ | {"PIP_NO_INDEX": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as installed in an environment of its own."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    (site_packages,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    outer = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "outer.pth").write_text("\n".join(outer))
    script = home / "bin" / "ranspec"
    (entry,) = [line for line in entry_points(wheel) if line.startswith("ranspec = ")]
    module, function = entry.removeprefix("ranspec = ").split(":")
    script.write_text(
        f"#!{home}/bin/python\nfrom {module} import {function}\nraise SystemExit({function}())\n"
    )
    script.chmod(0o755)
    return script


def entry_points(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        return archive.read(name).decode().splitlines()


@needs_hatchling
def test_the_wheel_holds_all_that_is_no_code(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    schemas = {"ranspec/spec/schema.json", "ranspec/studies/schema.json"}
    assert {"ranspec/py.typed", "ranspec/verification.json", *schemas} <= names
    assert "ranspec/specs/studies/wang2017_table1.yaml" in names
    for spec in available_specs([packaged_specs()]):
        assert f"ranspec/specs/{spec}.yaml" in names
    for folder in ("ranspec", "backends"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".j2", ".css", ".js"):
                base = ROOT if folder == "ranspec" else ROOT / folder
                assert path.relative_to(base).as_posix() in names
    assert not [name for name in names if name.startswith(("tests", "generated", "backends"))]


@needs_hatchling
def test_the_wheel_announces_the_command_and_the_backends(wheel: Path) -> None:
    lines = entry_points(wheel)
    assert "ranspec = ranspec.cli:main" in lines
    for backend in ("torch", "tensorflow", "jax", "onnx"):
        assert f"{backend} = ranspec_{backend}:BACKEND" in lines


@needs_hatchling
def test_the_installed_command_works_in_any_folder(command: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        result = subprocess.run(
            [command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "attention92_cifar" in run("list")
    assert '"properties"' in run("schema")
    run("build", "attention92_cifar", "--backend", "onnx")
    assert (tmp_path / "generated" / "attention92_cifar" / "onnx" / "model.onnx").is_file()
    for backend in ("torch", "tensorflow", "jax"):
        run("build", "attention92_cifar", "--backend", backend)
        folder = tmp_path / "generated" / "attention92_cifar" / backend
        assert {"model.py", "train.py", "weights.py", "data.py"} <= {
            path.name for path in folder.iterdir()
        }


@cache
def project() -> dict[str, Any]:
    metadata: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return metadata


def test_each_framework_has_an_extra_and_all_has_every_one() -> None:
    extras = project()["optional-dependencies"]
    assert {"torch", "tensorflow", "jax", "onnx", "all", "dev"} <= set(extras)
    assert extras["all"] == ["ranspec[torch,tensorflow,jax,onnx]"]
    for extra in ("torch", "tensorflow", "jax", "onnx"):
        assert any(line.startswith(extra) for line in extras[extra])
        assert not any(line.startswith(extra) for line in project()["dependencies"])


def test_the_version_is_told_once() -> None:
    import ranspec

    assert project()["version"] == ranspec.__version__
