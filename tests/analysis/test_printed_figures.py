"""Printed figures keep their digits."""

from __future__ import annotations

import pytest

from ranspec.analysis.figures import Figure, explained


@pytest.mark.parametrize(
    ("text", "value", "exponent"),
    [
        ("8.6M", 8.6e6, 5),
        ("10.4 G", 10.4e9, 8),
        ("11.0m", 11e6, 5),
        ("1.9e6", 1.9e6, 5),
        ("31,810,728", 31_810_728, 0),
        ("82_002", 82_002, 0),
        ("850k", 850e3, 3),
        ("7.8B", 7.8e9, 8),
    ],
)
def test_figures_are_read_with_their_last_digit(text: str, value: float, exponent: int) -> None:
    assert Figure.parse(text) == Figure(value, exponent)


@pytest.mark.parametrize("text", ["", "M", "8.6Z", "-1M", "1.2.3", "0", "1e99", "8,6 Mb", "nan"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        Figure.parse(text)


@pytest.mark.parametrize(
    ("value", "exponent", "text"),
    [
        (31.9e6, 5, "31.9 M"),
        (10.4e9, 8, "10.4 G"),
        (0.85e6, 4, "850 k"),
        (82002.0, 0, "82,002"),
        (2639720.0, 0, "2,639,720"),
    ],
)
def test_numbers_show_how_many_digits_were_printed(value: float, exponent: int, text: str) -> None:
    figure = Figure.of(value)
    assert (figure.exponent, str(figure)) == (exponent, text)


def test_a_figure_agrees_with_what_rounds_to_it() -> None:
    figure = Figure.parse("8.6M")
    assert figure.agrees(8_550_001)
    assert figure.agrees(8_649_999)
    assert not figure.agrees(8_650_001)
    assert not Figure.parse("82,002").agrees(82_003)


def test_explanations_name_the_way_to_count_or_to_round() -> None:
    assert explained(Figure.parse("82,002"), 77_890, 4_112) == "with batch-norm statistics 82,002"
    assert explained(Figure.parse("6.2G"), 6_270_836_736) == "6,270,836,736 cut off, not rounded"
    assert explained(Figure.parse("5.1M"), 5_084_794) == "5,084,794 rounds to it"
    assert explained(Figure.parse("8.6M"), 8_745_850, 133_312) is None
