"""The promises of the architecture that a program can check."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ranspec.blocks.stems import STEMS
from ranspec.blocks.units import UNITS
from ranspec.codegen.backend import load_backend
from ranspec.compile import compile_spec
from ranspec.ir import operations as ops
from ranspec.ir.graph import unique_traces
from ranspec.ir.operation import Operation
from ranspec.spec import load_spec, packaged_specs
from tests.rendering import BACKENDS, ROOT, SPECS

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax", "optax")
GENERIC = {"Head", "Stem"}


def test_no_backend_names_a_block() -> None:
    names = {*UNITS, *STEMS}
    for spec in SPECS:
        root = compile_spec(load_spec(packaged_specs() / f"{spec}.yaml")).root
        names |= {trace.class_name for trace in unique_traces(root)}
    # A unit kind may be called as the operation that it wraps.
    names -= {operation.label for operation in ops.ALL} | GENERIC
    pattern = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    found = {
        str(path.relative_to(ROOT)): set(pattern.findall(path.read_text(encoding="utf-8")))
        for path in (ROOT / "backends").rglob("*")
        if path.suffix in (".py", ".j2")
    }
    assert found
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_writes_every_operation_or_its_parts(backend: str) -> None:
    written = set(load_backend(backend).operations)
    assert written <= set(ops.ALL)
    assert {kind.__name__ for kind in set(ops.ALL) - written} <= {"Gate"}


def test_every_operation_is_listed() -> None:
    def below(kind: type[Operation]) -> set[type[Operation]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    ours = {kind for kind in below(Operation) if kind.__module__.startswith("ranspec.")}
    assert {kind for kind in ours if hasattr(kind, "label")} == set(ops.ALL)


RUN = """
import sys
from ranspec.cli import main
sys.argv = ["ranspec", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = {name.partition(".")[0] for name in sys.modules}
print("loaded:", *sorted(loaded))
"""


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", RUN, *arguments]
    result = subprocess.run(
        command, cwd=folder, env=environment(ROOT), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].removeprefix("loaded: ").split())


def environment(root: Path, *more: Path) -> dict[str, str]:
    folders = (root, root / "backends", *more)
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("count", "attention452_cifar"),
        *(("build", "attention452_cifar", "--backend", backend) for backend in BACKENDS),
    ],
    ids=" ".join,
)
def test_commands_import_no_framework(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    loaded = loaded_by(tmp_path, *arguments)
    assert "ranspec" in loaded
    assert loaded.isdisjoint(FRAMEWORKS)
    assert arguments[0] != "--help" or loaded.isdisjoint({"numpy", "jinja2", "pydantic", "rich"})


# A block, an operation and a backend, added as README.md says.

OPERATION = '''
"""An operation."""

from dataclasses import dataclass
from typing import ClassVar

from ranspec.ir.operation import KEEPS_NOTHING, Kept, Positionwise


@dataclass(frozen=True, eq=False)
class Negate(Positionwise):
    """-x."""

    label: ClassVar[str] = "negate"
    cost: ClassVar[int] = 1
    keeps: ClassVar[Kept] = KEEPS_NOTHING

    def forward(self, arrays, *inputs, training):
        return -inputs[0], None

    def backward(self, arrays, saved, gradient):
        return (-gradient,), {}
'''
BLOCK = '''
"""A unit."""

from __future__ import annotations

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.ir.operations import Negate


@block
def mirror(b: Builder, x: Value, *, channels: Dimension, stride: Dimension, kernel: int) -> Value:
    """Convolution of the negated input."""
    return b.convolution("conv", b.add_node(Negate(), x), channels, kernel=kernel, stride=stride)
'''
MODEL = '''class Mirror(Model):
    """A convolution of the negated input."""

    kind: Literal["mirror"]
    kernel: Annotated[int, Field(ge=1, le=15)] = 3


'''
BACKEND = """
from dataclasses import replace

from ranspec.codegen.quotation import function
from ranspec.ir import operations as ops
from ranspec_torch import BACKEND as TORCH

BACKEND = replace(
    TORCH,
    name="toy",
    title="Toy",
    package="ranspec_toy",
    operations={**TORCH.operations, ops.Negate: function("torch.neg(x)")},
)
"""
SPEC = """
name: mirrored
source: A test.
input: {height: 8, width: 8}
classes: 3
stem: {channels: 4}
unit: {kind: mirror, kernel: 5}
stages:
  first: {channels: 4, units: 2, stride: 2}
train: {data: digits}
"""
EXPECTED = '''class Mirror(nn.Module):
    """Convolution of the negated input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, channels, kernel_size=5, stride=stride, padding=2, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.neg(x))
'''


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with a block, an operation and a backend more."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("ranspec", "backends"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    operations, units = root / "ranspec/ir/operations", root / "ranspec/blocks/units"
    (operations / "negate.py").write_text(OPERATION)
    insert(operations / "__init__.py", "ALL = (", "from ranspec.ir.operations.negate import Negate")
    insert(operations / "__init__.py", "    AveragePool,", "    Negate,")
    (units / "mirror.py").write_text(BLOCK)
    insert(units / "__init__.py", "UNITS: ", "from ranspec.blocks.units.mirror import mirror")
    insert(units / "__init__.py", '    "basic": basic,', '    "mirror": mirror,')
    insert(root / "ranspec/spec/units.py", "Unit = Annotated[", MODEL)
    insert(root / "ranspec/spec/units.py", "    | Basic", "    | Mirror")

    toy = root / "backends/ranspec_toy"
    shutil.copytree(root / "backends/ranspec_torch", toy)
    (toy / "__init__.py").write_text("from ranspec_toy.emitter import BACKEND as BACKEND\n")
    (toy / "emitter.py").write_text(BACKEND)
    distribution = root / "backends/toy-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(
        "[ranspec.backends]\ntoy = ranspec_toy:BACKEND\n"
    )
    (root / "mirrored.yaml").write_text(SPEC)
    return root


def insert(path: Path, before: str, line: str) -> None:
    """Insert a line before the first that begins so."""
    head, mark, tail = path.read_text().partition(f"\n{before}")
    assert mark, before
    path.write_text(f"{head}\n{line}{mark}{tail}")


def ranspec(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ranspec", *arguments]
    return subprocess.run(
        command, cwd=root, env=environment(root), capture_output=True, text=True, check=False
    )


def test_a_block_an_operation_and_a_backend_are_added_as_the_readme_says(extended: Path) -> None:
    result = ranspec(extended, "build", "mirrored.yaml", "--backend", "toy", "-o", "out")
    assert result.returncode == 0, result.stderr
    assert EXPECTED in (extended / "out" / "model.py").read_text()
    result = ranspec(extended, "count", "mirrored.yaml", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert '"op": "negate"' in result.stdout


def test_a_backend_without_an_operation_is_refused_with_a_reason(extended: Path) -> None:
    result = ranspec(extended, "build", "mirrored.yaml", "--backend", "torch", "-o", "none")
    assert result.returncode == 2
    assert result.stderr == "error: PyTorch has no Negate, used by Mirror.negate1\n"
    assert not (extended / "none").exists()
