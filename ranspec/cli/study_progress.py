"""How far the runs of a study are, as a terminal shows it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranspec.cli.output import Column, message, write, write_table

if TYPE_CHECKING:
    from ranspec.studies.jobs import Job
    from ranspec.studies.status import Phase, Status

REFRESH = 1.0
"""Seconds between looks at the folder, for what is shown."""
COLUMNS = (
    Column("network", right=False),
    Column("backend", right=False),
    Column("seed"),
    Column("state", right=False),
    Column("step"),
    Column("error"),
    Column("images/s"),
    Column("left"),
    Column("", right=False),
)
FIRST: tuple[Phase, ...] = ("running", "failed", "diverged", "interrupted", "waiting", "finished")
"""What a terminal shows first that has not lines for all."""
COUNTED: tuple[Phase, ...] = (
    "finished",
    "running",
    "interrupted",
    "waiting",
    "diverged",
    "failed",
)
COLOURS = {"running": "cyan", "finished": "green", "failed": "red", "diverged": "red"}


@contextmanager
def watched(root: Path, jobs: Sequence[Job]) -> Iterator[Callable[[], None]]:
    """Show how far jobs are while they run; yield what is to be called again and again."""
    from ranspec.studies.status import read_status

    over: dict[str, Status] = {}

    def look() -> list[Status]:
        found = [over.get(job.key) or read_status(root, job) for job in jobs]
        over.update((each.job.key, each) for each in found if each.phase == "finished")
        return found

    with shown(look) as show:
        yield show


@contextmanager
def shown(look: Callable[[], Sequence[Status]]) -> Iterator[Callable[[], None]]:
    """Yield what shows anew what `look` returns, once a second at most.

    A table that changes where stderr is a terminal, else a line whenever a run's state changes.
    """
    last = -REFRESH

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last < REFRESH:
            return False
        last = time.monotonic()
        return True

    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        phases: dict[str, str] = {each.job.key: each.phase for each in look()}

        def tell() -> None:
            for each in look() if due() else ():
                if phases.get(each.job.key) != each.phase:
                    message(f"{label(each)}: {line(each)}")
                phases[each.job.key] = each.phase

        yield tell
        last = -REFRESH
        tell()
        return

    with Live(console=console, auto_refresh=False, transient=True) as live:

        def draw() -> None:
            if due():
                live.update(live_table(look(), console.height), refresh=True)

        yield draw


def live_table(found: Sequence[Status], height: int) -> Any:
    """Return the table of jobs for a terminal of so many lines, which may not hold them all."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=summary(found), caption_justify="left", box=None, pad_edge=False)
    for column in COLUMNS:
        justify = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    ranked = sorted(found, key=lambda each: FIRST.index(each.phase))
    shown = set(map(id, ranked[: max(1, height - 4)]))
    for each in found:
        if id(each) in shown:
            style = COLOURS.get(each.phase, "")
            cells = (Text(cell) for cell in row(each))
            table.add_row(*cells, style=style)
    return table


def write_statuses(found: Sequence[Status]) -> None:
    """Write how far jobs are as a table."""
    write_table(COLUMNS, map(row, found))
    write(summary(found))


def row(each: Status) -> list[str]:
    """Return what a table shows of a job."""
    step = f"{each.step:,}" + (f" of {each.steps:,}" if each.steps else "")
    speed = each.images_per_second
    return [
        each.job.row,
        each.job.backend,
        str(each.job.seed),
        each.phase,
        step if each.phase != "waiting" else "",
        "" if each.error is None else f"{each.error:.2%}",
        "" if speed is None else f"{speed:,.0f}",
        "" if each.seconds_left is None else duration(each.seconds_left),
        each.reason,
    ]


def label(each: Status) -> str:
    """Return what tells a job apart."""
    return f"{each.job.row}, {each.job.backend}, seed {each.job.seed}"


def line(each: Status) -> str:
    """Say in a line how far a job is."""
    parts: list[str] = [each.phase]
    if each.phase == "finished" and each.error is not None:
        parts.append(f"error {each.error:.2%}")
    if each.phase == "running" and each.host:
        parts.append(f"on {each.host}")
    return ", ".join(filter(None, [*parts, each.reason]))


def summary(found: Sequence[Status]) -> str:
    """Count jobs by state: `2 finished, 1 waiting`."""
    counts = Counter(each.phase for each in found)
    return ", ".join(f"{counts[phase]} {phase}" for phase in COUNTED if counts[phase]) or "no runs"


def duration(seconds: float) -> str:
    """Write a duration: 3:04:05, or 4:05 below an hour."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
