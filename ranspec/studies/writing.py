"""A report as Markdown, CSV or one HTML page that asks nothing of any other file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ranspec.html import page_environment
from ranspec.studies.jobs import WHOLE
from ranspec.studies.model import MEASURES, Entry, Measure, ResponsePlot, Study, Table
from ranspec.studies.report import LEFT_OUT, Finding, Report

FIGURES = (
    "row", "column", "spec", "overrides", "backend", "measure", "scale", "printed",
    "not_comparable", "mean", "deviation", "difference", "within_deviation", "values", "runs",
    "state",
)  # fmt: skip
"""The columns of the CSV; `values` are those of the runs that have finished, by seed."""
DIGESTS = frozenset({"spec", "data", "code"})
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Sheet:
    """A table of texts; its first `left` columns stand to the left, as words do."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def as_markdown(report: Report) -> str:
    """Write a report as Markdown."""
    listed = "\n".join(f"- {_markdown(note)}" for note in notes(report))
    parts = [f"# {_markdown(report.title)}", _markdown(report.study.study.source), listed]
    for sheet in sheets(report):
        parts.append(f"## {_markdown(sheet.title)}")
        rules = ["---" if index < sheet.left else "---:" for index in range(len(sheet.columns))]
        lines = [sheet.columns, rules, *sheet.rows]
        table = [f"| {' | '.join(map(_markdown, line))} |" for line in lines]
        parts.append("\n".join(table))
    return "\n\n".join(parts) + "\n"


def as_csv(report: Report) -> str:
    """Write the figures of a report as CSV, a line for each measure, entry and backend."""
    text = io.StringIO()
    lines = csv.DictWriter(text, FIGURES, lineterminator="\n")
    lines.writeheader()
    for finding in report.findings():
        entry, printed = finding.entry, finding.printed
        figures = {
            "row": entry.row,
            "column": entry.column,
            "spec": entry.spec,
            "overrides": " ".join(entry.set),
            "backend": finding.backend,
            "measure": finding.measure,
            "scale": finding.scale,
            "printed": printed and printed.figure,
            "not_comparable": printed and printed.not_comparable,
            "mean": _exact(finding.mean),
            "deviation": _exact(finding.deviation),
            "difference": _exact(finding.difference),
            "within_deviation": _answer(finding.is_within),
            "values": " ".join(map(_exact, finding.values)),
            "runs": len(finding.runs),
            "state": finding.state,
        }
        lines.writerow({key: "" if value is None else value for key, value in figures.items()})
    return text.getvalue()


def as_html(report: Report, plots: Mapping[str, str]) -> str:
    """Write a report as a page, with plots as SVG by their titles."""
    from markupsafe import Markup

    first, *others = sheets(report)
    page = page_environment("ranspec.studies").get_template("report.html.j2")
    text = page.render(
        report=report,
        notes=notes(report),
        first=first,
        plots={title: Markup(svg) for title, svg in plots.items()},
        sheets=others,
    )
    return text.removesuffix("\n")


def notes(report: Report) -> Iterator[str]:
    """Yield what a reader of the figures should know."""
    study = report.study.study
    if report.scale != WHOLE:
        yield (
            f"At scale {report.scale}: every recipe was shortened to that share of its iterations, "
            "its schedule in proportion. What is printed is shown, and not compared."
        )
    yield (
        f"Ours is the mean over {_seeds(report.seeds)}, with the sample standard deviation where "
        "there are several; a difference is ours less what is printed, in percentage points."
    )
    yield from study.notes
    if isinstance(study.output, ResponsePlot) and not report.responses:
        yield (
            "The responses are not measured: they need runs that have finished, and the images of "
            "the test set (`--data-dir`)."
        )
    for entry in study.entries:
        yield from (f"{entry.name}: {note}" for note in entry.notes)
    reasons = {
        figure.not_comparable: None
        for entry in study.entries
        for figure in entry.printed.figures().values()
        if figure.not_comparable
    }
    yield from (f"*: not comparable, {reason}." for reason in reasons)
    if report.stale:
        yield (
            f"Jobs in the folder that are no longer the study's, as it or a spec has changed: "
            f"{report.stale}. They are left out."
        )


def sheets(report: Report) -> Iterator[Sheet]:
    """Yield the tables of a report, the source's own first."""
    if report.responses:
        yield _responses(report)
    yield _as_printed(report)
    yield _figures(report)
    if missing := list(_missing(report)):
        yield Sheet("Without a result", ("network", "backend", "seed", "why"), missing, left=4)
    if sheet := _provenance(report):
        yield sheet


