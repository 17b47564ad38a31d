"""`ranspec count`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.options import OptionalSpecsArgument, SetOption, parse_input
from ranspec.cli.output import (
    Column,
    integer,
    megabytes,
    percent,
    scaled,
    shape,
    write,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from ranspec.analysis.conventions import Reported
    from ranspec.analysis.count import Count, Row
    from ranspec.analysis.receptive_field import Field

Format = Literal["table", "json", "markdown"]
Grouping = Literal["layer", "block", "stage", "total"]


def complete_convention(incomplete: str) -> list[str]:
    """Complete the name of a convention."""
    from ranspec.analysis.conventions import CONVENTIONS

    return [name for name in (*CONVENTIONS, "all") if name.startswith(incomplete)]


ROWS = (
    Column("path", right=False),
    Column("layers", right=False),
    Column("output"),
    Column("parameters"),
    Column("BN statistics"),
    Column("MACs"),
    Column("FLOPs"),
)


def count(
    specs: OptionalSpecsArgument,
    overrides: SetOption,
    conventions: Annotated[
        list[str],
        typer.Option(
            "--convention",
            default_factory=list,
            show_default=False,
            metavar="NAME",
            help="What another counter would report, said exactly; may be repeated; `all` for all.",
            autocompletion=complete_convention,
        ),
    ],
    by: Annotated[
        Grouping | None,
        typer.Option(
            "--by", help="One row for each of these; by default stage, total for several specs."
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input", metavar="HxW", help="Count for images of another size."),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="Compare with all that the papers print: the given specs, or every known one.",
        ),
    ] = False,
    output_format: Annotated[
        Format, typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Count parameters and cost, beside what the papers print.

    Parameters are the trainable ones; batch-norm statistics are listed apart. A MAC is one
    multiply-accumulate of a convolution or linear layer; FLOPs are floating-point operations of
    everything, 2 for each MAC. Costs are for one image, forward.
    """
    if paper:
        from ranspec.cli.ledger import write_ledger

        if conventions or by or input_size:
            raise typer.BadParameter("--paper goes without --convention, --by and --input")
        return write_ledger(specs, overrides, output_format)
    if not specs:
        raise typer.BadParameter("name a spec, or give --paper for all", param_hint="SPEC")
    size = parse_input(input_size) if input_size else None
    names = _conventions(conventions)
    counted = [_count(name, overrides, size) for name in specs]
    grouping = by or ("stage" if len(specs) == 1 else "total")
    if output_format == "json":
        objects = [_object(item, grouping, names) for item in counted]
        return write_json(objects[0] if len(objects) == 1 else objects)
    markdown = output_format == "markdown"
    labels = [_label(name, item) for name, item in zip(specs, counted, strict=True)]
    if grouping == "total":
        _write_totals(labels, counted, markdown)
    else:
        for item in counted:
            _write_one(item, grouping, markdown)
    if names:
        _write_conventions(labels, counted, names, markdown)


def _count(name: str, overrides: Sequence[str], size: tuple[int, int] | None) -> Count:
    from ranspec.analysis.count import count as count_graph
    from ranspec.compile import compile_spec
    from ranspec.spec import load_spec

    return count_graph(compile_spec(load_spec(name, overrides), input_size=size))


