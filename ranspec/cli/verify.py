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
    Column("noise"),
    Column("", right=False),
    Column("worst tensor", right=False),
)
OUTCOMES = {"passed": "ok", "failed": "FAILED", "cannot be told": "cannot be told"}


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
    ] = 8,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=2, max=1024, help="Images per step.")
    ] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of weights and images.")] = 0,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Show that all backends are the same network.

    Builds the spec for each backend, by default for all whose framework is installed, runs each in
    a process of its own from the same weights on the same images, and compares initial weights,
    learning rates, logits, gradients, statistics and training steps with the NumPy reference and
    with one another. Beside each difference stands the noise: how far the reference parts from
    itself when its state is changed by one part in 10^15. Dropout is left out.

    Exits 1 if a tolerance is missed or a backend does not run, and 3 if rounding alone may explain
    what is missed, so that nothing can be told.
    """
    from ranspec.spec import load_spec
    from ranspec.verify.harness import verify as compare

    report = compare(
        load_spec(spec, overrides),
        backends or _installed(),
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
        raise typer.Exit(1 if report.outcome == "failed" else 3)


def _installed() -> list[str]:
    """Return the backends that can run here, and say of the others why they cannot.

    Raises `NotInstalledError` if there is none.
    """
    from ranspec.codegen.backend import (
        NotInstalledError,
        available_backends,
        load_backend,
        require_installed,
    )

    found, missing = [], []
    for name in available_backends():
        try:
            require_installed(load_backend(name))
            found.append(name)
        except NotInstalledError as error:
            missing.append(str(error))
    if not found:
        raise NotInstalledError("; ".join(missing) or "no backend is installed")
    for reason in missing:
        message(f"skipped: {reason}")
    return found


def _write(report: Report) -> None:
    rows = [
        [
            check.quantity,
            "/".join(check.pair),
            f"{check.max_relative_error:.1e}",
            f"{check.tolerance:.0e}",
            f"{check.noise:.1e}",
            OUTCOMES[check.outcome],
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
    rates = " to ".join(f"{rate:g}" for rate in dict.fromkeys(report.learning_rates))
    run = (
        f"{report.dtype}, {report.steps} steps of {report.batch_size} images from step "
        f"{report.first_step} on, learning rate {rates}"
    )
    write(f"{report.network}: {report.outcome} ({run})")
