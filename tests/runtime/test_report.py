"""The report of a run: one file, whatever names and numbers are in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ranspec.runtime.report import (
    LARGEST_MATRIX,
    POINTS,
    WRONGEST,
    Curve,
    Predictions,
    page,
    plot,
    plots,
    report,
    run_curves,
)

HOSTILE = "<script>alert(1)</script>&\"'"
NAMESPACE = "{http://www.w3.org/2000/svg}"
CONFIG = {
    "network": HOSTILE,
    "framework": "torch 2.13.0",
    "device": "cpu",
    "state": "finished",
    "step": 20,
    "results": {"accuracy": 0.75, "loss": 0.5},
    "settings": {"seed": 3, "data_dir": HOSTILE},
    "sessions": [{"host": HOSTILE, "versions": {"numpy": "2.0"}}],
    "card": {
        "parameters": 1234567,
        "input": [32, 24, 3],
        "parts": [
            {"path": HOSTILE, "op": "Stem", "output": [8, 6, 5], "parameters": 7000, "macs": 8000}
        ],
    },
    "spec": f"name: {HOSTILE}\n",
}
RECORDS: list[dict[str, Any]] = [
    {"step": 10, "loss": 2.0, "learning_rate": 0.1, "images_per_second": None},
    {"step": 10, "test_loss": 2.5, "test_accuracy": 0.5},
    {"step": 20, "loss": None, "learning_rate": 0.01, "images_per_second": 7.0},
    {"step": 20, "test_loss": 0.5, "test_accuracy": 0.75},
]


def predictions(classes: int = 3, count: int = 60) -> Predictions:
    random = np.random.default_rng(0)
    return Predictions(
        random.integers(0, classes, count),
        random.integers(0, classes, count),
        random.normal(size=count) ** 2,
        images=lambda indices: np.full((len(indices), 4, 4, 3), 9, np.uint8),
        classes=[HOSTILE, *(f"class {label}" for label in range(1, classes))],
    )


class Reader(HTMLParser):
    """Collects what a page would load, and fails on tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [
            value or "" for name, value in attributes if name in ("src", "href", "srcset", "data")
        ]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("classes", [3, LARGEST_MATRIX + 5])
def test_a_page_loads_nothing_and_runs_nothing(classes: int) -> None:
    text = report(CONFIG, RECORDS, predictions(classes))
    read = Reader(text)
    assert all(source.startswith("data:image/png;base64,") for source in read.loaded)
    assert len(read.loaded) <= WRONGEST
    assert "script" not in read.tags
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)


def test_a_page_tells_what_was_run() -> None:
    text = report(CONFIG, RECORDS)
    network = ("1,234,567", "32x24x3", "8x6x5", "7,000", "8,000")
    for told in ("torch 2.13.0", "0.75", "&lt;script&gt;", "numpy", "parameters", *network):
        assert told in text
    Reader(text)


def test_pages_of_runs_that_have_told_nothing_are_whole() -> None:
    Reader(report({}, []))


def test_a_confusion_matrix_counts_what_was_taken_for_what() -> None:
    found = Predictions(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), np.zeros(4)).confusion()
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_the_image_that_the_network_was_most_wrong_about_comes_first() -> None:
    found = Predictions(
        labels=np.array([0, 1, 1, 1]),
        predicted=np.array([0, 0, 0, 1]),
        losses=np.array([0.0, 2.0, 5.0, 9.0]),
        images=lambda indices: np.zeros((len(indices), 2, 2, 1), np.uint8),
    )
    assert re.findall(r"image (\d)", report(CONFIG, [], found)) == ["2", "1"]


def polylines(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]  # type: ignore[misc]
        for line in ElementTree.fromstring(svg).iter(f"{NAMESPACE}polyline")
    ]


def test_curves_rise_where_their_values_do() -> None:
    (line,) = polylines(plot([Curve("a", [0, 50, 100], [1.0, 2.0, 4.0])], "Loss"))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert 2 * (y0 - y1) == pytest.approx(y1 - y2, abs=0.3)


def test_an_axis_of_more_than_two_decades_is_logarithmic() -> None:
    (line,) = polylines(plot([Curve("a", [0, 1, 2], [1e-4, 1e-2, 1.0])], "Loss"))
    assert line[0][1] - line[1][1] == pytest.approx(line[1][1] - line[2][1], abs=0.2)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_value_that_is_not_finite_leaves_a_gap(value: float | None) -> None:
    values = [1.0, 2.0, value, 4.0, 5.0]
    assert [len(line) for line in polylines(plot([Curve("a", range(5), values)], ""))] == [2, 2]


@pytest.mark.parametrize("values", [[], [None], [0.0], [3.0, 3.0], [1e-300, 1e300], [-5.0, 0.0]])
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    ElementTree.fromstring(plot([Curve(HOSTILE, range(len(values)), values)], HOSTILE))


def test_long_curves_are_drawn_through_means() -> None:
    count = 5 * POINTS
    (line,) = polylines(plot([Curve("a", range(count), [float(i % 2) for i in range(count)])], ""))
    assert len(line) <= POINTS


def test_runs_are_told_apart_by_colour_and_their_tests_by_dashes() -> None:
    curves = run_curves({"one": RECORDS, "other": RECORDS})
    looks = {curve.label: (curve.color, curve.dashed) for curve in curves["Loss"]}
    assert looks == {
        "one training": (0, False),
        "one test": (0, True),
        "other training": (1, False),
        "other test": (1, True),
    }
    assert len({curve.color for curve in run_curves({"": RECORDS})["Loss"]}) == 2


def test_plots_stand_below_each_other_with_room_for_long_legends() -> None:
    names = [f"a folder of a long name, number {number}" for number in range(9)]
    text = plots(run_curves(dict.fromkeys(names, RECORDS)))
    root = ElementTree.fromstring(text)
    tops, heights = [
        [int(item.get(name, "")) for item in root.findall(f"{NAMESPACE}svg")]
        for name in ("y", "height")
    ]
    assert tops == [sum(heights[:index]) for index in range(3)]
    assert sum(heights) == int(root.get("height", ""))
    labels = {item.text for item in root.iter(f"{NAMESPACE}text")}
    assert {f"{names[8]} test", "Error, %", "Learning rate"} <= labels
    Reader(page("all", text))
