"""A backend is a folder: given a copy under another name, ranspec builds and verifies with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rendering import BACKENDS, ROOT

pytestmark = pytest.mark.skipif("onnx" not in BACKENDS, reason="ONNX is not installed")

SPEC = str(ROOT / "tests" / "verify" / "tiny.yaml")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository with a backend, and the metadata of its distribution."""
    root = tmp_path_factory.mktemp("elsewhere")
    package = root / "ranspec_other"
    shutil.copytree(
        ROOT / "backends" / "ranspec_onnx", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in package.rglob("*"):
        if path.is_file():
            text = path.read_text().replace("ranspec_onnx", package.name)
            path.write_text(text.replace('name="onnx"', 'name="other"').replace("ONNX", "Other"))
    metadata = root / "other-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        f"[ranspec.backends]\nother = {package.name}:BACKEND\n"
    )
    return root


def ranspec(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "backends", folder)))
    result = subprocess.run(
        [sys.executable, "-m", "ranspec", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_is_listed_with_what_it_can_do(elsewhere: Path) -> None:
    listed = json.loads(ranspec(elsewhere, "list", "backends", "--format", "json"))["backends"]
    (other,) = (entry for entry in listed if entry["name"] == "other")
    assert (other["title"], other["trains"], other["embeds_weights"]) == ("Other", False, True)


def test_it_builds(elsewhere: Path) -> None:
    ranspec(elsewhere, "build", SPEC, "--backend", "other", "-o", "out")
    assert (elsewhere / "out" / "model.onnx").is_file()
    assert (elsewhere / "out" / "README.md").read_text().startswith("# tiny in Other\n")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_is_verified(elsewhere: Path, dtype: str) -> None:
    options = ("--backend", "other", "--dtype", dtype, "--steps", "1", "--format", "json")
    report = json.loads(ranspec(elsewhere, "verify", SPEC, *options))
    assert report["passed"]
    assert {check["pair"] for check in report["checks"]} == {"other/numpy"}
