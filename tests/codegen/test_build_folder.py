"""A build writes its own files and leaves everyone else's alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ranspec.codegen.backend import UnknownBackendError
from ranspec.codegen.build import BuildFolderError, build, check_build, default_folder
from ranspec.codegen.render import MANIFEST
from ranspec.spec import LoadedSpec, load_spec, packaged_specs

BACKEND = "torch"


@pytest.fixture(scope="module")
def spec() -> LoadedSpec:
    return load_spec("attention_digits", search=[packaged_specs()])


@pytest.fixture(scope="module")
def pristine(spec: LoadedSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(spec, BACKEND, tmp_path_factory.mktemp("pristine")).folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A folder as a build left it."""
    return Path(shutil.copytree(pristine, tmp_path / "built"))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def edit_manifest(folder: Path, **files: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] |= files
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_build_goes_to_generated_below_the_working_folder(
    spec: LoadedSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = build(spec, BACKEND)
    assert (
        result.folder == default_folder(spec, BACKEND) == Path("generated/attention_digits/torch")
    )
    assert set(contents(tmp_path / result.folder)) == set(result.files)


def test_an_unknown_backend_is_told_with_the_nearest(spec: LoadedSpec, tmp_path: Path) -> None:
    with pytest.raises(UnknownBackendError, match="did you mean torch"):
        build(spec, "toch", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_build_changes_nothing(spec: LoadedSpec, folder: Path) -> None:
    before = contents(folder)
    build(spec, BACKEND, folder)
    assert contents(folder) == before
    assert check_build(spec, BACKEND, folder) == []


@pytest.mark.parametrize("name", ["model.py", "README.md"])
def test_an_edited_file_is_kept_unless_forced(spec: LoadedSpec, folder: Path, name: str) -> None:
    (folder / name).write_text("mine")
    before = contents(folder)
    with pytest.raises(BuildFolderError, match=f"{name} was edited since it was built.*--force"):
        build(spec, BACKEND, folder)
    assert contents(folder) == before
    assert check_build(spec, BACKEND, folder) == [name]
    build(spec, BACKEND, folder, force=True)
    assert check_build(spec, BACKEND, folder) == []


@pytest.mark.parametrize("content", [b"mine", b"\xff\xfe not text"])
def test_a_foreign_file_is_kept_unless_forced(
    spec: LoadedSpec, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "train.py").write_bytes(content)
    with pytest.raises(BuildFolderError, match=r"train\.py was not built by ranspec"):
        build(spec, BACKEND, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]
    build(spec, BACKEND, tmp_path, force=True)
    assert check_build(spec, BACKEND, tmp_path) == []


def test_files_with_other_names_are_never_touched(spec: LoadedSpec, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    build(spec, BACKEND, folder, force=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_missing_file_is_written_again(spec: LoadedSpec, folder: Path) -> None:
    (folder / "model.py").unlink()
    assert check_build(spec, BACKEND, folder) == ["model.py"]
    build(spec, BACKEND, folder)
    assert check_build(spec, BACKEND, folder) == []


def test_a_file_of_an_older_build_is_removed_unless_it_was_edited(
    spec: LoadedSpec, folder: Path
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / "old.py").write_text((folder / "model.py").read_text())
    edit_manifest(folder, **{"old.py": manifest["files"]["model.py"]})
    assert check_build(spec, BACKEND, folder) == [MANIFEST, "old.py"]
    build(spec, BACKEND, folder)
    assert not (folder / "old.py").exists()

    (folder / "old.py").write_text("mine")
    edit_manifest(folder, **{"old.py": manifest["files"]["model.py"]})
    with pytest.raises(BuildFolderError, match=r"old\.py was edited"):
        build(spec, BACKEND, folder)


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"files": 3}', '{"files": [1]}', "[" * 100_000]
)
def test_a_damaged_manifest_is_told(spec: LoadedSpec, folder: Path, damage: str) -> None:
    (folder / MANIFEST).write_text(damage)
    with pytest.raises(BuildFolderError, match=r"\.ranspec\.json is damaged.*--force"):
        build(spec, BACKEND, folder)
    assert MANIFEST in check_build(spec, BACKEND, folder)
    build(spec, BACKEND, folder, force=True)
    assert check_build(spec, BACKEND, folder) == []


@pytest.mark.parametrize(
    "name", ["../victim", "..", ".", "", "sub/victim", "..\\victim", "a\0b", "/etc/hostname", "é"]
)
@pytest.mark.parametrize("force", [False, True])
def test_a_hostile_manifest_reaches_nothing_outside(
    spec: LoadedSpec, folder: Path, name: str, force: bool
) -> None:
    victims = [folder.parent / "victim", folder / "sub" / "victim"]
    (folder / "sub").mkdir()
    for victim in victims:
        victim.write_text("precious")
    edit_manifest(folder, **{name: "0" * 64})
    build(spec, BACKEND, folder, force=force)
    assert all(victim.read_text() == "precious" for victim in victims)


@pytest.mark.parametrize("exists", [False, True])
def test_links_are_replaced_and_not_followed(
    spec: LoadedSpec, tmp_path: Path, exists: bool
) -> None:
    victim = tmp_path / "victim"
    if exists:
        victim.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("model.py", ".model.py.new", MANIFEST):
        (folder / name).symlink_to(victim)
    build(spec, BACKEND, folder, force=True)
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "precious"
    assert not (folder / "model.py").is_symlink()
    assert check_build(spec, BACKEND, folder) == []


def test_an_output_path_that_is_a_file_is_refused(spec: LoadedSpec, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    for target in (path, path / "below"):
        with pytest.raises(BuildFolderError, match="cannot write"):
            build(spec, BACKEND, target)
    assert path.read_text() == "precious"


def test_a_folder_in_a_files_place_is_refused(spec: LoadedSpec, tmp_path: Path) -> None:
    (tmp_path / "model.py").mkdir()
    with pytest.raises(BuildFolderError, match=r"cannot read .*model\.py"):
        build(spec, BACKEND, tmp_path)
    with pytest.raises(BuildFolderError, match=r"cannot write .*model\.py"):
        build(spec, BACKEND, tmp_path, force=True)
