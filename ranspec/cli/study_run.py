"""`ranspec study run`, `status` and `clean`."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ranspec.cli.files import write_whole
from ranspec.cli.options import folder_option
from ranspec.cli.output import message, write, write_json
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
from ranspec.cli.study_progress import REFRESH, shown, summary, watched, write_statuses

if TYPE_CHECKING:
    from ranspec.studies.engines import Engine
    from ranspec.studies.execution import Task
    from ranspec.studies.jobs import Job

INTERRUPTED, ENDED = 130, 75
EngineName = Literal["local", "ray", "slurm", "submitit-local"]


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read KEY=VALUE, again and again; raise BadParameter for anything else."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, sign, value) in zip(texts, pairs, strict=True):
        if not (key and sign and value):
            raise typer.BadParameter(
                f"found {text!r}, expected KEY=VALUE such as partition=gpu", param_hint="--slurm"
            )
    return {key: value for key, _, value in pairs}


def run(
    study: StudyArgument,
    scale: ScaleOption = "1",
    seeds: SeedsOption = None,
    backends: StudyBackendsOption = None,
    only: OnlyOption = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            "--engine",
            help="Where runs are: here; on a Ray cluster; under SLURM; submitit-local tries out "
            "the latter without one.",
        ),
    ] = "local",
    at_once: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Runs at once; by default one for each GPU, or else core.",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Images, as train.py reads them."),
    ] = None,
    folder: Annotated[
        Path | None,
        folder_option(
            "Folder of the results, by default studies/STUDY, with the scale; for Ray and "
            "SLURM one that all machines see."
        ),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            "--retries", min=0, metavar="N", help="How often a run that died is started again."
        ),
    ] = 2,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            envvar="RAY_ADDRESS",
            help="The Ray cluster; without it, one is started here.",
        ),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            "--slurm",
            metavar="KEY=VALUE",
            help="A parameter of submitit, such as partition=gpu, time=120 (minutes) or "
            "gpus_per_node=1; may be repeated.",
        ),
    ] = None,
) -> None:
    """Train the networks of a study, each in a process of its own.

    What was finished is not run again; what was ended, however it was, goes on. A run that dies is
    started again, one that diverges is not, and the rest goes on. Ctrl-C ends all with their
    checkpoints; the same command goes on.

    Exits 0 when all runs have finished, 1 where some diverged or failed, 130 after Ctrl-C, and 75
    where another signal ended it or another process is at some of the runs.
    """
    from ranspec.studies.driver import drive
    from ranspec.studies.jobs import jobs
    from ranspec.studies.loader import load_study
    from ranspec.studies.results import JOB, STUDY, study_folder, write_job
    from ranspec.studies.scaling import parse_scale

    if data_dir is not None and not data_dir.is_dir():
        raise typer.BadParameter(f"{data_dir} is no folder", param_hint="--data-dir")
    parameters = parse_pairs(slurm or ())
    loaded = load_study(study)
    fraction = parse_scale(scale)
    chosen = jobs(
        loaded,
        scale=fraction,
        seeds=parse_seeds(seeds),
        backends=trainable(split(backends), here=engine == "local"),
        only=only or (),
    )
    if engine == "local":
        trainable(sorted({job.backend for job in chosen}), here=True)
    root = folder or study_folder(loaded.name, fraction)
    tasks = [task(job, root, data_dir, retries) for job in chosen]
    runner = make_engine(engine, root, at_once, address, parameters)
    root.mkdir(parents=True, exist_ok=True)
    write_whole(root / STUDY, loaded.as_run())
    for each in tasks:
        if not (each.folder / JOB).is_file():
            write_job(each.folder, each.job)
    message(f"{loaded.study.heading}: {len(tasks)} runs in {root}")
    with watched(root, chosen) as watch:
        ended_by = drive(runner, tasks, watch)
    raise typer.Exit(conclude(root, chosen, runner, ended_by))


def status(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="Its name, or the folder of its results; by default all here."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Show how far a study is, from its folder: also from another terminal or machine."""
    from ranspec.studies.status import statuses

    folders = result_folders(study)
    if output_format == "json":
        found = {str(folder): [each.to_json() for each in statuses(folder)] for folder in folders}
        write_json(found)
        return
    if not watch:
        for folder in folders:
            if len(folders) > 1:
                write(f"{folder}:")
            write_statuses(statuses(folder))
        return
    with shown(lambda: [each for folder in folders for each in statuses(folder)]) as look:
        while True:
            look()
            time.sleep(REFRESH)


