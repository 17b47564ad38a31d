"""`ranspec verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ranspec.cli.options import BackendsOption, SetOption, SpecArgument
from ranspec.cli.output import Column, message, write, write_json, write_table

if TYPE_CHECKING:
    from ranspec.verify.report import Report

COLUMNS = (
    Column("quantity", right=False),
    Column("pair", right=False),
    Column("largest relative error"),
    Column("tolerance"),
    Column("", right=False),
    Column("worst tensor", right=False),
)


def verify(
    spec: SpecArgument,
    backends: BackendsOption,
    overrides: SetOption,
    dtype: Annotated[
        Literal["float64", "float32"],
        typer.Option("--dtype", help="float64 shows identity; float32 what training computes."),
    ] = "float64",
    steps: Annotated[
        int, typer.Option("--steps", min=1, max=1000, help="Optimiser steps to compare.")
    ] = 20,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=2, max=1024, help="Images per step.")
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights and images.")] = 0,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Show that all backends are the same network.

    Builds the spec for each backend (by default all that are installed), runs each in a process
    of its own from the same weights on the same images, and compares logits, gradients, statistics
    and training steps with the NumPy reference and with one another. Dropout is left out. Exits 1
    if a tolerance is missed or a backend does not run.
    """
    from ranspec.codegen.backend import available_backends
    from ranspec.spec import load_spec
    from ranspec.verify.harness import verify as compare

    report = compare(
        load_spec(spec, overrides),
        backends or list(available_backends()),
        dtype=dtype,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        progress=message,
    )
    for failure in report.failures:
        message(f"{failure.backend} did not run:\n{failure.message}")
    if output_format == "json":
        write_json(report.to_json())
    else:
        _write(report)
    if not report.passed:
        raise typer.Exit(1)


def _write(report: Report) -> None:
    rows = [
        [
            check.quantity,
            "/".join(check.pair),
            f"{check.max_relative_error:.1e}",
            f"{check.tolerance:.0e}",
            "ok" if check.passed else "FAILED",
            check.worst,
        ]
        for check in report.checks
    ]
    if rows:
        write_table(COLUMNS, rows)
    for name in report.inferring:
        write(f"{name} only infers: nothing of training was compared with it")
    for parting in report.partings:
        pair = " and ".join(parting.pair)
        write(f"{pair} part at {parting.layer}, {parting.direction}")
    outcome = "passed" if report.passed else "failed"
    run = (
        f"{report.dtype}, {report.steps} steps of {report.batch_size} images, "
        f"learning rate {report.learning_rate:g}"
    )
    write(f"{report.network}: {outcome} ({run})")
