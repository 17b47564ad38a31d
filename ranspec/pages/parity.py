"""What the verification of the shipped specs found, as far as it comes with ranspec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ranspec.spec import LoadedSpec, load_spec, packaged_specs

TITLES = {
    "logits": "Logits, in training and evaluation",
    "gradients": "Loss and gradients",
    "statistics": "Batch-norm statistics after a step",
    "steps": "Loss, weights, statistics and optimiser, every step",
    "start": "Initial weights and learning rates",
}


@dataclass(frozen=True)
class Check:
    """The largest error of some quantities, with its tolerance; None for one that is not finite.

    `noise` is how far the reference parts from itself when its state is changed by 1e-15.
    """

    title: str
    error: float | None
    tolerance: float
    noise: float | None


@dataclass(frozen=True)
class Parity:
    """How the code of all backends compared with the NumPy reference and with one another."""

    checks: tuple[Check, ...]
    outcomes: Mapping[str, str]
    """By backend."""
    dtype: str
    steps: int
    batch_size: int
    input: str
    """Height and width of the images, which are smaller than the network's own."""


def parity(loaded: LoadedSpec) -> Parity | None:
    """Return what is known of a spec; None for one that is not verified, or not as it is here."""
    name = loaded.source.name
    record = _records().get(name)
    if record is None or loaded.source.overrides:
        return None
    shipped = packaged_specs() / f"{name}.yaml"
    if not shipped.is_file() or load_spec(shipped).digest != loaded.digest:
        return None
    return Parity(
        tuple(
            Check(TITLES.get(key, key), group["error"], group["tolerance"], group["noise"])
            for key, group in record["groups"].items()
        ),
        record["outcomes"],
        record["dtype"],
        record["steps"],
        record["batch_size"],
        "x".join(item.partition("=")[2] for item in record["set"]),
    )


@cache
def _records() -> dict[str, Any]:
    package = Path(__file__).resolve().parents[1]
    installed = package / "verification.json"
    file = installed if installed.is_file() else package.parent / "docs" / "verification.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
