"""The plots of a report, as SVG to stand in a page: the same bytes for the same figures."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import ceil, nan
from statistics import fmean
from typing import TYPE_CHECKING

from ranspec.studies.jobs import WHOLE
from ranspec.studies.model import MEASURES
from ranspec.studies.report import Finding, Report, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 800
"""A curve of more points is drawn through the means of neighbours."""
WIDTH, HEIGHT, ROW = 9.0, 3.6, 0.28
"""Of a plot, and of one line of it or of its legend, in inches."""
DASHES = ("-", "--", ":", "-.")

Points = Sequence[tuple[float, float]]
Draw = Callable[["Axes"], None]


def plots(report: Report) -> dict[str, str]:
    """Return the plots of a report by title; none of what has no figures yet."""
    drawn: dict[str, str] = {}

    def add(title: str, ordinate: str, draw: Draw | None, height: float = HEIGHT) -> None:
        if draw is not None:
            scale = "" if report.scale == WHOLE else f" (at scale {report.scale})"
            drawn[f"{title}{scale}"] = _svg(f"{title}{scale}", ordinate, draw, height)

    if report.responses:
        add("Mean absolute response of each stage", "", _responses(report.responses))
    for measure in report.study.study.measures:
        found = [finding for finding in report.findings() if finding.measure == measure]
        title = f"Printed and ours: {MEASURES[measure]}"
        add(title, "", _comparison(found), 1.2 + ROW * len(found))
    add("Error during training", "error, %", _curves(report, _errors))
    add("Loss during training", "loss", _curves(report, _losses))
    return drawn


def _errors(run: Run) -> Points:
    """Return the errors of a run's evaluations, of held-out images where there are any."""
    for name in ("validation_accuracy", "test_accuracy"):
        if points := _points(run, name):
            return [(step, 100 * (1 - share)) for step, share in points]
    return []


def _losses(run: Run) -> Points:
    return _points(run, "loss")


def _points(run: Run, name: str) -> Points:
    found = [
        (record["step"], nan if record[name] is None else record[name])
        for record in run.records
        if name in record
    ]
    size = ceil(len(found) / POINTS)
    groups = [found[start : start + size] for start in range(0, len(found), size or 1)]
    return [tuple(map(fmean, zip(*group, strict=True))) for group in groups]  # type: ignore[misc]


def _curves(report: Report, points: Callable[[Run], Points]) -> Draw | None:
    lines = [(run, found) for run in report.runs if (found := points(run))]
    if not lines:
        return None
    names = [entry.name for entry in report.study.study.entries]

    def draw(axes: Axes) -> None:
        labelled: set[tuple[str, str]] = set()
        for run, found in lines:
            job, index = run.job, names.index(run.job.row)
            label = report.label(job)
            axes.plot(
                *zip(*found, strict=True),
                color=_color(index),
                linestyle=DASHES[(report.backends.index(job.backend) + index // 10) % len(DASHES)],
                linewidth=1,
                label=None if (job.row, job.backend) in labelled else label,
            )
            labelled.add((job.row, job.backend))
        axes.set_xlabel("steps")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)

    return draw


def _comparison(findings: Sequence[Finding]) -> Draw | None:
    """Draw what is printed beside the mean and deviation, where there is a mean to stand beside."""
    if not any(finding.mean is not None for finding in findings):
        return None

    def draw(axes: Axes) -> None:
        lines = range(len(findings))
        for line, finding in zip(lines, findings, strict=True):
            if finding.difference is not None and finding.printed is not None:
                axes.plot(finding.printed.figure, line, "x", color=_color(1), label="printed")
            if finding.mean is not None:
                deviation = finding.deviation or 0.0
                axes.errorbar(
                    finding.mean, line, xerr=deviation, fmt="o", color=_color(0), label="ours"
                )
        several = len({finding.backend for finding in findings}) > 1
        names = [
            f"{finding.entry.name}, {finding.backend}" if several else finding.entry.name
            for finding in findings
        ]
        axes.set_yticks(lines, names)
        axes.set_ylim(len(findings) - 0.5, -0.5)
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(), unique.keys(), loc="upper left", bbox_to_anchor=(1.01, 1),
            frameon=False, fontsize=8,
        )  # fmt: skip

    return draw


def _responses(responses: Mapping[str, Mapping[str, float]]) -> Draw:
    def draw(axes: Axes) -> None:
        for index, (name, stages) in enumerate(responses.items()):
            axes.plot(list(stages), list(stages.values()), "o-", color=_color(index), label=name)
        axes.set_xlabel("output of")
        axes.legend(frameon=False, fontsize=8)

    return draw


def _color(index: int) -> str:
    return f"C{index % 10}"


def _svg(title: str, ordinate: str, draw: Draw, height: float) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    text = io.StringIO()
    with (
        warnings.catch_warnings(),
        rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "text.parse_math": False}),
    ):
        # A page's letters are the browser's: what matplotlib lacks, it only cannot measure.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_subplot(facecolor="none")
        draw(axes)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel(ordinate)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", metadata=metadata, bbox_inches="tight", facecolor="none")
    return _embedded(text.getvalue())


def _embedded(svg: str) -> str:
    """Return an SVG as a part of a page, in the page's own colour and without unused names."""
    svg = svg[svg.index("<svg") :]
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([\w-]+)"', lambda found: found[0] if found[1] in used else "", svg)
    return svg.replace("#000000", "currentColor")
