"""What a backend is, and which are installed.

A backend is one package with a `BACKEND` announced under the entry point group
`ranspec.backends`; nothing in ranspec knows any of them by name.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ranspec.codegen.code import Call, Code
from ranspec.errors import RanspecError
from ranspec.ir.operation import Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ranspec.ir.graph import Graph
    from ranspec.spec import LoadedSpec

    Array = NDArray[Any]

GROUP = "ranspec.backends"

Files = Mapping[str, str | bytes]
"""Contents by file name; text is written as UTF-8."""


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


class UnsupportedError(RanspecError, ValueError):
    """A backend cannot write an operation as asked; the message says why."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The arrays of a network, for a backend that writes them into what it builds."""

    arrays: Mapping[str, Array]
    """By canonical name and in its layout."""
    origin: str
    """What they are, in words: `initial weights, seed 0`."""
    trained: bool = False
    """Whether they are a checkpoint's."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a backend is asked to write."""

    loaded: LoadedSpec
    graph: Graph
    weights: Weights | None
    """None for a backend that does not embed them."""
    dtype: str
    """What the network computes in: `float32`, or another of the backend's for verification."""
    context: Mapping[str, Any]
    """What every template is given."""


@dataclass(frozen=True, kw_only=True)
class Backend(ABC):
    """A framework: what it can do, and how its part of a build is written."""

    name: str
    """As on the command line."""
    title: str
    """As people write it."""
    package: str
    """The importable package that holds `probe.py` and `templates/`."""
    operations: Mapping[type[Operation], Any]
    """How it writes each operation that it can write."""
    requirements: Mapping[str, str]
    """What to install for each module that its code imports: the line of requirements.txt."""
    trains: bool = True
    """Whether what it writes can be trained; if not, it only infers."""
    lacks: frozenset[str] = frozenset()
    """Keys of a recipe that its training does not have, of `codegen.training.ADVANCED`."""
    aliases: tuple[str, ...] = ()
    """Other names that people call it by, in lower case."""
    writes_with: tuple[str, ...] = ()
    """Modules without which it cannot write; most need none, not even their framework."""
    dtypes: tuple[str, ...] = ("float64", "float32")
    """What it can be verified in."""
    embeds_weights: bool = False
    """Whether it writes the weights into what it builds, and so can be given a checkpoint's."""
    reserved: frozenset[str] = frozenset()
    """Names that no part of a network can have, as the framework gives them a meaning."""

    def writer(self, operation: Operation, where: str) -> Any:
        """Return how an operation is written; raise `UnsupportedError` where it cannot be."""
        if type(operation) not in self.operations:
            name = type(operation).__name__
            raise UnsupportedError(f"{self.title} has no {name}, used by {where}")
        return self.operations[type(operation)]

    @abstractmethod
    def write(self, request: Request) -> Files:
        """Return the files of a network but for those that all backends share.

        Raises `UnsupportedError` where the framework cannot say what the network asks for.
        """


@dataclass(frozen=True, kw_only=True)
class CodeBackend(Backend):
    """A backend that writes Python: `model.py` by emitters, the rest by templates and copies.

    Its package also holds `runtime/`, whose modules are copied as they are.
    """

    operations: Mapping[type[Operation], Member | Function]
    sequence: Callable[[Sequence[Code]], Code]
    """Writes a chain of constructed blocks as one callable block."""
    imports: Mapping[str, str]
    """Import lines of model.py by the name they bind; those used are written, in this order."""
    construct: Callable[[Call], Code] = lambda call: call
    """Completes the construction of a block, with a framework's own arguments."""

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """What its copied module `layers` defines; model.py imports what it uses of it."""
        source = (files(f"{self.package}.runtime") / "layers.py").read_text(encoding="utf-8")
        defined = re.findall(r"^(?:class|def) ([a-zA-Z]\w*)", source, re.MULTILINE)
        return tuple(sorted(defined))

    def write(self, request: Request) -> Files:
        from ranspec.codegen.program import write_program

        return write_program(self, request)


class UnknownBackendError(RanspecError, ValueError):
    """No installed backend has that name."""


def available_backends() -> dict[str, EntryPoint]:
    """Return the installed backends by name, without importing them."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


def load_backend(name: str) -> Backend:
    """Import a backend by its name or an alias; raise `UnknownBackendError` with the nearest."""
    found = available_backends()
    if name in found:
        return cast(Backend, found[name].load())
    called = {alias: backend for backend in installed_backends() for alias in backend.aliases}
    if name.lower() in called:
        return called[name.lower()]
    near = difflib.get_close_matches(name.lower(), [*found, *called], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownBackendError(
        f"unknown backend {name!r}{hint} (installed: {', '.join(found) or 'none'})"
    )


def installed_backends() -> list[Backend]:
    """Return the installed backends that can be imported, by name."""
    backends = []
    for entry in available_backends().values():
        with suppress(ImportError):
            backends.append(cast(Backend, entry.load()))
    return backends


def require_training(backend: Backend) -> None:
    """Raise `UnsupportedError` for a backend that only infers."""
    if not backend.trains:
        raise UnsupportedError(f"{backend.title} only infers; train with another backend")


class NotInstalledError(RanspecError):
    """A framework is not installed; the message says how to install it."""


def require_installed(backend: Backend, modules: Iterable[str] | None = None) -> None:
    """Raise `NotInstalledError` where modules cannot be imported, by default all of the code's."""
    needed = backend.requirements if modules is None else modules
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise NotInstalledError(
            f"{backend.title} needs {', '.join(missing)}, not installed here: "
            f"pip install 'ranspec[{backend.name}]'"
        )
