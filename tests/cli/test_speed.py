"""The command line is instant, measured beside the import of PyTorch on the same machine.

What is compared is processor time, which the machine's other work hardly changes, with the byte
code of both kept, as an installation keeps it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import available_backends

ROOT = Path(__file__).parents[2]
ROUNDS = 5

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or "torch" not in available_backends(),
    reason="PyTorch and its backend are not installed",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables under which this checkout runs from byte code."""
    paths = [str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")]
    prefix = str(tmp_path_factory.mktemp("bytecode"))
    changed = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONPYCACHEPREFIX": prefix}
    kept = {key: os.environ[key] for key in os.environ.keys() - {"PYTHONDONTWRITEBYTECODE"}}
    return kept | changed


def seconds(environment: dict[str, str], *arguments: str) -> float:
    """Return the processor time of a run of Python."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def ratio(environment: dict[str, str], *arguments: str) -> float:
    """Return the time of a command over that of `import torch`, the best of rounds in turns."""
    command, reference = ("-m", "ranspec", *arguments), ("-c", "import torch")
    for warming in (command, reference):
        seconds(environment, *warming)
    times = [
        (seconds(environment, *command), seconds(environment, *reference)) for _ in range(ROUNDS)
    ]
    ours, torch = (min(column) for column in zip(*times, strict=True))
    return ours / torch


def test_help_takes_a_fifth(environment: dict[str, str]) -> None:
    assert ratio(environment, "--help") < 1 / 5


def test_counting_attention_452_takes_a_third(environment: dict[str, str]) -> None:
    assert ratio(environment, "count", "attention452_cifar") < 1 / 3


def test_listing_every_network_with_its_size_takes_no_longer(environment: dict[str, str]) -> None:
    assert ratio(environment, "list") < 1


def test_building_attention_452_takes_no_longer(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "code")
    assert ratio(environment, "build", "attention452_cifar", "--backend", "torch", "-o", folder) < 1
