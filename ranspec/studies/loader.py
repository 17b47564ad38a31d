"""From the name or path of a study to a checked one, whose specs can all be loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ranspec.codegen.backend import load_backend, require_training
from ranspec.errors import RanspecError
from ranspec.spec import Problem, SpecError, load_spec, search_folders
from ranspec.spec.errors import show_with_type
from ranspec.spec.families import STUDIES, Library, no_such_name, read_bytes
from ranspec.spec.language import Place
from ranspec.spec.overrides import override_origin
from ranspec.spec.short_forms import in_full
from ranspec.spec.validation import validate_as
from ranspec.spec.writer import yaml_lines
from ranspec.spec.yaml_source import Node, parse
from ranspec.studies.model import Entry, Study


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A study, the name it has in `ranspec study list` or its file's, and the text of its file."""

    study: Study
    name: str
    file: Path
    text: str

    def spec_name(self, entry: Entry) -> str:
        """Return the spec of an entry as `load_spec` takes it: a name, or a path from here."""
        if entry.spec.endswith((".yaml", ".yml")):
            return str(self.file.parent / entry.spec)
        return entry.spec

    def as_run(self) -> str:
        """Return the study as text that means the same in any folder of this machine."""
        entries = [
            entry.model_copy(update={"spec": str(Path(name).absolute())})
            if (name := self.spec_name(entry)) != entry.spec
            else entry
            for entry in self.study.entries
        ]
        if entries == list(self.study.entries):
            return self.text
        said = self.study.model_copy(update={"entries": tuple(entries)}).model_dump(mode="json")
        return "".join(f"{line}\n" for line, _ in yaml_lines(said))


def study_folders() -> tuple[Path, ...]:
    """Return where names are looked up: `./specs/studies`, then the studies of ranspec."""
    return tuple(folder / STUDIES for folder in search_folders())


def available_studies() -> list[str]:
    """List the names that `load_study` knows."""
    return Library(study_folders()).names()


def load_study(source: str | Path, *, specs: bool = True) -> LoadedStudy:
    """Load the study at a path, or of a name such as `wang2017_table1`.

    Raises SpecError, and nothing else, for anything wrong with it, or with its entries' specs
    unless these are left alone.
    """
    path = _find(source)
    data = read_bytes(path, Problem(str(path), 0, 0, "", ""))
    node, problems = parse(data, str(path))
    if not isinstance(node.value, dict):
        message = f"a study is a mapping of keys; found {show_with_type(node.plain())}"
        raise SpecError([*problems, Problem.at(node.origin, (), message)])
    node = in_full(node, Place(Study))
    try:
        study = validate_as(Study, node.plain(), node.locate)
    except SpecError as error:
        raise _sorted((*problems, *error.problems)) from None
    loaded = LoadedStudy(study, _name(path), path, data.decode("utf-8"))
    found = (*problems, *(_wrong(loaded, node) if specs else ()))
    if found:
        raise _sorted(found)
    return loaded


def _find(source: str | Path) -> Path:
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")):
        return Path(source)
    library = Library(study_folders())
    if file := library.find(source):
        return file
    raise SpecError([Problem(source, 0, 0, "", no_such_name(source, library, "study"))])


def _name(path: Path) -> str:
    home = Library(study_folders()).home(path)
    if home is None:
        return path.stem
    return path.resolve().relative_to(home.resolve()).with_suffix("").as_posix()


def _wrong(loaded: LoadedStudy, node: Node) -> Iterator[Problem]:
    """Yield what is wrong with the backends and with the spec of each entry."""

    def problem(path: tuple[str, ...], message: str) -> Problem:
        return Problem.at(node.locate(path, False), path, message)

    for index, backend in enumerate(loaded.study.backends):
        try:
            require_training(load_backend(backend))
        except RanspecError as error:
            yield problem(("backends", str(index)), str(error))
    names: dict[str, str] = {}
    for index, entry in enumerate(loaded.study.entries):
        path = ("entries", str(index))
        try:
            digest = load_spec(loaded.spec_name(entry), entry.set).digest
        except SpecError as error:
            for found in error.problems:
                yield problem((*path, *_culprit(entry, found)), _said(found))
            continue
        if digest in names:
            message = f"the same network and recipe as entry {names[digest]!r}"
            yield problem((*path, "spec"), message)
        names.setdefault(digest, entry.name)


def _culprit(entry: Entry, problem: Problem) -> tuple[str, ...]:
    """Return the key of an entry that led to a problem of its spec."""
    for index, text in enumerate(entry.set):
        if problem.file == override_origin(text).file:
            return "set", str(index)
    return ("spec",)


def _said(problem: Problem) -> str:
    """Return a problem of a spec as the study that names it tells of it."""
    place = f"{problem.origin}: " if problem.line else ""
    key = f"{problem.key}: " if problem.key else ""
    return f"{place}{key}{problem.message}"


def _sorted(problems: Sequence[Problem]) -> SpecError:
    return SpecError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