def _responses(report: Report) -> Sheet:
    stages = list(dict.fromkeys(stage for found in report.responses.values() for stage in found))
    rows = [
        [name, *(f"{found[stage]:.4g}" if stage in found else "" for stage in stages)]
        for name, found in report.responses.items()
    ]
    return Sheet("Mean absolute response of each stage's output", ["network", *stages], rows)


def _as_printed(report: Report) -> Sheet:
    study = report.study.study
    grid: dict[str, dict[str | None, Entry]] = {}
    for entry in study.entries:
        grid.setdefault(entry.row, {})[entry.column] = entry
    across = list(dict.fromkeys(entry.column for entry in study.entries))
    heading = study.output.heading if isinstance(study.output, Table) else "network"
    columns = [heading]
    for column in across:
        for measure in study.measures:
            of = [column] if column else []
            of += [MEASURES[measure]] if len(study.measures) > 1 else []
            ours = report.backends if len(report.backends) > 1 else ("ours",)
            columns += [": ".join([*of, who]) for who in ("printed", *ours)]
    rows = []
    for row, entries in grid.items():
        cells = [row]
        for column in across:
            for measure in study.measures:
                cells += _cells(report, entries.get(column), measure)
        rows.append(cells)
    return Sheet(_titled("Printed and ours", study), columns, rows)


def _cells(report: Report, entry: Entry | None, measure: Measure) -> list[str]:
    if entry is None:
        return [""] * (1 + len(report.backends))
    found = [report.finding(entry, measure, backend) for backend in report.backends]
    return [_printed(found[0]), *map(_ours, found)]


def _figures(report: Report) -> Sheet:
    several = len(report.study.study.measures) > 1
    columns = [
        "network", "backend", *(["measure"] if several else []), "printed", "ours", "deviation",
        "difference", "within", "runs",
    ]  # fmt: skip
    rows = [
        [
            finding.entry.name,
            finding.backend,
            *([MEASURES[finding.measure]] if several else []),
            _printed(finding),
            number(finding.mean),
            number(finding.deviation),
            "" if finding.difference is None else f"{finding.difference:+.2f}",
            _answer(finding.is_within),
            finding.state,
        ]
        for finding in report.findings()
    ]
    return Sheet(
        _titled("Every figure", report.study.study), columns, rows, left=3 if several else 2
    )


def _titled(title: str, study: Study) -> str:
    """Return a title that says what is measured, unless the columns do."""
    return title if len(study.measures) > 1 else f"{title}: {MEASURES[study.measures[0]]}"


def _missing(report: Report) -> Iterator[tuple[str, ...]]:
    for run in report.runs:
        if run.result.state != "finished":
            said = LEFT_OUT[run.result.state]
            why = f"{said}: {run.result.reason}" if run.result.reason else said
            yield run.job.row, run.job.backend, str(run.job.seed), why


def _provenance(report: Report) -> Sheet | None:
    told = [run for run in report.runs if run.result.provenance]
    if not told:
        return None
    names = list(dict.fromkeys(name for run in told for name in run.result.provenance))
    rows = [
        [
            run.job.key,
            run.result.state,
            *(_shortened(name, run.result.provenance.get(name, "")) for name in names),
        ]
        for run in told
    ]
    return Sheet("Where the figures come from", ["run", "state", *names], rows, 2 + len(names))


def _shortened(name: str, text: str) -> str:
    return text[:_DIGEST_LENGTH] if name in DIGESTS else text


def _printed(finding: Finding) -> str:
    if finding.printed is None:
        return ""
    mark = "*" if finding.printed.not_comparable else ""
    return f"{number(finding.printed.figure)}{mark}"


def _ours(finding: Finding) -> str:
    """Write what was measured, or why there is nothing."""
    if finding.mean is None:
        states = {run.result.state for run in finding.runs}
        told = next((said for state, said in LEFT_OUT.items() if states == {state}), None)
        return told or ("not measured" if states == {"finished"} else finding.state)
    text = number(finding.mean)
    if finding.deviation is not None:
        text += f" ± {number(finding.deviation)}"
    if len(finding.values) < len(finding.runs):
        text += f" ({len(finding.values)} of {len(finding.runs)})"
    return text


def number(value: float | None) -> str:
    """Write a percentage as papers do."""
    return "" if value is None else f"{value:.2f}"


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _answer(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _seeds(seeds: Sequence[int]) -> str:
    named = ", ".join(map(str, seeds))
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {named}"


def _markdown(text: str) -> str:
    for character in "\\|<*":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
