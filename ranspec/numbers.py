"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def integer(value: int) -> str:
    """Write an exact number: 1,030,394."""
    return f"{value:,}"


def scaled(value: float) -> str:
    """Write a number in thousands, millions or billions: 6.271 G."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.4g} {letter}"
    return f"{value:g}"


def megabytes(value: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{value / 2**20:.1f} MiB"


def percent(ratio: float) -> str:
    """Write a relative difference: +1.3 %."""
    return f"{100 * ratio:+.1f} %"


def shape(sizes: Sequence[int]) -> str:
    """Write a shape: 32x32x3."""
    return "x".join(map(str, sizes))
