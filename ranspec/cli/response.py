"""`ranspec response`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ranspec.cli.completion import complete_spec
from ranspec.cli.files import refuse_existing, require_suffix, write_whole
from ranspec.cli.options import (
    DataDirOption,
    ImagesOption,
    OverwriteOption,
    PictureWeightsOption,
    SetOption,
    SpecArgument,
    file_option,
)
from ranspec.cli.output import Column, message, progress, write, write_json, write_table
from ranspec.cli.pictures import picture_input, picture_weights

if TYPE_CHECKING:
    from ranspec.ir.graph import Graph
    from ranspec.ir.operation import Array
    from ranspec.pictures.weights import Trained
    from ranspec.runtime.data import DataOptions
    from ranspec.spec import LoadedSpec


def response(
    spec: SpecArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            default_factory=list,
            show_default=False,
            help="Image files to take the mean over; by default images of the recipe's test set.",
        ),
    ],
    overrides: SetOption,
    images: ImagesOption,
    weights: PictureWeightsOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Another network to compare with, such as the same in naive learning; by "
            "default the same network, where other weights are given.",
            autocompletion=complete_spec,
        ),
    ] = None,
    against_weights: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="The weights of the network to compare with."),
    ] = None,
    data_dir: DataDirOption = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a published test set that is not there yet.")
    ] = False,
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many images of the test set to take.")
    ] = 256,
    output: Annotated[
        Path | None, file_option("An .svg, .png or .pdf file to draw a plot into.")
    ] = None,
    force: OverwriteOption = False,
    output_format: Annotated[
        Literal["table", "json", "markdown", "csv"],
        typer.Option("--format", help="How to write the result."),
    ] = "table",
) -> None:
    """Measure how strongly each stage responds: the mean absolute value of its output.

    Where masks of naive learning are stacked, responses fade from stage to stage; residual
    learning keeps them. `--set` changes SPEC alone.
    """
    from ranspec.pictures.inputs import require
    from ranspec.pictures.plot import SUFFIXES, response_plot
    from ranspec.runtime.data import DataOptions
    from ranspec.spec import load_spec

    if output is not None:
        require_suffix(output, *SUFFIXES)
        refuse_existing(output, force=force)
        require("matplotlib", "matplotlib")
    first = load_spec(spec, overrides)
    asked = [(first, weights)]
    if against is not None:
        asked.append((load_spec(against), against_weights))
    elif against_weights is not None:
        asked.append((first, against_weights))
    paths = [*images, *files]
    options = DataOptions(data_dir=data_dir, download=download)
    subjects = [_subject(loaded, path, paths, options, count) for loaded, path in asked]
    found = [_measured(subject) for subject in subjects]
    stages = list(dict.fromkeys(stage for values in found for stage in values))
    labels = _labels(subjects)
    if output_format == "json":
        write_json(
            {
                "networks": [
                    {
                        "name": subject.graph.name,
                        "weights": subject.trained.origin,
                        "images": len(subject.inputs),
                        "mean_absolute_response": dict(values),
                    }
                    for subject, values in zip(subjects, found, strict=True)
                ]
            }
        )
    elif output_format == "csv":
        _write_csv(labels, stages, found)
    else:
        _write(labels, stages, found, markdown=output_format == "markdown")
    if output is not None:
        number = len(subjects[0].inputs)
        title = f"Stages' outputs, {number:,} image{'s' * (number != 1)}"
        curves = dict(zip(labels, found, strict=True))
        write_whole(output, response_plot(title, stages, curves, output.suffix))
        message(f"wrote {output}")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with weights, and the images that it is shown."""

    graph: Graph
    trained: Trained
    inputs: Array
    overrides: tuple[str, ...]


def _subject(
    loaded: LoadedSpec, weights: Path | None, paths: list[Path], options: DataOptions, count: int
) -> Subject:
    from ranspec.compile import compile_spec
    from ranspec.pictures.inputs import network_input, read_images, test_data, test_images

    graph = compile_spec(loaded)
    trained = picture_weights(loaded, graph, weights)
    if paths:
        shown = read_images(loaded.spec, paths)
        inputs, _ = picture_input(loaded, trained, shown, options.data_dir)
    else:
        data = test_data(loaded.spec, options, trained.statistics)
        inputs = network_input(
            test_images(loaded.spec, data, count), data.statistics, trained.dtype
        )
    return Subject(graph, trained, inputs, tuple(loaded.source.overrides))


def _measured(subject: Subject) -> Mapping[str, float]:
    from ranspec.pictures.response import mean_absolute_response

    with progress(subject.graph.name, len(subject.inputs)) as advance:
        return mean_absolute_response(
            subject.graph, subject.trained.arrays, subject.inputs, advance
        )


def _labels(subjects: Sequence[Subject]) -> list[str]:
    """Return what to call each network: with its overrides and weights where that is needed."""
    parts = [
        (subject.graph.name, *subject.overrides, subject.trained.origin) for subject in subjects
    ]
    for length in (1, -1):
        labels = [", ".join(part[:length]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return [", ".join(part) for part in parts]


def _write(
    labels: Sequence[str],
    stages: Sequence[str],
    found: Sequence[Mapping[str, float]],
    *,
    markdown: bool,
) -> None:
    columns = [Column("stage", right=False), *map(Column, labels)]
    rows = []
    for stage in stages:
        values = [values.get(stage) for values in found]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        if len(values) > 1:
            first, second = values
            cells.append(f"{second / first:.2f}" if first and second is not None else "")
        rows.append([stage, *cells])
    if len(labels) > 1:
        columns.append(Column("second / first"))
    write_table(columns, rows, markdown=markdown)


def _write_csv(
    labels: Sequence[str], stages: Sequence[str], found: Sequence[Mapping[str, float]]
) -> None:
    import csv
    import io

    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["stage", *labels])
    lines.writerows([stage, *(values.get(stage, "") for values in found)] for stage in stages)
    write(text.getvalue().rstrip("\n"))
