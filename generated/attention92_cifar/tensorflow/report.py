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
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 290, 64, 28, 28, 44
"""Of a plot without its legend, and of its margins, in pixels."""
LETTER, ROW = 6.5, 16
"""Of a legend, in pixels."""

_COLORS = ("#3b82d0", "#d9702b", "#3d9e5f", "#b64fa8", "#9a8a1c", "#d1495b", "#3aa6a6", "#7d7d7d")
_STYLE = """
.plot { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; color: #222; }
.plot text { fill: currentColor; }
.plot .grid { stroke: currentColor; stroke-opacity: 0.15; }
.plot polyline { fill: none; stroke-width: 1.5; }
.plot line:not(.grid) { stroke-width: 3; }
@media (prefers-color-scheme: dark) { .plot { color: #ddd; } }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.15rem 0.6rem; text-align: right; }
th:first-child, td:first-child, .facts td { text-align: left; }
.facts td { overflow-wrap: anywhere; }
.scroll, pre { overflow-x: auto; }
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
    color: int = 0
    dashed: bool = False


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

    @staticmethod
    def of(dataset: Any, logarithms: NDArray[Any]) -> Predictions:
        """Return what the logarithms of probabilities [N, classes] say of a dataset."""
        labels = dataset.labels
        losses = -np.take_along_axis(logarithms, labels[:, None], axis=1)[:, 0]
        predicted = logarithms.argmax(axis=1)
        return Predictions(labels, predicted, losses, dataset.read, dataset.classes)

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
    parts = [table(_texts(facts)), plots(run_curves({"": records}))]
    if predictions is not None:
        parts += ["<h2>Confused classes</h2>", _confusion(predictions)]
        if predictions.images is not None:
            parts += ["<h2>Most wrong about</h2>", _wrongest(predictions)]
    if config.get("card"):
        parts += ["<h2>Network</h2>", _card(config["card"])]
    if config.get("spec"):
        spec = f"<pre>{_text(config['spec'])}</pre>"
        parts.append(f"<details><summary>Specification</summary>{spec}</details>")
    parts += ["<h2>Settings</h2>", table(_texts(config.get("settings", {})))]
    identity = {name: config.get(name) for name in ("digest", "data", "command")}
    sessions = config.get("sessions", ())
    parts += ["<h2>Where and when</h2>", table(_texts(identity))]
    parts += [table(_texts(_flat(session))) for session in sessions]
    return page(f"{config.get('network')}: a run", "\n".join(parts))


def run_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Curve]]:
    """Return the curves of loss, error and learning rate, of one run or of several by name.

    Each of several runs has one colour, and dashes where it is tested; each curve of one run has
    its own.
    """
    curves: dict[str, list[Curve]] = {"Loss": [], "Error, %": [], "Learning rate": []}
    for number, (name, records) in enumerate(runs.items()):
        for index, kind in enumerate(("training", "validation", "test")):
            alone = len(runs) == 1
            look = {"color": index if alone else number, "dashed": index > 0 and not alone}
            label = kind if alone else f"{name} {kind}"
            key = "loss" if kind == "training" else f"{kind}_loss"
            curves["Loss"] += _series(records, key, label, **look)
            errors = [
                {"step": record["step"], kind: _percent(record[f"{kind}_accuracy"])}
                for record in records
                if f"{kind}_accuracy" in record
            ]
            curves["Error, %"] += _series(errors, kind, label, **look)
        label = "learning rate" if len(runs) == 1 else name
        curves["Learning rate"] += _series(records, "learning_rate", label, color=number)
    return {title: group for title, group in curves.items() if group}


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * (1 - accuracy)


def _series(records: Iterable[Mapping[str, Any]], key: str, label: str, **look: Any) -> list[Curve]:
    """Return the curve of a key of records, none if no record has it."""
    found = [record for record in records if key in record]
    steps, values = [record["step"] for record in found], [record[key] for record in found]
    return [Curve(label, steps, values, **look)] if found else []


def plots(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Return one SVG of plots by title, one below the other."""
    heights = [_height(group) for group in curves.values()]
    placed = (
        plot(group, title, y=sum(heights[:index]))
        for index, (title, group) in enumerate(curves.items())
    )
    return _svg(WIDTH, sum(heights), f"<style>{_STYLE}</style>", *placed) + "\n"


