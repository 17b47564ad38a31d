"""A build writes its own files and leaves everyone else's alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ranspec.analysis.count import count
from ranspec.codegen.backend import Files, UnknownBackendError, load_backend
from ranspec.codegen.build import (
    BuildFolderError,
    build,
    check_build,
    compare,
    default_folder,
    write_builds,
)
from ranspec.codegen.folder import PREPARED
from ranspec.codegen.render import MANIFEST, render_files
from ranspec.compile import compile_spec
from ranspec.runtime.identity import built_from
from ranspec.spec import LoadedSpec, Source, load_spec, packaged_specs

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


def snapshot(folder: Path) -> dict[str, object]:
    """Return what is at every path below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        if path.is_file()
        else (path.lstat().st_mode, path.lstat().st_ino)
        for path in sorted(folder.rglob("*"))
    }


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


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
    for name in ("model.py", PREPARED, MANIFEST):
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


@pytest.mark.parametrize("name", ["model.py", MANIFEST])
@pytest.mark.parametrize(
    ("kind", "make"), {"folder": Path.mkdir, "FIFO": os.mkfifo, "socket": bind}.items()
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(
    spec: LoadedSpec,
    folder: Path,
    name: str,
    kind: str,
    make: Callable[[Path], None],
    force: bool,
) -> None:
    (folder / name).unlink()
    make(folder / name)
    before = snapshot(folder)
    with pytest.raises(BuildFolderError, match=f"{name} is a {kind}, not a file; move it away"):
        build(spec, BACKEND, folder, force=force)
    assert snapshot(folder) == before
    assert check_build(spec, BACKEND, folder) == [name]


def test_a_link_to_nothing_is_replaced_only_where_forced(spec: LoadedSpec, folder: Path) -> None:
    (folder / "model.py").unlink()
    (folder / "model.py").symlink_to("nowhere")
    with pytest.raises(BuildFolderError, match="link to nothing"):
        build(spec, BACKEND, folder)
    build(spec, BACKEND, folder, force=True)
    assert check_build(spec, BACKEND, folder) == []


@pytest.mark.parametrize("target", ["/dev/null", "fifo"])
def test_a_device_in_the_folders_place_is_refused(
    spec: LoadedSpec, tmp_path: Path, target: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BuildFolderError, match="cannot write"):
        build(spec, BACKEND, tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


# --- whole or not at all ---


def other(folder: Path) -> dict[Path, Files]:
    """Two builds of another network than the one that a folder holds, one of them a new one."""
    changed = load_spec("attention_digits", ["attention.t=1"], search=[packaged_specs()])
    rendered = render_files(changed, load_backend(BACKEND))
    return {folder: {**rendered, "added.bin": b"\xff"}, folder.parent / "new" / "torch": rendered}


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", range(0, 10))
def test_a_build_that_fails_at_any_move_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int, failure: BaseException
) -> None:
    builds = other(folder)
    (folder / "added.bin").unlink(missing_ok=True)
    before = snapshot(folder.parent)
    rename, moves = Path.rename, iter(range(1000))

    def fail(self: Path, target: Path) -> Path:
        if next(moves) == step:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((BuildFolderError, KeyboardInterrupt)):
        write_builds(builds)
    assert snapshot(folder.parent) == before
    write_builds(builds)
    assert compare(builds) == []


def test_a_full_disk_changes_nothing(folder: Path) -> None:
    """Files are limited to fewer bytes than train.py has."""
    before = snapshot(folder.parent)
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "from ranspec.cli import main\nmain()"
    )
    command = ["build", "attention56_cifar", "--all-backends", "-o", str(folder.parent)]
    result = subprocess.run(
        [sys.executable, "-c", program, *command, "--force"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write ")
    assert snapshot(folder.parent) == before


KILLED = """
import os, sys
from pathlib import Path

sys.path[:0] = {path!r}
from tests.codegen.test_build_folder import other
from ranspec.codegen.build import write_builds

rename, moves = Path.rename, iter(range(1000))


def killed(self, target):
    if next(moves) == {step}:
        os._exit(9)
    return rename(self, target)


Path.rename = killed
write_builds(other(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("step", [0, 1, 2, 5, 8])
def test_what_a_killed_build_left_is_mended_by_the_next(
    spec: LoadedSpec, folder: Path, step: int
) -> None:
    (folder / "notes.txt").write_text("mine")
    before = snapshot(folder.parent)
    program = KILLED.format(path=sys.path, step=step)
    result = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert result.returncode == 9
    build(spec, BACKEND, folder)
    build(spec, BACKEND, folder.parent / "new" / "torch", force=True)
    shutil.rmtree(folder.parent / "new")
    assert snapshot(folder.parent) == before


def test_two_builds_of_a_folder_at_once_take_turns(folder: Path) -> None:
    builds = other(folder)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: write_builds(builds), range(8)))
    assert compare(builds) == []
    assert not [path for path in folder.parent.rglob("*") if PREPARED in path.name]


def test_what_is_the_users_own_stays_as_it_was(folder: Path) -> None:
    (folder / "runs" / "first").mkdir(parents=True)
    (folder / "runs" / "first" / "checkpoint.safetensors").write_bytes(b"weights")
    (folder / "notes.txt").write_text("mine")
    (folder / "pipe").symlink_to("notes.txt")
    own = [folder / name for name in ("notes.txt", "pipe", "runs", "runs/first")]
    before = [path.lstat() for path in own]
    write_builds(other(folder), force=True)
    assert [path.lstat() for path in own] == before


def test_files_that_are_up_to_date_are_not_written_again(spec: LoadedSpec, folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(spec, BACKEND, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


# --- where a build goes by default ---


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(path: Path, **changes: object) -> Path:
    """Write a spec of one's own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = load_spec("attention_digits", search=[packaged_specs()]).resolved() | changes
    path.write_text(json.dumps(values))
    return path


def name_of(source: str | Path, *overrides: str) -> str:
    folder = default_folder(load_spec(source, overrides), BACKEND)
    assert folder.parts[0] == "generated" and folder.name == BACKEND
    return folder.parent.relative_to("generated").as_posix()


def test_a_spec_is_built_in_a_folder_of_its_name(project: Path) -> None:
    own(project / "mine.yaml")
    own(project / "specs/listed.yaml")
    own(project / "more/mine.yaml")
    assert name_of("attention92_cifar") == "attention92_cifar"
    assert name_of("yeah2020/attention56_cifar") == "yeah2020/attention56_cifar"
    assert name_of(packaged_specs() / "attention92_cifar.yaml") == "attention92_cifar"
    assert name_of("mine.yaml") == name_of(project / "mine.yaml") == "mine"
    assert name_of("listed") == name_of("specs/listed.yaml") == "listed"
    assert name_of("more/mine.yaml") == "more/mine"


def test_overrides_are_part_of_a_folders_name(project: Path) -> None:
    changed = name_of("attention92_cifar", "attention.activation=spatial")
    assert re.fullmatch("attention92_cifar-activation_spatial-[0-9a-f]{8}", changed)
    assert changed == name_of("attention92_cifar", "attention.activation = 'spatial'")
    assert name_of("attention92_cifar", "train.seed=1") != name_of(
        "attention92_cifar", "train.seed=2"
    )
    long = name_of("attention92_cifar", f"source={'../' * 500}")
    assert re.fullmatch("attention92_cifar-source-[0-9a-f]{8}", long)


def test_another_spec_of_a_known_name_has_a_folder_of_its_own(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    name = "attention92_cifar"
    paths = [
        own(project / f"{name}.yaml", name=name),
        own(elsewhere / f"{name}.yaml", name=name, classes=11),
        own(project / "odd name.yaml", name=name, classes=12),
        own(project / "con.yaml", name=name, classes=13),
        own(project / f"{name}-01234567.yaml", name=name, classes=14),
        own(project / "twice.yaml", name=name, classes=15),
        own(project / "twice.yml", name=name, classes=16),
    ]
    found = [name_of(path) for path in paths]
    assert found[5] == "twice"
    pattern = re.compile(f"{name}-[0-9a-f]{{8}}")
    assert all(map(pattern.fullmatch, found[:5] + found[6:]))
    assert len({*found, name_of(name)}) == len(paths) + 1


def test_a_spec_of_ones_own_keeps_its_folder_when_it_changes(project: Path) -> None:
    path = own(project / "mine.yaml")
    first = build(load_spec(path), BACKEND)
    own(path, classes=7)
    assert build(load_spec(path), BACKEND).folder == first.folder


# --- spec.yaml ---


def test_a_built_spec_builds_the_same_files(project: Path) -> None:
    own(project / "mine.yaml", alternatives={"attention.t": [1], "unit": [{"kind": "basic"}]})
    for source, overrides in (
        ("attention92_cifar", ()),
        ("yeah2020/attention56_cifar", ("attention.p=2", "notes=['# a: {b}', \"é\\n\"]")),
        ("mine.yaml", ("train.seed=3",)),
    ):
        first = build(load_spec(source, overrides), BACKEND, project / "first", force=True)
        again = build(load_spec(first.folder / "spec.yaml"), BACKEND, project / "again", force=True)
        assert contents(again.folder) == contents(first.folder)


def test_a_built_folder_says_what_it_was_built_from(project: Path) -> None:
    loaded = load_spec("yeah2020/attention56_cifar", ["attention.p=2"])
    folder = build(loaded, BACKEND).folder
    readme = (folder / "README.md").read_text()
    assert "the spec `yeah2020/attention56_cifar`, with these values changed" in readme
    assert "- attention.p=2\n" in readme
    assert loaded.digest in readme
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["spec"] == "yeah2020/attention56_cifar"
    assert manifest["overrides"] == ["attention.p=2"]
    assert manifest["spec_sha256"] == loaded.digest


def test_a_built_folder_tells_its_runs_the_spec_and_what_the_network_counts(
    spec: LoadedSpec, folder: Path
) -> None:
    told = built_from(folder)
    counted = count(compile_spec(spec))
    assert told["spec"] == (folder / "spec.yaml").read_text()
    assert told["card"]["parameters"] == counted.trainable_parameters
    assert sum(part["macs"] for part in told["card"]["parts"]) == counted.macs
    assert built_from(folder / "elsewhere") == {}


def test_an_edited_spec_of_a_build_is_a_spec_of_its_own(spec: LoadedSpec, folder: Path) -> None:
    file = folder / "spec.yaml"
    assert load_spec(file).source == spec.source
    changed = load_spec(file, ["attention.t=1"])
    assert changed.source == replace(spec.source, overrides=("attention.t=1",))
    file.write_text(file.read_text().replace("classes: 10", "classes: 9"))
    assert load_spec(file).source == Source("spec")
    assert load_spec(file, ["classes=10"]).source == Source("spec", ("classes=10",))


def test_the_order_of_stages_is_part_of_the_digest(spec: LoadedSpec, project: Path) -> None:
    stages = spec.resolved()["stages"]
    turned = own(project / "turned.yaml", stages=dict(reversed(stages.items())))
    assert load_spec(turned).digest != spec.digest
