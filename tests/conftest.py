"""The order of the tests, their time limits and their draws."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

from tests.machine import slowness

LONGEST = (
    "tests/specs/test_training_steps.py",
    "tests/verify/test_families.py",
    "tests/verify/test_parity.py",
    "tests/runtime/test_tensorflow_devices.py",
    "tests/codegen/test_instances.py",
    "tests/specs/test_third_party.py",
    "tests/verify/test_faults.py",
    "tests/backends/test_jax_devices.py",
    "tests/runtime/test_validation.py",
    "tests/runtime/test_device_batches.py",
    "tests/codegen/test_generated_code.py",
    "tests/backends/test_onnx.py",
    "tests/test_extension.py",
)
"""The test files that take longest, run first so that parallel workers end together."""

QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
"""How XLA is to compile, in half the time: most of what tests compile runs a few times."""

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give each test a time limit in proportion to what this machine needs, and hear Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # As shells have it of what ends in &.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        return  # A worker is told the limit.
    asked = config.getoption("timeout", None)
    limit = float(config.getini("timeout") or 0) if asked is None else asked
    config.option.timeout = limit * slowness()


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what training code caches apart from what a person has cached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid.partition("::")[0]))


def _rank(file: str) -> int:
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Draw alike in every run, whichever tests run before."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(0)
