"""What a verification found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

REFERENCE = "numpy"


@dataclass(frozen=True)
class Check:
    """The largest difference in one quantity between two computations."""

    quantity: str
    pair: tuple[str, str]
    max_relative_error: float
    """Infinite where one of the two is not a number, or lacks a tensor."""
    tolerance: float
    worst: str
    """The tensor that differs most; empty for a quantity of one tensor."""

    @property
    def passed(self) -> bool:
        return self.max_relative_error <= self.tolerance


@dataclass(frozen=True)
class Parting:
    """The first layer whose results differ between two computations."""

    pair: tuple[str, str]
    direction: Literal["forward", "backward"]
    layer: str
    max_relative_error: float


@dataclass(frozen=True)
class Failure:
    """A backend that did not run; `message` is the end of what it said."""

    backend: str
    message: str


@dataclass(frozen=True)
class Report:
    """All checks of a network, and where its computations part if any check fails."""

    network: str
    dtype: str
    steps: int
    batch_size: int
    learning_rate: float
    """Of the steps before it drops."""
    backends: tuple[str, ...]
    checks: tuple[Check, ...]
    failures: tuple[Failure, ...] = ()
    partings: tuple[Parting, ...] = ()
    inferring: tuple[str, ...] = ()
    """The backends that only infer: their logits in evaluation are all that is compared."""

    def __repr__(self) -> str:
        outcome = "passed" if self.passed else "failed"
        compared = f"{len(self.checks)} checks of {', '.join(self.backends)} in {self.dtype}"
        return f"<Report of {self.network}: {outcome}, {compared}>"

    @property
    def passed(self) -> bool:
        return not self.failures and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; an infinite error is null."""
        finite = float("inf")
        checks = [
            asdict(check)
            | {
                "pair": "/".join(check.pair),
                "max_relative_error": (
                    check.max_relative_error if check.max_relative_error < finite else None
                ),
                "passed": check.passed,
            }
            for check in self.checks
        ]
        return {
            "name": self.network,
            "dtype": self.dtype,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "backends": list(self.backends),
            "inference_only": list(self.inferring),
            "checks": checks,
            "parted_at": [
                {"pair": "/".join(item.pair), "direction": item.direction, "layer": item.layer}
                for item in self.partings
            ],
            "failures": [asdict(item) for item in self.failures],
            "passed": self.passed,
        }
