"""What a backend is, and which are installed.

A backend is one package with a `BACKEND` announced under the entry point group
`ranspec.backends`; nothing in ranspec knows any of them by name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, cast

from ranspec.codegen.code import Call, Code
from ranspec.ir.operation import Operation

GROUP = "ranspec.backends"


@dataclass(frozen=True)
class Member:
    """An operation that a class constructs and keeps: `self.conv1 = ...`, `self.conv1(x)`."""

    construct: Callable[[Any], Code]
    apply: Callable[..., Code] | None = None
    """(operation, the attribute, *operands); by default the attribute is called."""


@dataclass(frozen=True)
class Function:
    """An operation that is written where it is used; called with the operation and operands."""

    write: Callable[..., Code]


class UnsupportedError(ValueError):
    """A backend cannot write an operation as asked; the message says why."""


@dataclass(frozen=True)
class Backend:
    """How a framework writes each operation, and what accompanies the model."""

    name: str
    """As on the command line: `torch`."""
    title: str
    """As people write it: `PyTorch`."""
    package: str
    """The importable package that holds `templates/` and `runtime/`."""
    operations: Mapping[type[Operation], Member | Function]
    sequence: Callable[[Sequence[Code]], Code]
    """Writes a chain of constructed blocks as one callable block."""
    imports: Mapping[str, str]
    """Import lines of model.py by the name they bind; those used are written, in this order."""
    layers_module: tuple[str, ...] = ()
    """Names that model.py imports from the copied module `layers`, where it uses them."""
    construct: Callable[[Call], Code] = lambda call: call
    """Completes the construction of a block, with a framework's own arguments."""
    requirements: tuple[str, ...] = ()
    """Lines of requirements.txt that the framework asks for."""


class UnknownBackendError(ValueError):
    """No installed backend has that name."""


def available_backends() -> dict[str, EntryPoint]:
    """Return the installed backends by name, without importing them."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


def load_backend(name: str) -> Backend:
    """Import a backend; raise `UnknownBackendError` with the nearest name."""
    found = available_backends()
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownBackendError(
            f"unknown backend {name!r}{hint} (installed: {', '.join(found) or 'none'})"
        )
    return cast(Backend, found[name].load())


class NotInstalledError(Exception):
    """A framework is not installed; the message says how to install it."""


def require_installed(backend: Backend) -> None:
    """Raise `NotInstalledError` where what the backend's code needs cannot be imported."""
    names = [re.split(r"[<>=!~ ]", line)[0] for line in backend.requirements]
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise NotInstalledError(
            f"{backend.title} needs {', '.join(missing)}, not installed here: "
            f"pip install 'ranspec[{backend.name}]'"
        )
