"""A run to look at: one HTML file that asks nothing of any other, and its plots."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

WRONGEST = 24
"""How many of the images that the network was most wrong about are shown."""
LARGEST_MATRIX = 25
"""Of more classes than these, only the pairs that are confused most are shown."""
POINTS = 800
"""A curve of more points is drawn through the means of neighbours."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 320, 64, 12, 34, 38
"""Of a plot, and of its margins, in pixels."""

_COLORS = ("#3b82d0", "#d9702b", "#3d9e5f", "#b64fa8", "#9a8a1c", "#d1495b", "#3aa6a6", "#7d7d7d")
_STYLE = """
.plot { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; color: #222; }
.plot text { fill: currentColor; }
.plot .grid { stroke: currentColor; stroke-opacity: 0.15; }
.plot polyline { fill: none; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { .plot { color: #ddd; } }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.15rem 0.6rem; text-align: right; }
th:first-child, td:first-child, .facts td { text-align: left; }
.facts td { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.images { display: flex; flex-wrap: wrap; gap: 0.8rem; }
figure { margin: 0; width: 7rem; font-size: 12px; overflow-wrap: anywhere; }
figure img { width: 7rem; image-rendering: pixelated; }
"""


@dataclass(frozen=True)
class Curve:
    """Values at numbers of steps; those that are not finite leave a gap."""

    label: str
    steps: Sequence[float]
    values: Sequence[float | None]


@dataclass(frozen=True)
class Predictions:
    """What a network says of a test set of N images, arrays [N] on the host.

    `predicted` are the classes with the highest logit, beside the true `labels`; `losses` are
    cross-entropies. `images` returns uint8 images [n, height, width, channels] for an array of n
    indices, and `classes` are their names, where there are any.
    """

    labels: NDArray[Any]
    predicted: NDArray[Any]
    losses: NDArray[Any]
    images: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    classes: Sequence[str] | None = None

    def name(self, label: int) -> str:
        """Return the name of a class."""
        return self.classes[label] if self.classes else str(label)

    def confusion(self) -> NDArray[np.int64]:
        """Return how many images of each class (rows) were taken for each (columns)."""
        labels, predicted = self.labels.astype(np.int64), self.predicted.astype(np.int64)
        seen = max(labels.max(initial=0), predicted.max(initial=0)) + 1
        classes = len(self.classes) if self.classes else int(seen)
        pairs = np.bincount(labels * classes + predicted, minlength=classes**2)
        return pairs.reshape(classes, classes)


def report(
    config: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    predictions: Predictions | None = None,
) -> str:
    """Return a run as a page: `config` and `records` are those of its folder."""
    facts = {name: config.get(name) for name in ("network", "framework", "device", "state", "step")}
    facts |= {name.replace("_", " "): value for name, value in config.get("results", {}).items()}
    parts = [table(_texts(facts)), *run_plots({"": records})]
    if predictions is not None:
        parts += ["<h2>Confused classes</h2>", _confusion(predictions)]
        if predictions.images is not None:
            parts += ["<h2>Most wrong about</h2>", _wrongest(predictions)]
    if config.get("card"):
        parts += ["<h2>Network</h2>", table(_texts(config["card"]))]
    parts += ["<h2>Settings</h2>", table(_texts(config.get("settings", {})))]
    identity = {name: config.get(name) for name in ("digest", "data", "command")}
    sessions = config.get("sessions", ())
    parts += ["<h2>Where and when</h2>", table(_texts(identity))]
    parts += [table(_texts(_flat(session))) for session in sessions]
    return page(f"{config.get('network')}: a run", "\n".join(parts))


