"""`ranspec compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ranspec.cli.files import refuse_existing, require_suffix, write_whole
from ranspec.cli.options import OverwriteOption, file_option
from ranspec.cli.output import Column, message, write, write_json, write_table

RUNS = (
    Column("run", right=False),
    Column("framework", right=False),
    Column("state", right=False),
    Column("steps"),
    Column("loss"),
    Column("error"),
    Column("best error"),
    Column("at step"),
    Column("images/s"),
)
DISTANCES = (Column("runs", right=False), Column("losses part by"), Column("at step"))
IDENTITY = {"network": "network", "digest": "spec", "data": "data"}
KEPT_APART = ("output", "resume", "overwrite")
"""Settings that two runs may well not share."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells of it."""

    name: str
    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]

    def summary(self) -> dict[str, Any]:
        """Return the figures of the run; None for what it does not tell.

        Errors are shares of the test set, of the validation set before there is a test.
        """
        from statistics import median

        errors = self.values("test", "accuracy") or self.values("validation", "accuracy")
        best = max(errors, key=lambda step: (errors[step], -step), default=None)
        losses, speeds = self.values("", "loss"), self.values("", "images_per_second")
        return {
            "run": self.name,
            "framework": self.config.get("framework"),
            "device": self.config.get("device"),
            "state": self.config.get("state"),
            "steps": max((record["step"] for record in self.records), default=0),
            "loss": losses[max(losses)] if losses else None,
            "error": 1 - errors[max(errors)] if errors else None,
            "best_error": None if best is None else 1 - errors[best],
            "best_step": best,
            "images_per_second": median(speeds.values()) if speeds else None,
        }

    def values(self, dataset: str, name: str) -> dict[int, float]:
        """Return a quantity by step, where it is known."""
        key = f"{dataset}_{name}" if dataset else name
        return {r["step"]: r[key] for r in self.records if r.get(key) is not None}


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, of any backends.")
    ],
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance", min=0.0, metavar="X", help="Exit 1 if losses part by more than X."
        ),
    ] = None,
    output: Annotated[
        Path | None, file_option("An .svg or .html file to draw the curves of all runs into.")
    ] = None,
    force: OverwriteOption = False,
    output_format: Annotated[
        Literal["table", "json", "markdown"],
        typer.Option("--format", help="How to write the result."),
    ] = "table",
) -> None:
    """Compare runs: results, speeds, how far their loss curves part, and what was set otherwise.

    Loss curves are compared at the steps that both runs have lines of metrics for. Speeds are the
    medians of these lines, without compilation, evaluation and checkpoints.
    """
    if output is not None:
        require_suffix(output, ".svg", ".html")
        refuse_existing(output, force=force)
    found = [read_run(path) for path in runs]
    summaries = [run.summary() for run in found]
    distances = list(_distances(found))
    differences = _differences(found)
    if output_format == "json":
        write_json({"runs": summaries, "distances": distances, "differences": differences})
    else:
        _write(summaries, distances, differences, markdown=output_format == "markdown")
    if output is not None:
        write_whole(output, _drawn(found, output.suffix))
        message(f"wrote {output}")
    parted = [item["runs"] for item in distances if _exceeds(item["distance"], tolerance)]
    if parted:
        message(f"{' and '.join(parted[0])} part by more than {tolerance:g}")
        raise typer.Exit(1)


def read_run(path: Path) -> RunRecord:
    """Read the folder of a run; raise BadParameter where it is none."""
    import json

    from ranspec.runtime.folder import CONFIG, METRICS
    from ranspec.runtime.metrics import read_records

    log, config = path / METRICS, path / CONFIG
    if not log.is_file():
        raise typer.BadParameter(f"{path} is no run's folder: it has no {METRICS}")
    try:
        records = read_records(log)
        said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise typer.BadParameter(
            f"{path}: its {CONFIG} or {METRICS} is damaged ({error})"
        ) from None
    return RunRecord(str(path), said, records)


def _distances(runs: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    """Yield how far the loss curves of each two runs part, None where they share no step."""
    for one, other in combinations(runs, 2):
        first, second = one.values("", "loss"), other.values("", "loss")
        apart = {step: abs(first[step] - second[step]) for step in first if step in second}
        step = max(apart, key=lambda step: apart[step], default=None)
        yield {
            "runs": [one.name, other.name],
            "distance": None if step is None else apart[step],
            "step": step,
            "steps_compared": len(apart),
        }


def _exceeds(distance: float | None, tolerance: float | None) -> bool:
    return tolerance is not None and (distance is None or distance > tolerance)


def _differences(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Return what is not the same in all runs, each run's in order."""
    found = {}
    for key, title in IDENTITY.items():
        values = [run.config.get(key) for run in runs]
        found[title] = values
    settings = [run.config.get("settings", {}) for run in runs]
    for name in dict.fromkeys(name for chosen in settings for name in chosen):
        if name not in KEPT_APART:
            found[name] = [chosen.get(name) for chosen in settings]
    return {
        name: values
        for name, values in found.items()
        if any(value != values[0] for value in values)
    }


def _write(
    summaries: Sequence[Mapping[str, Any]],
    distances: Sequence[Mapping[str, Any]],
    differences: Mapping[str, Sequence[Any]],
    *,
    markdown: bool,
) -> None:
    rows = [
        [
            item["run"],
            item["framework"] or "",
            item["state"] or "",
            str(item["steps"]),
            _number(item["loss"], "{:.4g}"),
            _number(item["error"], "{:.2%}"),
            _number(item["best_error"], "{:.2%}"),
            _number(item["best_step"], "{}"),
            _number(item["images_per_second"], "{:,.0f}"),
        ]
        for item in summaries
    ]
    write_table(RUNS, rows, markdown=markdown)
    if distances:
        write("")
        rows = [
            [" / ".join(i["runs"]), _number(i["distance"], "{:.2e}"), _number(i["step"], "{}")]
            for i in distances
        ]
        write_table(DISTANCES, rows, markdown=markdown)
    if differences:
        write("")
        columns = [Column("", right=False)] + [Column(item["run"]) for item in summaries]
        rows = [
            [name, *("" if value is None else str(value)[:40] for value in values)]
            for name, values in differences.items()
        ]
        write_table(columns, rows, markdown=markdown)


def _number(value: float | None, shape: str) -> str:
    return "" if value is None else shape.format(value)


def _drawn(runs: Sequence[RunRecord], suffix: str) -> str:
    from ranspec.runtime.report import page, plots, run_curves

    drawing = plots(run_curves({run.name: run.records for run in runs}))
    return page("Runs compared", drawing) if suffix == ".html" else drawing
