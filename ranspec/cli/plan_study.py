"""`ranspec plan --study`: how long the runs of a study take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ranspec.cli.output import Column, duration, integer, seconds, write, write_json, write_table
from ranspec.errors import printable

if TYPE_CHECKING:
    from ranspec.planning.devices import Device
    from ranspec.planning.plan import Plan
    from ranspec.studies.jobs import Job


def write_study(
    name: str,
    scale: str,
    device: Device,
    devices: int,
    precision: str | None,
    output_format: Literal["table", "json"],
) -> None:
    """Write how long each run of a study takes on one device, and all of them on several."""
    from ranspec.planning.plan import makespan
    from ranspec.studies.jobs import jobs
    from ranspec.studies.loader import load_study
    from ranspec.studies.scaling import parse_scale

    loaded = load_study(name)
    chosen = jobs(loaded, scale=parse_scale(scale))
    plans = planned(chosen, device, precision)
    each = [plans[_decisive(job)].run.seconds for job in chosen]
    taken = makespan(each, devices)
    if output_format == "json":
        return write_json(
            {
                "study": loaded.name,
                "device": device.title,
                "devices": devices,
                "runs": [
                    {"key": job.key, "seconds": time}
                    for job, time in zip(chosen, each, strict=True)
                ],
                "device_seconds": sum(each),
                "seconds": taken,
            }
        )
    write(f"{printable(loaded.study.heading)} at scale {scale} on {device.title}")
    write("")
    columns = [
        Column("network", right=False),
        Column("backend", right=False),
        Column("runs"),
        Column("steps"),
        Column("step"),
        Column("a run"),
    ]
    rows = []
    for (row, backend), runs in _grouped(chosen).items():
        plan = plans[_decisive(runs[0])]
        steps = integer(plan.run.iterations)
        times = seconds(plan.step.seconds), duration(plan.run.seconds)
        rows.append([row, backend, str(len(runs)), steps, *times])
    write_table(columns, rows)
    write("")
    count = f"{devices} devices, each a run at a time" if devices > 1 else "one device"
    return write(
        f"{len(chosen)} runs: {duration(sum(each))} of a device, {duration(taken)} on {count}"
    )


def planned(
    jobs: tuple[Job, ...], device: Device, precision: str | None
) -> dict[tuple[Any, ...], Plan]:
    """Return the plan of each run that differs from others by more than its seed."""
    from ranspec.planning.plan import plan_training
    from ranspec.studies.jobs import scaled_spec

    found: dict[tuple[Any, ...], Plan] = {}
    for job in jobs:
        key = _decisive(job)
        if key not in found:
            plans = plan_training(scaled_spec(job), device, precision=precision)
            own = [plan for plan in plans if plan.software_name == job.backend]
            found[key] = (own or plans)[0]
    return found


def _decisive(job: Job) -> tuple[Any, ...]:
    return job.spec, job.overrides, job.backend


def _grouped(jobs: tuple[Job, ...]) -> dict[tuple[str, str], list[Job]]:
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.row, job.backend), []).append(job)
    return groups
