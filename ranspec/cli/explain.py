"""`ranspec explain`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.options import SetOption, SpecsArgument
from ranspec.cli.output import Column, integer, percent, write, write_json, write_table

if TYPE_CHECKING:
    from ranspec.analysis.figures import Figure
    from ranspec.analysis.readings import Counted, Reading, Search, Target
    from ranspec.spec import LoadedSpec, Spec

MOST_COMBINATIONS = 50_000_000
SILENT_SECONDS = 1.0


def explain(
    specs: SpecsArgument,
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
    also: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="KEY=VALUES",
            help="Vary this choice too, beside those that the specs declare; may be repeated.",
        ),
    ],
    parameters: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="FIGURE",
            help="Printed parameters, such as 8.6M; one for each spec, in their order.",
        ),
    ],
    macs: Annotated[
        list[str],
        typer.Option(
            default_factory=list,
            show_default=False,
            metavar="FIGURE",
            help="Printed multiply-adds, such as 10.4G; one for each spec, in their order.",
        ),
    ],
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

    Tries every combination of what the source leaves open (the `alternatives` of the specs) and
    lists those that round to the printed figures with what each changes, fewest changes first;
    where there are none, the nearest. With several specs, one combination must give the figures
    of all. Without figures, those of the specs' own `paper` are taken. A value to try may be that
    of another key: `=attention.r`, `=2*attention.r`, `=attention.r+1`. Exits 1 where no
    combination gives the figures.
    """
    from ranspec.analysis.readings import CONVENTIONS, choices_of, search, size_of
    from ranspec.spec import load_spec

    loaded = [load_spec(name, overrides) for name in specs]
    targets = _targets(loaded, parameters, macs)
    choices = choices_of([item.spec for item in loaded], _alternatives(loaded, vary, also))
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
        found = search(targets, choices, conventions=conventions, limit=limit, progress=advance)
    if output_format == "json":
        write_json(_object(targets, choices, found))
    else:
        _write(targets, found, output_format == "markdown")
    if not found.matching:
        raise typer.Exit(1)


def _targets(
    loaded: Sequence[LoadedSpec], parameters: Sequence[str], macs: Sequence[str]
) -> list[Target]:
    """Return what is printed of each spec: the given figures, or those of its `paper`."""
    from ranspec.analysis.readings import Target

    if not parameters and not macs:
        targets = [_printed(item.spec) for item in loaded]
        silent = [
            target.spec.name for target in targets if not target.parameters and not target.macs
        ]
        if silent:
            raise typer.BadParameter(
                f"give --parameters, --macs or both; `paper` of {', '.join(silent)} has no figures"
            )
        return targets
    for option, figures in (("--parameters", parameters), ("--macs", macs)):
        if figures and len(figures) != len(loaded):
            raise typer.BadParameter(
                f"found {len(figures)} for {len(loaded)} specs, expected one for each",
                param_hint=option,
            )
    return [
        Target(
            item.spec,
            _figure(parameters[index], "--parameters") if parameters else None,
            _figure(macs[index], "--macs") if macs else None,
        )
        for index, item in enumerate(loaded)
    ]


def _printed(spec: Spec) -> Target:
    from ranspec.analysis.figures import Figure
    from ranspec.analysis.readings import Target

    paper = spec.paper
    if paper is None:
        return Target(spec, None, None)
    size = paper.macs_input
    same_input = size is None or (size, size) == (spec.input.height, spec.input.width)
    return Target(
        spec,
        None if paper.parameters is None else Figure.of(paper.parameters),
        Figure.of(paper.macs) if paper.macs is not None and same_input else None,
    )


def _figure(text: str, option: str) -> Figure:
    from ranspec.analysis.figures import Figure

    try:
        return Figure.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _alternatives(
    loaded: Sequence[LoadedSpec], vary: Sequence[str], also: Sequence[str]
) -> dict[str, tuple[Any, ...]]:
    """Return the choices to vary; raise BadParameter for one that is none."""
    from ranspec.spec.errors import did_you_mean

    declared: dict[str, tuple[Any, ...]] = {}
    for item in loaded:
        for key, values in (item.spec.alternatives or {}).items():
            known = declared.get(key, ())
            declared[key] = (*known, *(value for value in values if value not in known))
    named = ", ".join(item.spec.name for item in loaded)
    if not vary and not also and not declared:
        declares = "declares" if len(loaded) == 1 else "declare"
        raise typer.BadParameter(
            f"{named} {declares} no alternatives; name what to vary, such as "
            "--vary attention.t=[1,2]",
            param_hint="--vary",
        )
    chosen = {} if vary else dict(declared)
    for text in vary:
        if "=" in text:
            chosen |= _given(loaded, text, "--vary")
        elif text in declared:
            chosen[text] = declared[text]
        else:
            near = did_you_mean(text, declared) or f"; there are {', '.join(declared)}"
            whose = "the spec's" if len(loaded) == 1 else "the specs'"
            raise typer.BadParameter(
                f"{text!r} is not among {whose} alternatives{near if declared else ''}",
                param_hint="--vary",
            )
    for text in also:
        chosen |= _given(loaded, text, "--also")
    return chosen


