"""`ranspec study list`, `show` and `report`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.completion import complete_study
from ranspec.cli.files import write_whole
from ranspec.cli.options import DataDirOption, folder_option
from ranspec.cli.output import Column, integer, message, scaled, write, write_json, write_table
from ranspec.cli.study_options import (
    OnlyOption,
    ScaleOption,
    SeedsOption,
    StudyArgument,
    StudyBackendsOption,
    parse_seeds,
    result_folders,
    split,
)
from ranspec.errors import printable

if TYPE_CHECKING:
    from ranspec.studies.jobs import Job
    from ranspec.studies.loader import LoadedStudy
    from ranspec.studies.model import Entry
    from ranspec.studies.report import Report

FILES = "report"
"""What the files of a report are called, but for their suffixes."""


def list_studies(
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """List the known studies."""
    from ranspec.spec import SpecError
    from ranspec.studies.loader import available_studies, load_study

    found = []
    for name in available_studies():
        try:
            study = load_study(name, specs=False).study
        except SpecError:
            message(f"{printable(name)}: has mistakes; see `ranspec study show {printable(name)}`")
            continue
        found.append(
            {
                "name": name,
                "place": study.place,
                "title": study.title,
                "networks": len(study.entries),
                "source": study.source,
            }
        )
    if output_format == "json":
        return write_json({"studies": found})
    columns = [
        Column("study", right=False),
        Column("networks"),
        Column("what it shows", right=False),
    ]
    rows = (
        [
            str(each["name"]),
            str(each["networks"]),
            f"{each['place']}: {each['title']}" if each["place"] else str(each["title"]),
        ]
        for each in found
    )
    write_table(columns, rows)


def show(
    study: StudyArgument,
    scale: ScaleOption = "1",
    seeds: SeedsOption = None,
    backends: StudyBackendsOption = None,
    only: OnlyOption = None,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Show what a study would run: networks, their sizes and recipes, and what is printed."""
    from ranspec.codegen.backend import load_backend, require_training
    from ranspec.studies.jobs import jobs
    from ranspec.studies.loader import load_study
    from ranspec.studies.scaling import parse_scale

    fraction = parse_scale(scale)
    asked = [load_backend(name) for name in split(backends)]
    for backend in asked:
        require_training(backend)
    loaded = load_study(study)
    chosen = jobs(
        loaded,
        scale=fraction,
        seeds=parse_seeds(seeds),
        backends=[backend.name for backend in asked],
        only=only or (),
    )
    entries = list(_entries(loaded, chosen))
    if output_format == "json":
        return write_json(_as_data(loaded, fraction, chosen, entries))
    about = loaded.study
    write(printable(about.heading) if fraction == 1 else f"{about.heading} (at scale {fraction})")
    write(f"{printable(about.source)}\n")
    columns = [
        Column("network", right=False),
        Column("spec", right=False),
        Column("parameters"),
        Column("MACs"),
        Column("iterations"),
        Column("printed", right=False),
    ]
    rows = (
        [
            each["name"],
            each["spec"],
            integer(each["parameters"]),
            scaled(each["macs"]),
            integer(each["iterations"]),
            _printed(each["printed"]),
        ]
        for each in entries
    )
    write_table(columns, rows)
    used = sorted({job.seed for job in chosen}), sorted({job.backend for job in chosen})
    named = (", ".join(map(str, values)) for values in used)
    write("\n{} runs: seeds {}; backends {}".format(len(chosen), *named))
    for note in about.notes:
        write(f"- {printable(note)}")
    for each in entries:
        changes = " ".join(f"--set {shlex.quote(override)}" for override in each["overrides"])
        for note in [*each["notes"], *([changes] if changes else [])]:
            write(f"- {printable(each['name'])}: {printable(note)}")


def _entries(study: LoadedStudy, jobs: tuple[Job, ...]) -> Iterator[dict[str, Any]]:
    """Yield what a program may want to know of the entries that are run."""
    from ranspec.analysis.count import NetworkCounter
    from ranspec.compile import compile_spec
    from ranspec.ir.builder import BuildError
    from ranspec.studies.jobs import scaled_spec

    counter = NetworkCounter()
    first = {job.row: job for job in reversed(jobs)}
    for entry in study.study.entries:
        if entry.name not in first:
            continue
        loaded = scaled_spec(first[entry.name])
        spec = loaded.spec
        try:
            _, cost = counter.count(spec)
        except BuildError:
            compile_spec(loaded)  # It says where in the spec the mistake is.
            raise
        yield {
            "name": entry.name,
            "row": entry.row,
            "column": entry.column,
            "spec": entry.spec,
            "overrides": list(entry.set),
            "parameters": cost.parameters,
            "macs": cost.macs,
            "iterations": spec.train.iterations,
            "printed": _figures(entry),
            "notes": list(entry.notes),
        }


