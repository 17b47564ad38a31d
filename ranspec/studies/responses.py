"""How strongly the stages of a study's trained networks respond."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from ranspec.compile import compile_spec
from ranspec.pictures.inputs import network_input, test_data, test_images
from ranspec.pictures.response import mean_absolute_response
from ranspec.pictures.weights import load_weights
from ranspec.runtime.data import DataOptions
from ranspec.studies.jobs import scaled_spec
from ranspec.studies.report import Report, Run
from ranspec.studies.results import RUN, job_folder

IMAGES = 64
"""Of the test set that the mean is taken over, evenly spaced."""


def responses(
    report: Report, root: Path, options: DataOptions, count: int = IMAGES
) -> dict[str, Mapping[str, float]]:
    """Return the mean absolute response of each stage, by entry and, if there are several, backend.

    It is the mean over all runs that have finished. Raises `DataError` where there are no images,
    `CheckpointError` or `RanspecError` where the weights of a run cannot be used.
    """
    found: dict[str, list[Mapping[str, float]]] = {}
    for run in report.runs:
        if run.result.state == "finished":
            measured = _measured(run, root, options, count)
            found.setdefault(report.label(run.job), []).append(measured)
    return {
        name: {stage: fmean(each[stage] for each in measured) for stage in measured[0]}
        for name, measured in found.items()
    }


def _measured(run: Run, root: Path, options: DataOptions, count: int) -> Mapping[str, float]:
    loaded = scaled_spec(run.job)
    graph = compile_spec(loaded)
    trained = load_weights(loaded, graph, job_folder(root, run.job) / RUN)
    data = test_data(loaded.spec, options, trained.statistics)
    images = test_images(loaded.spec, data, count)
    inputs = network_input(images, data.statistics, trained.dtype)
    return mean_absolute_response(graph, trained.arrays, inputs)