def clean(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="Its name, or the folder of its results.")
    ],
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also what has finished or diverged, and not the rest alone."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove the runs of a study that have not finished, or all of them.

    Files of yours stay, and so does a run that a process is at.
    """
    from ranspec.studies.cleaning import remove_jobs, remove_study
    from ranspec.studies.results import job_folder
    from ranspec.studies.status import statuses

    for folder in result_folders(study):
        chosen = [
            each
            for each in statuses(folder)
            if everything or each.phase not in ("finished", "diverged")
        ]
        if chosen:
            message(f"{folder}: {summary(chosen)}")
            if not yes and not typer.confirm(f"remove {len(chosen)} runs?", err=True):
                raise typer.Exit(1)
        left, refused = remove_jobs([job_folder(folder, each.job) for each in chosen])
        for reason in refused:
            message(f"left alone: {reason}")
        for path in left:
            message(f"{path} holds other files")
        gone = len(chosen) - len(refused)
        write(f"{folder}: {gone} runs removed")
        if everything:
            remove_study(folder)


def trainable(names: Sequence[str], *, here: bool) -> list[str]:
    """Return the backends that are meant by names and aliases, each once.

    Raises RanspecError where one does not train, or is not installed and is to train here.
    """
    from ranspec.codegen.backend import load_backend, require_installed, require_training

    chosen = [load_backend(name) for name in names]
    for backend in chosen:
        require_training(backend)
        if here:
            require_installed(backend)
    return list(dict.fromkeys(backend.name for backend in chosen))


def task(job: Job, root: Path, data_dir: Path | None, retries: int) -> Task:
    """Return how a job is run; digits come with scikit-learn, not from a folder."""
    from ranspec.studies.execution import Task
    from ranspec.studies.jobs import scaled_spec
    from ranspec.studies.results import job_folder

    images = None if scaled_spec(job).spec.train.data == "digits" else data_dir
    return Task(
        job,
        job_folder(root, job).absolute(),
        data_dir=images and images.absolute(),
        retries=retries,
    )


def make_engine(
    name: EngineName,
    root: Path,
    at_once: int | None,
    address: str | None,
    parameters: dict[str, str],
) -> Engine:
    """Return an engine; raise RanspecError for parameters that it does not have."""
    if parameters and name not in ("slurm", "submitit-local"):
        raise typer.BadParameter("is for --engine slurm", param_hint="--slurm")
    if name == "local":
        from ranspec.studies.engines.local import LocalEngine

        return LocalEngine(at_once)
    if name == "ray":
        from ranspec.studies.engines.ray import LOG, RayEngine

        return RayEngine(root / LOG, address, at_once)
    from ranspec.studies.engines.slurm import SlurmEngine

    return SlurmEngine(root, parameters, at_once, "slurm" if name == "slurm" else "local")


def conclude(root: Path, jobs: Sequence[Job], engine: Engine, ended_by: int | None) -> int:
    """Write what came of jobs, and return the exit code."""
    from ranspec.studies.status import read_status

    found = [read_status(root, job) for job in jobs]
    write_statuses(found)
    if all(each.phase == "finished" for each in found):
        return 0
    if ended_by is not None:
        message("ended by a signal: the same command goes on")
        return INTERRUPTED if ended_by == signal.SIGINT else ENDED
    errors = engine.errors()
    for key, error in errors.items():
        message(f"error: {key}: {error}")
    if errors or any(each.phase in ("diverged", "failed") for each in found):
        return 1
    message("other processes are at the rest: ranspec study status")
    return ENDED
