"""Responses as a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

SUFFIXES = (".svg", ".png", ".pdf")
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Colours that colour-blind eyes tell apart (Okabe and Ito)."""
MARKERS = "os^D"
LONGEST = 48
"""Letters of a label."""


def response_plot(
    title: str, stages: Sequence[str], responses: Mapping[str, Mapping[str, float]], suffix: str
) -> bytes:
    """Draw the responses of networks, by name and stage, into a file of one of `SUFFIXES`.

    The same numbers give the same bytes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    positions = {stage: number for number, stage in enumerate(stages)}
    for number, (name, values) in enumerate(responses.items()):
        axes.plot(
            [positions[stage] for stage in values],
            list(values.values()),
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            label=_short(name),
        )
    axes.set_xticks(range(len(stages)), list(map(_short, stages)))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("mean absolute response")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    file = io.BytesIO()
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[suffix]
    with rc_context({"svg.hashsalt": "ranspec"}):
        figure.savefig(file, format=suffix[1:], dpi=150, metadata=undated)
    return file.getvalue()


def _short(label: str) -> str:
    """Return the end of a label, which is no formula to matplotlib."""
    kept = label if len(label) <= LONGEST else f"\N{HORIZONTAL ELLIPSIS}{label[-LONGEST:]}"
    return kept.replace("$", r"\$")
