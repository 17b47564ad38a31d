"""`ranspec list`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from ranspec.cli.output import (
    Column,
    integer,
    message,
    scaled,
    write,
    write_json,
    write_table,
)
from ranspec.errors import printable

Kind = Literal["specs", "backends", "devices"]


def list_names(
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="[specs|backends|devices]",
            help="What to list; specs and backends if left out.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """List the known specs and backends, or devices to plan for."""
    found = {}
    if kind in (None, "specs"):
        found["specs"] = _specs()
    if kind in (None, "backends"):
        found["backends"] = _backends()
    if kind == "devices":
        found["devices"] = _devices()
    if output_format == "json":
        return write_json(found)
    for position, (name, entries) in enumerate(found.items()):
        if position:
            write("")
        WRITERS[name](entries)


def _specs() -> list[dict[str, Any]]:
    from ranspec.analysis.count import NetworkCounter
    from ranspec.ir.builder import BuildError
    from ranspec.spec import SpecError, available_specs, load_spec

    found = []
    counter = NetworkCounter()
    for name in available_specs():
        try:
            spec = load_spec(name).spec
            sizes, cost = counter.count(spec)
        except (SpecError, BuildError):
            message(f"{printable(name)}: has mistakes; see `ranspec check {printable(name)}`")
            continue
        found.append(
            {
                "name": name,
                "input": list(sizes),
                "parameters": cost.parameters,
                "macs": cost.macs,
                "source": spec.source,
            }
        )
    return found


def _backends() -> list[dict[str, Any]]:
    from ranspec.codegen.backend import available_backends, load_backend

    found = []
    for name in available_backends():
        try:
            backend = load_backend(name)
        except ImportError as error:
            message(f"backend {name} cannot be loaded: {error}")
            continue
        found.append(
            {
                "name": name,
                "title": backend.title,
                "trains": backend.trains,
                "embeds_weights": backend.embeds_weights,
                "dtypes": list(backend.dtypes),
                "requirements": list(backend.requirements.values()),
            }
        )
    return found


def _write_specs(entries: list[dict[str, Any]]) -> None:
    columns = [
        Column("spec", right=False),
        Column("input"),
        Column("parameters"),
        Column("MACs"),
        Column("source", right=False),
    ]
    write_table(
        columns,
        (
            [
                entry["name"],
                "x".join(map(str, entry["input"])),
                integer(entry["parameters"]),
                scaled(entry["macs"]),
                _one_line(entry["source"]),
            ]
            for entry in entries
        ),
    )


def _write_backends(entries: list[dict[str, Any]]) -> None:
    columns = [
        Column("backend", right=False),
        Column("framework", right=False),
        Column("what it can do", right=False),
        Column("needs", right=False),
    ]
    write_table(
        columns,
        (
            [entry["name"], entry["title"], _abilities(entry), ", ".join(entry["requirements"])]
            for entry in entries
        ),
    )


def _abilities(entry: dict[str, Any]) -> str:
    done = "trains and infers" if entry["trains"] else "infers"
    return f"{done}, with weights in the model" if entry["embeds_weights"] else done


def _one_line(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def _devices() -> list[dict[str, Any]]:
    from ranspec.planning.devices import device_names, load_device

    return [
        {"name": name, **load_device(name).model_dump(mode="json", exclude={"software"})}
        for name in device_names()
    ]


def _write_devices(entries: list[dict[str, Any]]) -> None:
    columns = [
        Column("device", right=False),
        Column("memory"),
        Column("bandwidth"),
        Column("TFLOP/s", right=False),
        Column("source", right=False),
    ]
    rows = [
        [
            entry["name"],
            f"{entry['memory'] / 1e9:.0f} GB",
            f"{entry['bandwidth'] / 1e9:,.0f} GB/s",
            ", ".join(f"{name} {peak / 1e12:.3g}" for name, peak in entry["peak"].items()),
            _one_line(entry["source"]),
        ]
        for entry in entries
    ]
    write_table(columns, rows)


WRITERS = {"specs": _write_specs, "backends": _write_backends, "devices": _write_devices}
