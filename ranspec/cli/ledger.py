"""The ledger of `ranspec count --paper`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ranspec.cli.output import (
    Column,
    integer,
    message,
    percent,
    shape,
    write,
    write_json,
    write_table,
)
from ranspec.errors import printable

if TYPE_CHECKING:
    from ranspec.analysis.ledger import Comparison, Entry

COLUMNS = (
    Column("spec", right=False),
    Column("input"),
    Column("parameters"),
    Column("printed"),
    Column("difference"),
    Column("MACs"),
    Column("printed"),
    Column("difference"),
    Column("explanation", right=False),
    Column("not explained", right=False),
)

INTRODUCTION = """\
# What the papers print, and what their networks hold

Parameters are the trainable ones; MACs are multiply-accumulates of convolutions and linear layers,
for one image. Each difference is from the figure that the source prints. This page is the output of
`ranspec count --paper --format markdown`.
"""


def write_ledger(
    specs: Sequence[str],
    overrides: Sequence[str],
    output_format: Literal["table", "json", "markdown"],
) -> None:
    """Write the ledger of some specs, or of all that are known."""
    from ranspec.analysis.ledger import entry
    from ranspec.spec import SpecError, available_specs, load_spec

    entries = []
    for name in specs or available_specs():
        try:
            entries.append(entry(name, load_spec(name, overrides)))
        except SpecError:
            if specs:
                raise
            message(f"{printable(name)}: has mistakes; see `ranspec check {printable(name)}`")
    if output_format == "json":
        return write_json([item.as_dict() for item in entries])
    markdown = output_format == "markdown"
    if markdown:
        write(INTRODUCTION)
    write_table(COLUMNS, map(_cells, entries), markdown=markdown)
    write("")
    write(summary(entries))


def summary(entries: Sequence[Entry]) -> str:
    """Count the figures that agree, are explained, and are not."""
    found = [item for entry in entries for item in entry.comparisons]
    agree = sum(item.agrees for item in found)
    explained = sum(item.explanation is not None for item in found) - agree
    return (
        f"{len(entries)} specs, {len(found)} printed figures: {agree} are ours as printed, "
        f"{explained} by another way to count or round, {len(found) - agree - explained} are not."
    )


def _cells(item: Entry) -> list[str]:
    parameters, macs = item.comparison("parameters"), item.comparison("MACs")
    return [
        item.name,
        shape(item.counted.graph.input),
        integer(item.counted.trainable_parameters),
        *_printed(parameters),
        integer(macs.ours if macs else item.counted.macs),
        *_printed(macs),
        item.explanation,
        item.remains,
    ]


def _printed(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["", ""]
    return [str(comparison.printed), percent(comparison.difference)]