def _given(loaded: Sequence[LoadedSpec], text: str, option: str) -> dict[str, tuple[Any, ...]]:
    """Read `KEY=[VALUES]`, whose values must be possible in every spec."""
    from ranspec.spec.alternatives import Readings, parse_alternative
    from ranspec.spec.errors import SpecError

    try:
        key, values = parse_alternative(text)
    except SpecError as error:
        raise typer.BadParameter(error.problems[0].message, param_hint=option) from None
    for item in loaded:
        readings = Readings(item.spec)
        for value in values:
            if problem := readings.problem(key, value):
                where = f" in {item.spec.name}" if len(loaded) > 1 else ""
                raise typer.BadParameter(f"{key}{where}: {problem}", param_hint=option)
    return {key: values}


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


def _differences(counted: Counted, target: Target) -> dict[str, float]:
    from ranspec.analysis.figures import relative_difference

    pairs = {
        "parameters": (counted.parameters, target.parameters),
        "macs": (counted.macs, target.macs),
    }
    return {
        name: relative_difference(ours, figure.value)
        for name, (ours, figure) in pairs.items()
        if figure is not None
    }


def _wanted(targets: Sequence[Target]) -> str:
    lists = (
        ([target.parameters for target in targets], "parameters"),
        ([target.macs for target in targets], "MACs"),
    )
    return " and ".join(
        f"{_listed([str(figure) for figure in figures if figure is not None])} {title}"
        for figures, title in lists
        if any(figures)
    )


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _write(targets: Sequence[Target], found: Search, markdown: bool) -> None:
    names = _listed([target.spec.name for target in targets])
    impossible = f" ({integer(found.impossible)} cannot be built)" * bool(found.impossible)
    tried = f"{integer(found.tried)} combinations{impossible}"
    if found.matching:
        shown = f"; the first {len(found.best)}" * (found.matching > len(found.best))
        verb = "prints" if found.matching == 1 else "print"
        write(f"{names}: {integer(found.matching)} of {tried} {verb} {_wanted(targets)}{shown}:")
    else:
        write(f"{names}: none of {tried} prints {_wanted(targets)}; the nearest:")
    write("")
    readings = [item for item in found.best if item.matches or not found.matching]
    columns = [Column("changes", right=False), Column("counting", right=False)]
    rows = [[_changes(reading), reading.convention] for reading in readings]
    for index, target in enumerate(targets):
        prefix = f"{target.spec.name} " if len(targets) > 1 else ""
        for key, title in (("parameters", "parameters"), ("macs", "MACs")):
            asked = getattr(target, key) is not None
            if prefix and not asked:
                continue
            columns += [Column(prefix + title), *[Column("off")] * asked]
            for row, reading in zip(rows, readings, strict=True):
                counted = reading.networks[index]
                row.append(integer(getattr(counted, key)))
                if asked:
                    row.append(percent(_differences(counted, target)[key]))
    write_table(columns, rows, markdown=markdown)


def _object(
    targets: Sequence[Target], choices: Mapping[str, tuple[Any, ...]], found: Search
) -> dict[str, Any]:
    """Return the result as data for JSON; a single spec's figures stand at the top."""
    printed = [
        {
            "parameters": target.parameters and target.parameters.value,
            "macs": target.macs and target.macs.value,
        }
        for target in targets
    ]
    names = [target.spec.name for target in targets]
    return {
        **(
            {"name": names[0], "printed": printed[0]}
            if len(targets) == 1
            else {"names": names, "printed": printed}
        ),
        "alternatives": {key: list(values) for key, values in choices.items()},
        "tried": found.tried,
        "impossible": found.impossible,
        "pruned": found.pruned,
        "matching": found.matching,
        "readings": [_reading(reading, targets) for reading in found.best],
    }


def _reading(reading: Reading, targets: Sequence[Target]) -> dict[str, Any]:
    networks = [
        {
            "parameters": counted.parameters,
            "macs": counted.macs,
            "relative_differences": _differences(counted, target),
        }
        for counted, target in zip(reading.networks, targets, strict=True)
    ]
    return {
        "changes": dict(reading.changes),
        "convention": reading.convention,
        "matches": reading.matches,
        **(networks[0] if len(networks) == 1 else {"networks": networks}),
    }