def run_plots(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return plots of loss, error and learning rate, of one run or of several by name."""
    losses, errors, rates = [], [], []
    for name, records in runs.items():
        for kind in ("training", "validation", "test"):
            key = "loss" if kind == "training" else f"{kind}_loss"
            label = f"{name} {kind}".strip()
            losses += series(label, records, key)
            errors += series(label, records, f"{kind}_accuracy", lambda value: 100 * (1 - value))
        rates += series(name or "learning rate", records, "learning_rate")
    groups = (("Loss", losses), ("Error, %", errors), ("Learning rate", rates))
    return [plot(curves, title) for title, curves in groups if curves]


def series(
    label: str,
    records: Iterable[Mapping[str, Any]],
    key: str,
    change: Callable[[float], float] = float,
) -> list[Curve]:
    """Return the curve of a key of records, none if no record has it."""
    found = [(record["step"], record[key]) for record in records if key in record]
    if not found:
        return []
    values = [None if value is None else change(value) for _, value in found]
    return [Curve(label, [step for step, _ in found], values)]


def plot(curves: Sequence[Curve], title: str) -> str:
    """Return an SVG of curves over steps, with a logarithmic axis for more than two decades."""
    points = [list(_points(curve)) for curve in curves]
    known = [point for line in points for point in line if point[1] is not None]
    values = [value for _, value in known if value is not None] or [0.0, 1.0]
    logarithmic = min(values) > 0 and max(values) / min(values) > 100
    change: Callable[[float], float] = math.log10 if logarithmic else float
    ticks = _decades(values) if logarithmic else _ticks(min(values), max(values))
    last = max((step for step, _ in known), default=1.0) or 1.0
    steps = [tick for tick in _ticks(0, last) if tick <= last]
    low = min(change(min(values)), change(ticks[0]))
    high = max(change(max(values)), change(ticks[-1]))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def y(value: float) -> float:
        share = (change(value) - low) / (high - low or 1.0)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" '
        f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        f'<text x="{LEFT}" y="14" font-weight="bold">{_text(title)}</text>',
    ]
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    for tick in steps:
        parts.append(
            f'<text x="{x(tick):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{tick:,g}</text>'
        )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">steps</text>')
    at = float(WIDTH - RIGHT)
    for index in reversed(range(len(curves))):
        at -= 7.0 * len(curves[index].label) + 22
        parts.append(
            f'<line x1="{at:.0f}" x2="{at + 14:.0f}" y1="10" y2="10" stroke-width="3" '
            f'stroke="{_color(index)}"/><text x="{at + 18:.0f}" y="14">'
            f"{_text(curves[index].label)}</text>"
        )
    for index, line in enumerate(points):
        for run in _unbroken(line):
            drawn = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in run)
            parts.append(
                f'<polyline stroke="{_color(index)}" points="{drawn}"/>'
                if len(run) > 1
                else f'<circle fill="{_color(index)}" r="2.5" cx="{drawn.split(",")[0]}" '
                f'cy="{drawn.split(",")[1]}"/>'
            )
    return "\n".join([*parts, "</svg>"])


def stacked(plots: Sequence[str]) -> str:
    """Return one SVG of several plots, one below the other."""
    height = HEIGHT * len(plots)
    placed = (
        plot.replace("<svg ", f'<svg y="{HEIGHT * index}" ', 1) for index, plot in enumerate(plots)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">\n{"".join(placed)}\n</svg>\n'
    )


def page(title: str, body: str) -> str:
    """Return a whole HTML page, for light and for dark screens."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(title)}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{_text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return an HTML table of texts; one without a head lists facts."""
    lines = ["".join(f"<th>{_text(cell)}</th>" for cell in head)] if head else []
    lines += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    kind = "" if head else ' class="facts"'
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table{kind}>\n{body}\n</table></div>'


def _confusion(predictions: Predictions) -> str:
    matrix = predictions.confusion()
    if len(matrix) > LARGEST_MATRIX:
        wrong = matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:LARGEST_MATRIX]
        pairs = [divmod(int(flat), len(matrix)) for flat in order if wrong.flat[flat]]
        rows = [
            (predictions.name(true), predictions.name(taken), str(wrong[true, taken]))
            for true, taken in pairs
        ]
        return table(rows, ("class", "taken for", "images"))
    names = [predictions.name(label) for label in range(len(matrix))]
    lines = ["<th></th>" + "".join(f"<th>{_text(name)}</th>" for name in names)]
    for name, counts in zip(names, matrix, strict=True):
        shares = counts / max(1, counts.sum())
        cells = "".join(
            f'<td style="background: rgb(59 130 208 / {share:.2f})">{count}</td>'
            for count, share in zip(counts, shares, strict=True)
        )
        lines.append(f"<td>{_text(name)}</td>{cells}")
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        "<p>Rows: the class of an image; columns: what it was taken for.</p>"
        f'<div class="scroll"><table>\n{body}\n</table></div>'
    )


def _wrongest(predictions: Predictions) -> str:
    losses, taken = np.asarray(predictions.losses), predictions.predicted
    wrong = np.flatnonzero(taken != predictions.labels)
    chosen = wrong[np.argsort(-losses[wrong], kind="stable")[:WRONGEST]]
    if not len(chosen) or predictions.images is None:
        return "<p>Every image was taken for what it is.</p>"
    figures = [
        f'<figure><img alt="" src="{_data_uri(image)}"><figcaption>'
        f"{_text(predictions.name(int(predictions.labels[index])))}, taken for "
        f"{_text(predictions.name(int(taken[index])))} (loss {losses[index]:.2f}, image {index})"
        "</figcaption></figure>"
        for index, image in zip(chosen, predictions.images(chosen), strict=True)
    ]
    return f'<div class="images">{"".join(figures)}</div>'


def _data_uri(image: NDArray[Any]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(image[:, :, 0] if image.shape[2] == 1 else image)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _points(curve: Curve) -> Iterator[tuple[float, float | None]]:
    """Yield what is drawn of a curve; None where there is a gap."""
    found = [
        (step, value if value is not None and math.isfinite(value) else None)
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    size = -(-len(found) // POINTS)
    for start in range(0, len(found), size or 1):
        part = found[start : start + size]
        values = [value for _, value in part if value is not None]
        step = sum(step for step, _ in part) / len(part)
        yield step, sum(values) / len(values) if len(values) == len(part) else None


def _unbroken(
    points: Iterable[tuple[float, float | None]],
) -> Iterator[list[tuple[float, float]]]:
    line: list[tuple[float, float]] = []
    for step, value in points:
        if value is not None:
            line.append((step, value))
        elif line:
            yield line
            line = []
    if line:
        yield line


def _ticks(low: float, high: float) -> list[float]:
    """Return some five round numbers that enclose a range."""
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / 5))
    size = next(unit * factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= 6)
    first = math.floor(low / size)
    return [index * size for index in range(first, max(math.ceil(high / size), first + 1) + 1)]


def _decades(values: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(first, last + 1)]


def _color(index: int) -> str:
    return _COLORS[index % len(_COLORS)]


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _shown(value)) for name, value in values.items()]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, default=str)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    for value in values.values():
        if isinstance(value, Mapping):
            flat |= value
    return flat


def _text(text: object) -> str:
    return escape(str(text), quote=True)
