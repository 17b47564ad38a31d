"""Figures as papers print them: rounded to a few digits."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXACT_DIGITS = 5
"""A figure of as many significant digits is no rounded one."""

_UNITS = {"": 0, "K": 3, "M": 6, "G": 9, "B": 9, "T": 12}
_FORM = re.compile(
    r"(\d{1,3}(?:,\d{3})+|\d[\d_]*)(?:\.(\d+))?(?:e\+?(\d{1,2}))?\s*([kmgbt]?)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A printed number and the power of ten of its last digit."""

    value: float
    exponent: int

    @classmethod
    def parse(cls, text: str) -> Figure:
        """Read `8.6M`, `10.4 G`, `1.9e6` or `31,810,728`; raise ValueError for other text."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            point = text.strip().replace(",", ".", 1)
            near = f"; did you mean {point}?" if _FORM.fullmatch(point) else ""
            raise ValueError(
                f"found {text!r}, expected a number such as 8.6M, 1.9e6 or 31,810,728{near}"
            )
        whole, decimals, power, unit = found.groups(default="")
        digits = re.sub("[,_]", "", whole) + decimals
        exponent = int(power or 0) + _UNITS[unit.upper()] - len(decimals)
        value = float(f"{digits}e{exponent}")
        if not 0 < value < 1e18:
            raise ValueError(f"found {text!r}, expected a number above 0 and below 1e18")
        return cls(value, exponent)

    @classmethod
    def of(cls, value: float) -> Figure:
        """Take a number's significant digits for those printed; zeros at its end are lost."""
        mantissa, _, power = f"{value:.15e}".partition("e")
        digits = mantissa.replace(".", "").rstrip("0")
        return cls(value, 0 if len(digits) >= EXACT_DIGITS else int(power) - len(digits) + 1)

    @property
    def step(self) -> float:
        """One in the last printed digit."""
        return 10.0**self.exponent

    def agrees(self, value: float) -> bool:
        """Tell whether a value, rounded to the printed digits, is the printed one."""
        return abs(value - self.value) <= self.step / 2

    def is_cut_from(self, value: float) -> bool:
        """Tell whether a value, cut off after the printed digits, is the printed one."""
        return 0 <= value - self.value < self.step

    def __str__(self) -> str:
        if self.exponent == 0:
            return f"{self.value:,.0f}"
        for power, unit in ((9, "G"), (6, "M"), (3, "k")):
            if self.value >= 10**power and self.exponent >= power - 3:
                return f"{self.value / 10**power:.{max(power - self.exponent, 0)}f} {unit}"
        return f"{self.value:,.{max(-self.exponent, 0)}f}"


def relative_difference(value: float, printed: float) -> float:
    """Return by how much a value differs from a printed one."""
    return (value - printed) / printed


def explained(figure: Figure, ours: int, statistics: int = 0) -> str | None:
    """Say which way to count or to round gives a printed figure, if one does."""
    everything = ours + statistics
    with_statistics = f"with batch-norm statistics {everything:,}"
    if figure.agrees(ours):
        return f"{ours:,} exactly" if figure.exponent == 0 else f"{ours:,} rounds to it"
    if statistics and figure.agrees(everything):
        return f"{with_statistics}" + ("" if figure.exponent == 0 else ", which rounds to it")
    if figure.is_cut_from(ours):
        return f"{ours:,} cut off, not rounded"
    if statistics and figure.is_cut_from(everything):
        return f"{with_statistics}, cut off, not rounded"
    return None
