"""README.md and generated/ show what ranspec does now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from ranspec.cli.app import app
from ranspec.codegen.build import check_build
from ranspec.spec import load_spec, packaged_specs
from ranspec.spec.language import models
from tests import generated, language

README = generated.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", generated.BACKENDS)
@pytest.mark.parametrize("name", generated.NETWORKS)
def test_generated_code_is_fresh(name: str, backend: str) -> None:
    loaded = load_spec(packaged_specs() / f"{name}.yaml")
    stale = check_build(loaded, backend, generated.GENERATED / name / backend)
    assert stale == [], "run make generated"


def test_the_readme_is_fresh() -> None:
    assert generated.readme() == README, "run make generated"


def test_the_page_of_the_language_is_fresh() -> None:
    assert language.FILE.read_text(encoding="utf-8") == language.render(), "run make generated"


def test_the_page_of_the_language_has_every_key() -> None:
    for model in models():
        rows = [row[0] for row in language.part(model).rows]
        assert {f"`{key}`" for key in model.model_fields} <= set(rows)


def test_links_of_the_page_of_the_language_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", language.FILE.read_text(encoding="utf-8"))
    assert [link for link in set(links) if not (language.DOCS / link).exists()] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (generated.ROOT / link).exists()] == []


def test_commands_of_the_readme_exist() -> None:
    known = set(typer.main.get_command(app).commands)
    assert set(re.findall(r"^    ranspec ([a-z]+)", README, re.MULTILINE)) <= known


def test_the_library_works_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(import ranspec.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    parameters, folder = capsys.readouterr().out.splitlines()
    assert parameters == "1841274"
    assert folder.startswith(str(Path("generated/attention92_cifar-activation_spatial-")))
    assert (tmp_path / folder / "train.py").is_file()