def plot(curves: Sequence[Curve], title: str, y: int = 0) -> str:
    """Return an SVG of curves over steps, with a logarithmic axis for more than two decades.

    Its colours are those of `plots`, which it may be a part of, at a height `y`.
    """
    legend, top = _legend(curves)
    bottom = _height(curves) - BOTTOM
    points = [list(_points(curve)) for curve in curves]
    known = [point for line in points for point in line if point[1] is not None]
    values = [value for _, value in known if value is not None] or [0.0, 1.0]
    logarithmic = min(values) > 0 and max(values) / min(values) > 100
    change: Callable[[float], float] = math.log10 if logarithmic else float
    ticks = _decades(values) if logarithmic else _ticks(min(values), max(values))
    last = max((step for step, _ in known), default=1.0) or 1.0
    low, high = change(min(*values, *ticks)), change(max(*values, *ticks))

    def across(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / last

    def down(value: float) -> float:
        return bottom - (bottom - top) * (change(value) - low) / (high - low or 1.0)

    parts = [f'<text x="{LEFT}" y="16" font-weight="bold">{_text(title)}</text>', *legend]
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(tick):.1f}" '
            f'y2="{down(tick):.1f}"/><text x="{LEFT - 6}" y="{down(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    for tick in (tick for tick in _ticks(0, last) if tick <= last):
        parts.append(
            f'<text x="{across(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:,g}</text>'
        )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{bottom + 32}" text-anchor="end">steps</text>')
    for curve, line in zip(curves, points, strict=True):
        for run in _unbroken(line):
            drawn = [(f"{across(step):.1f}", f"{down(value):.1f}") for step, value in run]
            joined = " ".join(f"{x},{y}" for x, y in drawn)
            parts.append(
                f'<polyline {_stroke(curve)} points="{joined}"/>'
                if len(drawn) > 1
                else f'<circle fill="{_color(curve)}" r="2.5" cx="{drawn[0][0]}" '
                f'cy="{drawn[0][1]}"/>'
            )
    return _svg(WIDTH, _height(curves), *parts, y=y)


def _legend(curves: Sequence[Curve]) -> tuple[list[str], int]:
    """Return the names of curves, in as many rows as they need, and where the plot begins."""
    parts, x, row = [], float(LEFT), 0
    for curve in curves:
        width = 34 + LETTER * len(curve.label)
        if x > LEFT and x + width > WIDTH:
            x, row = float(LEFT), row + 1
        y = 34 + ROW * row
        parts.append(
            f'<line x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y - 4}" y2="{y - 4}" {_stroke(curve)}/>'
            f'<text x="{x + 22:.0f}" y="{y}">{_text(curve.label)}</text>'
        )
        x += width
    return parts, TOP + ROW * (row + 1)


def _height(curves: Sequence[Curve]) -> int:
    return HEIGHT + _legend(curves)[1]


def _svg(width: int, height: int, *parts: str, y: int = 0) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" y="{y}" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">\n' + "\n".join([*parts, "</svg>"])
    )


def _stroke(curve: Curve) -> str:
    return f'stroke="{_color(curve)}"' + (' stroke-dasharray="5 3"' if curve.dashed else "")


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


def _card(card: Mapping[str, Any]) -> str:
    """Return the facts of a network, and its parts with what each of them takes."""
    facts = {name.replace("_", " "): value for name, value in card.items() if name != "parts"}
    counted = ("parameters", "macs")
    rows = [
        (part["path"], part["op"], _sizes(part["output"]), *(f"{part[key]:,}" for key in counted))
        for part in card.get("parts", ())
    ]
    shown = {name: _sizes(value) if name == "input" else value for name, value in facts.items()}
    head = ("part", "blocks", "output", "parameters", "multiply-adds")
    return table(_texts({name: _thousands(value) for name, value in shown.items()})) + (
        table(rows, head) if rows else ""
    )


def _sizes(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _thousands(value: Any) -> Any:
    return f"{value:,}" if isinstance(value, int) else value


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


def _color(curve: Curve) -> str:
    return _COLORS[curve.color % len(_COLORS)]


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
