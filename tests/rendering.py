"""What the tests of generated code share: every spec, every backend, and what they render."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ranspec.codegen.backend import Files, available_backends, load_backend
from ranspec.codegen.render import as_bytes, render_files
from ranspec.spec import LoadedSpec, available_specs, load_spec, packaged_specs

ROOT = Path(__file__).parents[1]
SPECS = tuple(available_specs([packaged_specs()]))
BACKENDS = tuple(
    name for name, entry in available_backends().items() if find_spec(entry.module) is not None
)
TRAINING = tuple(name for name in BACKENDS if load_backend(name).trains)
"""Those whose code trains; the others only infer."""
WRITERS = {name: load_backend(name) for name in TRAINING}


@cache
def loaded(spec: str) -> LoadedSpec:
    """Return a spec of the package."""
    return load_spec(packaged_specs() / f"{spec}.yaml")


@cache
def rendered(spec: str, backend: str) -> dict[str, str]:
    """Return the files of a build."""
    return render_files(loaded(spec), WRITERS[backend])


def everything() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the files of every spec for every backend that trains."""
    for spec in SPECS:
        for backend in TRAINING:
            yield spec, backend, rendered(spec, backend)


def write(folder: Path, files: Files) -> None:
    """Write rendered files as they are."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(as_bytes(content))