def _conventions(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    from ranspec.analysis.conventions import CONVENTIONS

    chosen = list(CONVENTIONS) if "all" in names else list(dict.fromkeys(names))
    for name in chosen:
        if name not in CONVENTIONS:
            from ranspec.spec.errors import did_you_mean

            near = did_you_mean(name, CONVENTIONS) or f"; there are {', '.join(CONVENTIONS)}"
            raise typer.BadParameter(
                f"unknown convention {name!r}{near}", param_hint="--convention"
            )
    return chosen


def _object(item: Count, grouping: Grouping, conventions: Sequence[str]) -> dict[str, Any]:
    from ranspec.analysis.count import row_dict

    result = item.as_dict()
    if grouping in ("block", "stage"):
        result[f"{grouping}s"] = [row_dict(row) for row in item.rows(grouping)]
    if conventions:
        from dataclasses import asdict

        result["conventions"] = [asdict(found) for found in _reported(item, conventions)]
    return result


def _reported(item: Count, conventions: Sequence[str]) -> list[Reported]:
    from ranspec.analysis.conventions import report

    return [report(item, name) for name in conventions]


def _label(source: str, item: Count) -> str:
    """Return the name by which a spec was asked for: specs in folders may share their last part."""
    return item.name if source.endswith((".yaml", ".yml")) else source


def _write_totals(labels: Sequence[str], counted: Sequence[Count], markdown: bool) -> None:
    columns = [
        Column("spec", right=False),
        Column("input"),
        Column("depth"),
        Column("parameters"),
        Column("BN statistics"),
        Column("MACs"),
        Column("FLOPs"),
        Column("activations"),
    ]
    rows = [
        [
            label,
            shape(item.graph.input),
            str(item.trunk_depth),
            integer(item.trainable_parameters),
            integer(item.batch_norm_statistics),
            scaled(item.macs),
            scaled(item.flops),
            megabytes(item.activation_bytes),
        ]
        for label, item in zip(labels, counted, strict=True)
    ]
    for quantity, title in (("parameters", "parameters"), ("macs", "MACs")):
        printed = [getattr(item.paper, quantity, None) for item in counted]
        if any(printed):
            columns += [Column(f"paper {title}"), Column("difference")]
            for row, item, figure in zip(rows, counted, printed, strict=True):
                difference = item.relative_differences[quantity]
                row += [
                    "" if figure is None else scaled(figure),
                    "" if difference is None else percent(difference),
                ]
    write_table(columns, rows, markdown=markdown)


def _write_one(item: Count, grouping: Literal["layer", "block", "stage"], markdown: bool) -> None:
    heading = f"{item.name}: input {shape(item.graph.input)}, trunk depth {item.trunk_depth}"
    write(f"**{heading}**\n" if markdown else heading)
    fields = {stage.path: (stage.trunk, stage.mask) for stage in item.receptive_fields}
    columns = list(ROWS)
    rows = [_cells(row) for row in item.rows(grouping)]
    rows.append(_totals(item))
    if grouping == "stage":
        columns += [Column("receptive field"), Column("of mask")]
        for row in rows:
            trunk, mask = fields.get(row[0], (None, None))
            row += [_window(trunk), _window(mask)]
    write_table(columns, rows, markdown=markdown)
    write("")
    for line in _facts(item):
        write(f"- {line}" if markdown else line)
    write("")


def _cells(row: Row) -> list[str]:
    cost = row.cost
    numbers = map(integer, (cost.parameters, cost.statistics, cost.macs, cost.flops))
    return [row.path, row.op, shape(row.output), *numbers]


def _totals(item: Count) -> list[str]:
    cost = item.cost
    numbers = map(integer, (cost.parameters, cost.statistics, cost.macs, cost.flops))
    return ["total", "", "", *numbers]


def _window(field: Field | None) -> str:
    """Write a receptive field: 51, or 51x47 where it is not square."""
    if field is None:
        return ""
    height, width = field.size
    return str(height) if height == width else f"{height}x{width}"


def _facts(item: Count) -> list[str]:
    lines = [
        "parameters are the trainable ones; MACs are multiply-accumulates of convolutions and "
        "linear layers; FLOPs are of everything, 2 for each MAC",
        f"training keeps {megabytes(item.activation_bytes)} of activations per image (float32)",
    ]
    paper = item.paper
    if paper is None:
        return lines
    for quantity, title, ours, printed in (
        ("parameters", "parameters", item.trainable_parameters, paper.parameters),
        ("macs", "MACs", item.macs, paper.macs),
    ):
        difference = item.relative_differences[quantity]
        if printed is not None and difference is not None:
            explained = (
                f" ({item.explanation})" if quantity == "parameters" and item.explanation else ""
            )
            lines.append(
                f"the paper prints {scaled(printed)} {title}; here {scaled(ours)}, "
                f"{percent(difference)}{explained}"
            )
        elif printed is not None:
            image = shape(paper.macs_input)
            lines.append(f"the paper prints {scaled(printed)} {title}, for images of {image}")
    return lines + ([paper.comment] if paper.comment else [])


def _write_conventions(
    labels: Sequence[str], counted: Sequence[Count], names: Sequence[str], markdown: bool
) -> None:
    columns = [
        Column("spec", right=False),
        Column("convention", right=False),
        Column("parameters"),
        Column("which are", right=False),
        Column("cost"),
        Column("which is", right=False),
    ]
    rows = [
        [
            label,
            found.convention,
            integer(found.parameters),
            found.parameters_are,
            integer(found.cost),
            found.cost_is,
        ]
        for label, item in zip(labels, counted, strict=True)
        for found in _reported(item, names)
    ]
    write_table(columns, rows, markdown=markdown)
