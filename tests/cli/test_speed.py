"""The command line is instant, measured beside the import of PyTorch on the same machine.

What is compared is processor time, which the machine's other work hardly changes, with the byte
code of both kept, as an installation keeps it.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ranspec.codegen.backend import available_backends

ROOT = Path(__file__).parents[2]
ROUNDS = 5
REFERENCE = ("-c", "import torch")

pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or "torch" not in available_backends(),
    reason="PyTorch and its backend are not installed",
)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Return variables under which this checkout runs from byte code."""
    paths = [str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")]
    kept = {key: os.environ[key] for key in os.environ.keys() - {"PYTHONDONTWRITEBYTECODE"}}
    variables = kept | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    seconds(variables, *REFERENCE)
    return variables


def seconds(environment: dict[str, str], *arguments: str) -> float:
    """Return the processor time of a run of Python."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def takes_less(share: float, environment: dict[str, str], *arguments: str) -> bool:
    """Tell whether a command takes less than a share of `import torch`, the best of rounds."""
    seconds(environment, "-m", "ranspec", *arguments)
    ours = torch = math.inf
    for _ in range(ROUNDS):
        ours = min(ours, seconds(environment, "-m", "ranspec", *arguments))
        torch = min(torch, seconds(environment, *REFERENCE))
        if ours < share * torch:
            return True
    return False


def test_help_takes_a_fifth(environment: dict[str, str]) -> None:
    assert takes_less(1 / 5, environment, "--help")


def test_counting_attention_452_takes_a_third(environment: dict[str, str]) -> None:
    assert takes_less(1 / 3, environment, "count", "attention452_cifar")


def test_listing_every_network_with_its_size_takes_no_longer(environment: dict[str, str]) -> None:
    assert takes_less(1, environment, "list")


def test_building_attention_452_takes_no_longer(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "code")
    assert takes_less(
        1, environment, "build", "attention452_cifar", "--backend", "torch", "-o", folder
    )
