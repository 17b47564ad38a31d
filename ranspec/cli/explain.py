"""`ranspec explain`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.options import SetOption, SpecArgument
from ranspec.cli.output import Column, integer, percent, write, write_json, write_table

if TYPE_CHECKING:
    from ranspec.analysis.figures import Figure
    from ranspec.analysis.readings import Reading, Search, Target
    from ranspec.spec import LoadedSpec

MOST_COMBINATIONS = 2_000_000
SILENT_SECONDS = 1.0


def explain(
    spec: SpecArgument,
    overrides: SetOption,
    vary: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="KEY[=VALUES]",
            help="Vary this choice alone, or over other values: attention.t=[1,2]; may be "
            "repeated.",
        ),
    ],
    parameters: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Printed parameters, such as 8.6M.")
    ] = None,
    macs: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Printed multiply-adds, such as 10.4G.")
    ] = None,
    convention: Annotated[
        Literal["trainable", "with-statistics", "all"],
        typer.Option(help="What the source may have counted: without or with BN statistics."),
    ] = "all",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Readings to list.")] = 20,
    output_format: Annotated[
        Literal["table", "json", "markdown"],
        typer.Option("--format", help="How to write the result."),
    ] = "table",
) -> None:
    """Find how to read a paper so that its printed figures come out.

    Tries every combination of what the spec's source leaves open (its `alternatives`) and lists
    those that round to the printed figures with what each changes, fewest changes first; where
    there are none, the nearest. Exits 1 where there are none.
    """
    from ranspec.analysis.readings import CONVENTIONS, Target, choices_of, search, size_of
    from ranspec.spec import load_spec

    target = Target(
        _figure(parameters, "--parameters") if parameters else None,
        _figure(macs, "--macs") if macs else None,
    )
    if target.parameters is None and target.macs is None:
        raise typer.BadParameter("give --parameters, --macs or both")
    loaded = load_spec(spec, overrides)
    choices = choices_of(loaded.spec, _alternatives(loaded, vary))
    total = size_of(choices)
    if total > MOST_COMBINATIONS:
        widest = sorted(choices, key=lambda key: -len(choices[key]))[:3]
        raise typer.BadParameter(
            f"{total:,} combinations are more than {MOST_COMBINATIONS:,}; name with --vary only "
            f"the choices to try (most values: {', '.join(widest)})",
            param_hint="--vary",
        )
    conventions = list(CONVENTIONS) if convention == "all" else [convention]
    with _progress(total) as advance:
        found = search(
            loaded.spec, choices, target, conventions=conventions, limit=limit, progress=advance
        )
    if output_format == "json":
        write_json(_object(loaded.spec.name, target, choices, found))
    else:
        _write(loaded.spec.name, target, found, output_format == "markdown")
    if not found.matching:
        raise typer.Exit(1)


def _figure(text: str, option: str) -> Figure:
    from ranspec.analysis.figures import Figure

    try:
        return Figure.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _alternatives(loaded: LoadedSpec, vary: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the choices to vary; raise BadParameter for one that is none."""
    from ranspec.spec.alternatives import Readings, parse_alternative
    from ranspec.spec.errors import SpecError, did_you_mean

    declared = dict(loaded.spec.alternatives or {})
    if not vary and not declared:
        raise typer.BadParameter(
            f"{loaded.spec.name} declares no alternatives; name what to vary, such as "
            "--vary attention.t=[1,2]",
            param_hint="--vary",
        )
    if not vary:
        return declared
    chosen: dict[str, tuple[Any, ...]] = {}
    for text in vary:
        if "=" not in text:
            if text not in declared:
                near = did_you_mean(text, declared) or f"; there are {', '.join(declared)}"
                raise typer.BadParameter(
                    f"{text!r} is not among the spec's alternatives{near if declared else ''}",
                    param_hint="--vary",
                )
            chosen[text] = declared[text]
            continue
        try:
            key, values = parse_alternative(text)
        except SpecError as error:
            raise typer.BadParameter(error.problems[0].message, param_hint="--vary") from None
        readings = Readings(loaded.spec)
        for value in values:
            if problem := readings.problem(key, value):
                raise typer.BadParameter(f"{key}: {problem}", param_hint="--vary")
        chosen[key] = values
    return chosen


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, at a terminal, once the work has taken a second."""
    if not sys.stderr.isatty():
        yield lambda tried: None
        return
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("reading", total=total)

    def advance(tried: int) -> None:
        bar.advance(task, tried)
        if not bar.live.is_started and time.monotonic() - start > SILENT_SECONDS:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def _changes(reading: Reading) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in reading.changes.items()) or "none"


def _value(value: Any) -> str:
    from json import dumps

    return value if isinstance(value, str) else dumps(value)


def _differences(reading: Reading, target: Target) -> Mapping[str, float]:
    from ranspec.analysis.figures import relative_difference

    pairs = {
        "parameters": (reading.parameters, target.parameters),
        "macs": (reading.macs, target.macs),
    }
    return {
        name: relative_difference(ours, figure.value)
        for name, (ours, figure) in pairs.items()
        if figure is not None
    }


def _wanted(target: Target) -> str:
    named = ((target.parameters, "parameters"), (target.macs, "MACs"))
    return " and ".join(f"{figure} {title}" for figure, title in named if figure is not None)


def _write(name: str, target: Target, found: Search, markdown: bool) -> None:
    impossible = f" ({integer(found.impossible)} cannot be built)" * bool(found.impossible)
    tried = f"{integer(found.tried)} combinations{impossible}"
    if found.matching:
        shown = f"; the first {len(found.best)}" * (found.matching > len(found.best))
        verb = "prints" if found.matching == 1 else "print"
        write(f"{name}: {integer(found.matching)} of {tried} {verb} {_wanted(target)}{shown}:")
    else:
        write(f"{name}: none of {tried} prints {_wanted(target)}; the nearest:")
    write("")
    columns = [
        Column("changes", right=False),
        Column("counting", right=False),
        Column("parameters"),
        Column("MACs"),
    ]
    titles = {"parameters": "parameters off", "macs": "MACs off"}
    given = [key for key in titles if getattr(target, key) is not None]
    columns += [Column(titles[key]) for key in given]
    rows = [
        [
            _changes(reading),
            reading.convention,
            integer(reading.parameters),
            integer(reading.macs),
            *(percent(_differences(reading, target)[key]) for key in given),
        ]
        for reading in found.best
        if reading.matches or not found.matching
    ]
    write_table(columns, rows, markdown=markdown)


def _object(
    name: str, target: Target, choices: Mapping[str, tuple[Any, ...]], found: Search
) -> dict[str, Any]:
    return {
        "name": name,
        "printed": {
            "parameters": target.parameters and target.parameters.value,
            "macs": target.macs and target.macs.value,
        },
        "alternatives": {key: list(values) for key, values in choices.items()},
        "tried": found.tried,
        "impossible": found.impossible,
        "matching": found.matching,
        "readings": [
            {
                "changes": dict(reading.changes),
                "convention": reading.convention,
                "parameters": reading.parameters,
                "macs": reading.macs,
                "matches": reading.matches,
                "relative_differences": _differences(reading, target),
            }
            for reading in found.best
        ],
    }
