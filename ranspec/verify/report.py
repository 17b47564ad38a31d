"""What a verification found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

REFERENCE = "numpy"

Outcome = Literal["passed", "failed", "cannot be told"]

NOISY = 0.1
"""What rounding may take of a tolerance before an error above it may be rounding alone."""
CLEAR = 100.0
"""From how many times the noise on an error is more than that."""

AFTER_STEPS = frozenset(
    f"{what}, all steps" for what in ("losses", "parameters", "statistics", "optimizer")
)
"""The quantities that depend on the learning rate."""


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
    noise: float = 0.0
    """The reference's own error when its state is changed by one part in 10^15 (float32: 10^7)."""

    @property
    def passed(self) -> bool:
        return self.max_relative_error <= self.tolerance

    @property
    def outcome(self) -> Outcome:
        """Passed or failed; not to be told where rounding may explain a missed tolerance."""
        if self.passed:
            return "passed"
        explained = self.max_relative_error <= CLEAR * self.noise
        return "cannot be told" if explained and self.noise > NOISY * self.tolerance else "failed"


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
    learning_rates: tuple[float, ...]
    """Of the steps, in turn."""
    backends: tuple[str, ...]
    checks: tuple[Check, ...]
    failures: tuple[Failure, ...] = ()
    partings: tuple[Parting, ...] = ()
    inferring: tuple[str, ...] = ()
    """The backends that only infer: their logits in evaluation are all that is compared."""
    first_step: int = 0
    """The recipe's step that the first one is."""
    branch_scale: float = 1.0
    """By how much the ends of residual branches were scaled in the state."""
    compilation: str = "full"
    """How the frameworks' steps were compiled."""

    def __repr__(self) -> str:
        compared = f"{len(self.checks)} checks of {', '.join(self.backends)} in {self.dtype}"
        return f"<Report of {self.network}: {self.outcome}, {compared}>"

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    @property
    def outcome(self) -> Outcome:
        """The worst of all checks; failed where a backend did not run or nothing was compared."""
        outcomes = {check.outcome for check in self.checks}
        if self.failures or not outcomes or "failed" in outcomes:
            return "failed"
        return "cannot be told" if "cannot be told" in outcomes else "passed"

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
                "noise": check.noise if check.noise < finite else None,
                "passed": check.passed,
                "outcome": check.outcome,
            }
            for check in self.checks
        ]
        return {
            "name": self.network,
            "dtype": self.dtype,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rates": list(self.learning_rates),
            "first_step": self.first_step,
            "branch_scale": self.branch_scale,
            "compilation": self.compilation,
            "backends": list(self.backends),
            "inference_only": list(self.inferring),
            "checks": checks,
            "parted_at": [
                {"pair": "/".join(item.pair), "direction": item.direction, "layer": item.layer}
                for item in self.partings
            ],
            "failures": [asdict(item) for item in self.failures],
            "passed": self.passed,
            "outcome": self.outcome,
        }
