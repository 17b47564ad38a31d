import json
import math
from pathlib import Path

import pytest

from ranspec.runtime.metrics import (
    MetricsLog,
    accuracies,
    prefixed,
    read_records,
)


def test_a_record_is_a_line_of_json(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run" / "metrics.jsonl")
    log.write(step=1, loss=0.5)
    log.write(step=2, loss=0.25)
    records = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert records == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_resumed_run_drops_records_of_steps_it_takes_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    for step in (1, 2, 3):
        log.write(step=step)
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    MetricsLog(path, start=2).write(step=3, loss=1.0)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_json_has_no_word_for_is_null(tmp_path: Path, value: float | None) -> None:
    log = MetricsLog(tmp_path / "m")
    log.write(step=1, loss=value)
    assert json.loads(log.path.read_text(), parse_constant=pytest.fail) == {"step": 1, "loss": None}
    assert log.records() == [{"step": 1, "loss": None}]


def test_a_run_that_goes_on_elsewhere_takes_its_records_along(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "there")
    for step in (1, 2, 3):
        log.write(step=step)
    here = MetricsLog(tmp_path / "here", start=2, origin=tmp_path / "there")
    assert [record["step"] for record in here.records()] == [1, 2]
    assert [record["step"] for record in log.records()] == [1, 2, 3]


def test_a_line_that_a_killed_process_left_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_records(tmp_path / "m") == [{"step": 1}]


def test_a_log_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsLog(tmp_path / "m")
    log.write(step=1)

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        MetricsLog(tmp_path / "m", start=0)
    assert log.records() == [{"step": 1}]


def test_a_fresh_run_starts_a_fresh_log(tmp_path: Path) -> None:
    MetricsLog(tmp_path / "m").write(step=1)
    assert MetricsLog(tmp_path / "m").path.read_text() == ""


def test_results_are_written_with_the_dataset_and_as_percentages() -> None:
    results = {"accuracy": 0.5, "top5_accuracy": 0.75}
    assert prefixed("test", results) == {"test_accuracy": 0.5, "test_top5_accuracy": 0.75}
    assert accuracies(results) == "50.00% (top 5: 75.00%)"
    assert accuracies({"accuracy": 0.5}) == "50.00%"
