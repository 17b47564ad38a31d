"""A report says what was measured, what was not and why, and compares only what is comparable."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from ranspec.runtime.folder import CONFIG, METRICS
from ranspec.studies.jobs import Job, jobs
from ranspec.studies.loader import LoadedStudy, load_study
from ranspec.studies.plots import plots
from ranspec.studies.report import Report, ReportError, read_report
from ranspec.studies.results import (
    RESULT,
    RUN,
    STUDY,
    Result,
    found_jobs,
    job_folder,
    read_result,
    write_job,
    write_result,
)
from ranspec.studies.writing import as_csv, as_html, as_markdown
from tests.browser import browser, needs_browser
from tests.studies.conftest import STUDY as TEXT
from tests.studies.conftest import Write

WHOLE = Fraction(1)
SAID = {"spec": "5" * 64, "host": "<here>", "torch": "2.0"}


def finished(accuracy: float, top5: float | None = 0.99) -> Result:
    measures = {"loss": 0.1, "accuracy": accuracy}
    return Result(
        "finished", measures | ({} if top5 is None else {"top5_accuracy": top5}), "", SAID
    )


def store(root: Path, loaded: LoadedStudy, results: Mapping[tuple[str, int], Result | None],
          *, scale: Fraction = WHOLE, backend: str = "torch") -> list[Job]:  # fmt: skip
    """Write results by column and seed; None for a job that has none."""
    found = []
    for job in jobs(loaded, scale=scale, seeds=sorted({s for _, s in results}), backends=[backend]):
        if (key := (job.row.rpartition(" ")[2], job.seed)) in results:
            write_job(job_folder(root, job), job)
            if result := results[key]:
                write_result(job_folder(root, job), result)
            found.append(job)
    return found


@pytest.fixture
def loaded(write: Write) -> LoadedStudy:
    return load_study(write())


def lines(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(report))))


def test_mean_deviation_and_difference(loaded: LoadedStudy, tmp_path: Path) -> None:
    accuracies = {("ARL", 0): 0.94, ("ARL", 1): 0.96, ("NAL", 0): 0.93, ("NAL", 1): 0.93}
    store(tmp_path, loaded, {key: finished(value) for key, value in accuracies.items()})
    report = read_report(loaded, tmp_path)
    first, top5, second, _ = lines(report)
    assert (first["mean"], first["printed"], first["difference"]) == ("5", "5.0", "0")
    assert float(first["deviation"]) == pytest.approx(2**0.5, rel=1e-5)
    assert (first["within_deviation"], second["within_deviation"]) == ("yes", "no")
    assert (second["mean"], second["difference"]) == ("7", "1")
    assert (top5["mean"], top5["difference"], top5["not_comparable"]) == (
        "1",
        "",
        "measured otherwise",
    )
    table = as_markdown(report).split("\n## ")[1]
    assert "| small | 5.00 | 5.00 ± 1.41 |" in table
    assert "1.00\\* | 1.00 ± 0.00 |" in table


def test_one_seed_has_no_deviation(loaded: LoadedStudy, tmp_path: Path) -> None:
    store(tmp_path, loaded, {("ARL", 0): finished(0.94), ("NAL", 0): finished(0.93, None)})
    first, _, _, top5 = lines(read_report(loaded, tmp_path))
    assert (first["mean"], first["deviation"], first["within_deviation"]) == ("6", "", "")
    assert (top5["mean"], top5["state"]) == ("", "1 of 1 finished")
    assert "not measured" in as_markdown(read_report(loaded, tmp_path))


def test_what_has_no_result_says_why(loaded: LoadedStudy, tmp_path: Path) -> None:
    diverged = Result("diverged", {}, "loss nan at step 3")
    failed = Result("failed", {}, "no <images> | *here*")
    found = {("ARL", 0): finished(0.95), ("ARL", 1): diverged, ("ARL", 2): failed}
    unknown = {("ARL", 3): None, ("ARL", 4): None}
    begun = store(tmp_path, loaded, found | unknown)[-1]
    (job_folder(tmp_path, begun) / RUN).mkdir()
    (job_folder(tmp_path, begun) / RUN / CONFIG).write_text("{}")
    report = read_report(loaded, tmp_path)
    (first, *_, last) = lines(report)
    assert first["state"] == (
        "1 of 5 finished, 1 not run yet, 1 begun, not at its end, 1 diverged, 1 failed"
    )
    assert (last["mean"], last["state"]) == ("", "0 of 5 finished, 5 not run yet")
    text = as_markdown(report)
    assert "| small, ARL | torch | 1 | diverged: loss nan at step 3 |" in text
    assert "| small, ARL | torch | 2 | failed: no \\<images> \\| \\*here\\* |" in text
    assert "5.00 (1 of 5)" in text
    assert "| small, NAL | torch | 4 | not run yet |" in text


def test_a_shortened_recipe_is_said_and_not_compared(loaded: LoadedStudy, tmp_path: Path) -> None:
    scale = Fraction(1, 50)
    store(tmp_path, loaded, {("ARL", 0): finished(0.5), ("ARL", 1): finished(0.6)}, scale=scale)
    record(tmp_path, loaded, scale)
    report = read_report(loaded, tmp_path)
    assert report.title == "Table 9: Two networks (at scale 1/50)"
    (first, *_) = lines(report)
    assert (first["mean"], first["printed"]) == ("45", "5.0")
    assert (first["difference"], first["within_deviation"], first["scale"]) == ("", "", "1/50")
    assert as_markdown(report).startswith("# Table 9: Two networks (at scale 1/50)\n")
    drawn = plots(report)
    assert drawn
    assert all(title.endswith("(at scale 1/50)") and title in svg for title, svg in drawn.items())
    assert not any("printed</text>" in svg for svg in drawn.values())


def record(root: Path, loaded: LoadedStudy, scale: Fraction = WHOLE, **changes: Any) -> None:
    """Write metrics for all jobs that are there."""
    for index, job in enumerate(found_jobs(root)):
        folder = job_folder(root, job) / RUN
        folder.mkdir(exist_ok=True)
        records = [
            {"step": step, "loss": 2 / step + index} | ({"test_accuracy": 0.5} if step % 2 else {})
            for step in range(1, 2000)
        ]
        text = "".join(json.dumps(line) + "\n" for line in [*records, {"step": 2000, "loss": None}])
        (folder / METRICS).write_text(text)


def test_the_page_asks_nothing_of_any_other_file(loaded: LoadedStudy, tmp_path: Path) -> None:
    store(tmp_path, loaded, {("ARL", 0): finished(0.9), ("NAL", 0): Result("failed", {}, "<b>")})
    record(tmp_path, loaded)
    report = read_report(loaded, tmp_path)
    page = as_html(report, plots(report))
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == page.count("</svg>") == 4
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert "&lt;here&gt;" in page
    assert not re.search(r"(src|href)=\"(?!#)|url\((?!#)|@import|<script", page)
    assert not re.search(r"20\d\d-\d\d-\d\d", page)
    assert page.count("<table>") == 4


@needs_browser
def test_the_page_is_read_in_the_dark_and_on_a_phone(loaded: LoadedStudy, tmp_path: Path) -> None:
    store(tmp_path, loaded, {("ARL", 0): finished(0.9), ("NAL", 0): finished(0.8)})
    record(tmp_path, loaded)
    report = read_report(loaded, tmp_path)
    page = tmp_path / "report.html"
    page.write_text(as_html(report, plots(report)), encoding="utf-8")
    with browser(tmp_path) as window:
        window.prefer("dark")
        window.resize(400, 800)
        window.open(page)
        assert window.value("document.documentElement.scrollWidth") <= 400
        colours = window.value(
            "[...document.querySelectorAll('h1, td, svg text')].map(each =>"
            " getComputedStyle(each).getPropertyValue(each.closest('svg') ? 'fill' : 'color'))"
        )
        assert len(colours) > 20
        assert set(colours) == {colours[0]} != {"rgb(0, 0, 0)"}
        assert "Table 9: Two networks" in window.text()
        assert window.complaints() == []
        assert window.requests() == [page.resolve().as_uri()]


def test_any_letters_are_drawn_and_none_is_markup(write: Write, tmp_path: Path) -> None:
    text = TEXT.replace("Two networks", "\u7f51\u7edc $x^2$ & <b>")
    loaded = load_study(write(text.replace("row: small", "row: '$\\frac <i>|'")))
    store(tmp_path, loaded, {("ARL", 0): finished(0.9), ("NAL", 0): finished(0.8)})
    report = read_report(loaded, tmp_path)
    page = as_html(report, plots(report))
    assert "\u7f51\u7edc $x^2$ &amp; &lt;b&gt;</title>" in page
    assert "$\\frac &lt;i&gt;|, ARL" in page
    assert "<b>" not in page and "<i>" not in page
    assert "| $\\\\frac \\<i>\\| |" in as_markdown(report)


def test_a_report_has_the_same_bytes_again(loaded: LoadedStudy, tmp_path: Path) -> None:
    store(tmp_path, loaded, {("ARL", 0): finished(0.9), ("NAL", 0): finished(0.8)})
    record(tmp_path, loaded)
    pages = [
        as_html(report, plots(report))
        for report in (read_report(loaded, tmp_path), read_report(loaded, tmp_path))
    ]
    assert pages[0] == pages[1]


def test_results_of_another_form_of_the_study_are_left_out(write: Write, tmp_path: Path) -> None:
    before = load_study(write())
    store(tmp_path, before, {("ARL", 0): finished(0.9), ("NAL", 0): finished(0.8)})
    now = load_study(write(TEXT.replace("learning=naive", "activation=channel")))
    report = read_report(now, tmp_path)
    assert report.stale == 1
    assert [line["mean"] for line in lines(report)] == ["10", "1", "", ""]
    assert "no longer the study's" in as_markdown(report)


def test_backends_stand_beside_one_another(loaded: LoadedStudy, tmp_path: Path) -> None:
    for backend, accuracy in (("torch", 0.9), ("jax", 0.8)):
        store(tmp_path, loaded, {("ARL", 0): finished(accuracy)}, backend=backend)
    report = read_report(loaded, tmp_path)
    assert [(line["backend"], line["mean"]) for line in lines(report)][:2] == [
        ("jax", "20"), ("torch", "10"),
    ]  # fmt: skip
    assert "| 5.00 | 20.00 | 10.00 |" in as_markdown(report)


def test_a_folder_without_jobs_has_all_of_the_study_missing(
    loaded: LoadedStudy, tmp_path: Path
) -> None:
    report = read_report(loaded, tmp_path / "nothing")
    assert {line["state"] for line in lines(report)} == {"0 of 2 finished, 2 not run yet"}
    assert plots(report) == {}


def test_several_scales_have_to_be_told_apart(loaded: LoadedStudy, tmp_path: Path) -> None:
    for scale in (Fraction(1, 2), Fraction(1, 3)):
        store(tmp_path, loaded, {("ARL", 0): finished(0.9)}, scale=scale)
    with pytest.raises(ReportError, match="several scales: choose one of 1/3, 1/2"):
        read_report(loaded, tmp_path)
    assert read_report(loaded, tmp_path, Fraction(1, 2)).scale == Fraction(1, 2)


REST = '"measures": {}, "reason": "", "provenance": {}'
DAMAGED = {
    "empty": "",
    "cut": '{"key": ',
    "a list": "[]",
    "another job's": f'{{"key": "other", "state": "finished", {REST}}}',
    "no state": f'{{"key": "KEY", "state": "done", {REST}}}',
    "no numbers": f'{{"key": "KEY", "state": "finished", {REST}}}'.replace(
        "{}", '{"loss": NaN}', 1
    ),
    "no measures": '{"key": "KEY", "state": "finished"}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_result_is_none(name: str, loaded: LoadedStudy, tmp_path: Path) -> None:
    (job,) = store(tmp_path, loaded, {("ARL", 0): None})
    folder = job_folder(tmp_path, job)
    (folder / RESULT).write_text(DAMAGED[name].replace("KEY", job.key))
    assert read_result(folder, job) == Result("waiting")


def test_a_result_is_read_as_it_was_written(loaded: LoadedStudy, tmp_path: Path) -> None:
    (job,) = store(tmp_path, loaded, {("ARL", 0): finished(0.25)})
    assert read_result(job_folder(tmp_path, job), job) == finished(0.25)
    assert list(found_jobs(tmp_path)) == [job]


def test_damaged_metrics_leave_the_figures(loaded: LoadedStudy, tmp_path: Path) -> None:
    (job,) = store(tmp_path, loaded, {("ARL", 0): finished(0.9)})
    (job_folder(tmp_path, job) / RUN).mkdir()
    (job_folder(tmp_path, job) / RUN / METRICS).write_text("{}\n\x00\n")
    assert lines(read_report(loaded, tmp_path))[0]["mean"] == "10"


def test_the_study_as_run_is_enough(loaded: LoadedStudy, tmp_path: Path) -> None:
    store(tmp_path, loaded, {("ARL", 0): finished(0.9)})
    (tmp_path / STUDY).write_text(loaded.text)
    assert lines(read_report(load_study(tmp_path / STUDY), tmp_path))[0]["mean"] == "10"