def _figures(entry: Entry) -> dict[str, dict[str, Any]]:
    return {
        measure: {"figure": figure.figure, "not_comparable": figure.not_comparable}
        for measure, figure in entry.printed.figures().items()
    }


def _printed(figures: dict[str, dict[str, Any]]) -> str:
    from ranspec.studies.model import MEASURES

    words = {str(measure): title.removesuffix(", %") for measure, title in MEASURES.items()}
    return ", ".join(
        f"{words[measure]} {said['figure']:.2f} %"
        + (" (not comparable)" if said["not_comparable"] else "")
        for measure, said in figures.items()
    )


def _as_data(
    study: LoadedStudy, scale: Fraction, jobs: tuple[Job, ...], entries: list[dict[str, Any]]
) -> dict[str, Any]:
    about = study.study
    return {
        "name": study.name,
        "title": about.title,
        "source": about.source,
        "place": about.place,
        "notes": list(about.notes),
        "scale": str(scale),
        "entries": entries,
        "jobs": [
            {"key": job.key, "entry": job.row, "backend": job.backend, "seed": job.seed}
            for job in jobs
        ],
    }


def report(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Its name, or the folder of its results.",
            autocompletion=complete_study,
        ),
    ],
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale", metavar="FRACTION", help="Of the runs; needed where a folder has several."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        folder_option(
            "Where to write report.md, report.csv and report.html, by default into the folder "
            "of the results."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    output_format: Annotated[
        Literal["files", "markdown", "csv", "html"],
        typer.Option("--format", help="Files, or one of them to the standard output instead."),
    ] = "files",
) -> None:
    """Put the results of a study beside what its source prints, also while it runs.

    Of each network: the mean over seeds with its deviation, the difference from the printed figure,
    which is taken only where recipes were whole, curves, and what has no result and why.
    """
    from ranspec.studies.report import read_report
    from ranspec.studies.scaling import parse_scale

    fraction = None if scale is None else parse_scale(scale)
    loaded, folders = _results(study, fraction)
    if output and len(folders) > 1:
        listed = ", ".join(map(str, folders))
        raise typer.BadParameter(f"there are results in {listed}: name one", param_hint="STUDY")
    reports = {
        folder: _with_responses(read_report(loaded, folder, fraction), folder, data_dir)
        for folder in folders
    }
    for folder, found in reports.items():
        if output_format == "files":
            _write_files(found, output or folder)
        else:
            write(_text(found, output_format).rstrip("\n"))


def _results(study: str, scale: Fraction | None) -> tuple[LoadedStudy, list[Path]]:
    """Return a study, and the folders of its results; of those at a scale if one is given."""
    from ranspec.studies.loader import load_study
    from ranspec.studies.results import JOBS, STUDY, found_jobs

    folder = Path(study)
    if (folder / JOBS).is_dir():
        loaded, folders = load_study(folder / STUDY), [folder]
    else:
        loaded = load_study(study)
        folders = result_folders(loaded.name)
    if scale is None:
        return loaded, folders
    chosen = [each for each in folders if any(job.scale == scale for job in found_jobs(each))]
    if not chosen:
        listed = " or ".join(map(str, folders))
        raise typer.BadParameter(f"{listed} has no runs of scale {scale}", param_hint="--scale")
    return loaded, chosen


def _with_responses(report: Report, folder: Path, data_dir: Path | None) -> Report:
    """Measure the responses that a study plots; without images, say that they are missing."""
    from ranspec.studies.model import ResponsePlot

    finished = any(run.result.state == "finished" for run in report.runs)
    if not finished or not isinstance(report.study.study.output, ResponsePlot):
        return report
    from ranspec.runtime.data import DataError, DataOptions
    from ranspec.studies.responses import responses

    try:
        return replace(report, responses=responses(report, folder, DataOptions(data_dir=data_dir)))
    except DataError as error:
        if data_dir is not None:
            raise
        message(f"the responses are not measured: {error}")
        return report


def _write_files(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for output_format, suffix in (("markdown", "md"), ("csv", "csv"), ("html", "html")):
        path = folder / f"{FILES}.{suffix}"
        write_whole(path, _text(report, output_format))
        write(str(path))


def _text(report: Report, output_format: str) -> str:
    from ranspec.studies import writing

    if output_format == "markdown":
        return writing.as_markdown(report)
    if output_format == "csv":
        return writing.as_csv(report)
    return writing.as_html(report, _plots(report))


def _plots(report: Report) -> dict[str, str]:
    """Draw the plots of a report; where there is nothing to draw with, say so."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        message("the page has no plots without matplotlib: pip install 'ranspec[pictures]'")
        return {}
    from ranspec.studies.plots import plots

    return plots(report)
