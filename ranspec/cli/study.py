"""`ranspec study`: the commands for tables and figures of papers."""

from __future__ import annotations

import typer

from ranspec.cli.output import examples
from ranspec.cli.study_report import list_studies, report, show
from ranspec.cli.study_run import clean, run, status

app = typer.Typer(
    name="study",
    help="Train the networks of a paper's table or figure, and put what comes out beside it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("list", epilog=examples("ranspec study list", "ranspec study list --format json"))(
    list_studies
)
app.command(
    epilog=examples(
        "ranspec study show wang2017_table1",
        "ranspec study show wang2017_table3 --scale 1/50 --only Attention-56 --seeds 0,1,2",
        "ranspec study show my_study.yaml --format json",
    )
)(show)
app.command(
    epilog=examples(
        "ranspec study run wang2017_table1 --scale 1/50 --data-dir DIR",
        "ranspec study run wang2017_table1 --seeds 0,1,2 --backends torch,jax --jobs 2",
        "ranspec study run wang2017_table1 --engine ray --address HOST:6379",
        "ranspec study run wang2017_table1 --engine slurm --slurm partition=gpu "
        "--slurm gpus_per_node=1",
    )
)(run)
app.command(
    epilog=examples(
        "ranspec study status",
        "ranspec study status wang2017_table1 --watch",
        "ranspec study status studies/wang2017_table1-scale-1-50 --format json",
    )
)(status)
app.command(
    epilog=examples(
        "ranspec study report wang2017_table1",
        "ranspec study report studies/wang2017_table1-scale-1-50",
        "ranspec study report wang2017_table1 --format markdown",
    )
)(report)
app.command(
    epilog=examples(
        "ranspec study clean wang2017_table1",
        "ranspec study clean studies/wang2017_table1-scale-1-50 --all --yes",
    )
)(clean)
