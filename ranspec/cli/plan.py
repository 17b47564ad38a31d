"""`ranspec plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ranspec.cli.options import BackendsOption, OptionalSpecArgument, SetOption
from ranspec.cli.output import (
    Column,
    duration,
    integer,
    message,
    scaled,
    seconds,
    size,
    write,
    write_json,
    write_table,
)
from ranspec.cli.study_options import ScaleOption

if TYPE_CHECKING:
    from ranspec.planning.devices import Device
    from ranspec.planning.plan import Plan

DEFAULT_DEVICE = "a100-80"


def complete_device(incomplete: str) -> list[str]:
    """Complete the name of a device."""
    from ranspec.planning.devices import HERE, device_names

    names = dict.fromkeys((*device_names(), HERE))
    return [name for name in names if name.startswith(incomplete)]


def plan(
    overrides: SetOption,
    backends: BackendsOption,
    spec: OptionalSpecArgument = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME|FILE",
            help="A device of `ranspec list devices`, or a YAML file that describes one; `here` is "
            f"this machine as measured. Default: here if it was, else {DEFAULT_DEVICE}.",
            autocompletion=complete_device,
        ),
    ] = None,
    devices: Annotated[
        int, typer.Option("--devices", min=1, max=1_000_000, help="How many share each batch.")
    ] = 1,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            max=100_000_000,
            help="Images of a step on all devices together; by default the spec's.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="bfloat16, tf32, float32 or float64; by default what generated code chooses.",
        ),
    ] = None,
    local_batch_norm: Annotated[
        bool,
        typer.Option(
            "--local-batch-norm",
            help="Each device normalises by its own images, as train.py's option of that name has "
            "it; else the sums of each batch norm are exchanged four times a step.",
        ),
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First measure what frameworks reach of this machine's processors, with small "
            "networks and in some minutes for each; kept as the device `here`.",
        ),
    ] = False,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="STUDY",
            help="A study of `ranspec study list`, not a SPEC: each of its runs on a device of "
            "its own, as many at once as there are --devices.",
        ),
    ] = None,
    scale: ScaleOption = "1",
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How to write the result.")
    ] = "table",
) -> None:
    """Tell what training a network will cost: memory, a step, more devices, the whole recipe.

    Times follow from the arithmetic and the traffic of every layer, and what the device can do of
    either: docs/scaling.md tells how, and how far off they are.
    """
    from ranspec.planning.devices import HERE, load_device, measured_file

    if measure:
        measure_here(backends)
        device = device or HERE
        if spec is None and study is None:
            return None
    if (spec is None) == (study is None):
        raise typer.BadParameter("name either a spec or a study", param_hint="SPEC or --study")
    name = device or (HERE if measured_file().exists() else DEFAULT_DEVICE)
    from ranspec.planning.plan import plan_training
    from ranspec.spec import load_spec

    chosen = chosen_software(load_device(name), backends)
    if study is not None:
        from ranspec.cli.plan_study import write_study

        if overrides or batch:
            raise typer.BadParameter("goes without --set and --batch", param_hint="--study")
        return write_study(study, scale, chosen, devices, precision, output_format)
    assert spec is not None
    plans = plan_training(
        load_spec(spec, overrides),
        chosen,
        devices=devices,
        batch=batch,
        precision=precision,
        local_batch_norm=local_batch_norm,
    )
    if output_format == "json":
        return write_json([item.as_dict() for item in plans])
    return _write(plans)


def chosen_software(device: Device, names: Sequence[str]) -> Device:
    """Return a device with what was measured of some frameworks alone."""
    for name in names:
        if device.software and name not in device.software:
            there = ", ".join(device.software)
            raise typer.BadParameter(
                f"{name} was not measured on {device.title}; {there} was", param_hint="--backend"
            )
    software = {name: device.software[name] for name in names if device.software}
    return device.model_copy(update={"software": software}) if software else device


def measure_here(names: Sequence[str]) -> None:
    """Measure this machine, and keep what was found for `--device here`."""
    from ranspec.cli.files import write_whole
    from ranspec.codegen.backend import load_backend, require_installed, require_training
    from ranspec.planning.devices import measured_file, written
    from ranspec.planning.measure import measure_device, trained_backends

    backends = [load_backend(name) for name in names]
    for backend in backends:
        require_training(backend)
        require_installed(backend)
    found = measure_device(backends or trained_backends(), message)
    path = measured_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, written(found))
    message(f"{found.title}: kept in {path}")


def _write(plans: Sequence[Plan]) -> None:
    best = min(plans, key=lambda plan: plan.step.seconds)
    devices = f"{best.devices} x " if best.devices > 1 else ""
    write(
        f"{best.spec.name} on {devices}{best.device.title}: batch {integer(best.batch)}, "
        f"{best.precision}"
    )
    write("")
    _write_memory(best)
    write("")
    _write_steps(plans)
    write("")
    _write_kinds(best)
    write("")
    _write_scaling(best)
    write("")
    for line in _facts(best):
        write(line)


def _write_memory(plan: Plan) -> None:
    memory, images = plan.memory, plan.images
    rows = [
        ("weights and statistics", memory.weights),
        ("gradients", memory.gradients),
        ("optimiser", memory.optimizer),
        (
            f"kept for the backward pass, {integer(images)} x {size(memory.kept)}",
            images * memory.kept,
        ),
        ("largest gradients of a layer", images * memory.workspace),
        ("images of the data set", memory.data),
        ("the framework itself", memory.framework),
        ("peak", memory.peak(images)),
    ]
    columns = [Column("memory of each device", right=False), Column("")]
    write_table(columns, [[title, size(found)] for title, found in rows if found])
    fits = "fits" if plan.fits else "does not fit"
    write(
        f"{fits} in {size(plan.device.memory)}; the largest batch that does is "
        f"{integer(plan.largest_batch)}"
    )


def _write_steps(plans: Sequence[Plan]) -> None:
    columns = [
        Column("step", right=False),
        Column("fused", right=False),
        Column("forward"),
        Column("backward"),
        Column("update"),
        Column("all-reduce"),
        Column("in all"),
        Column("images/s"),
        Column("whole recipe"),
    ]
    rows = []
    for plan in plans:
        step = plan.step
        parts = (
            step.forward,
            step.backward,
            step.update + step.besides,
            step.gradients + step.statistics,
            step.seconds,
        )
        rows.append(
            [
                plan.software_name,
                "yes" if plan.software.fused else "no",
                *map(seconds, parts),
                f"{plan.images_per_second:,.0f}",
                duration(plan.run.seconds),
            ]
        )
    write_table(columns, rows)


def _write_kinds(plan: Plan) -> None:
    kinds = dict.fromkeys(layer.kind for layer in plan.layers)
    columns = [
        Column(f"layers ({plan.software_name})", right=False),
        Column("number"),
        Column("FLOPs"),
        Column("bytes"),
        Column("time"),
        Column("share"),
        Column("bound by", right=False),
    ]
    total = sum(layer.seconds for layer in plan.layers)
    rows = []
    for kind in kinds:
        layers = [layer for layer in plan.layers if layer.kind == kind]
        time = sum(layer.seconds for layer in layers)
        bounds = [layer.bound for layer in layers]
        rows.append(
            (
                time,
                [
                    kind,
                    integer(len(layers)),
                    scaled(sum(layer.flops for layer in layers)),
                    size(sum(layer.bytes for layer in layers)),
                    seconds(time),
                    f"{100 * time / total:.0f} %",
                    max(set(bounds), key=lambda bound: (bounds.count(bound), bound)),
                ],
            )
        )
    write_table(columns, [row for _, row in sorted(rows, key=lambda item: -item[0])])


def _write_scaling(plan: Plan) -> None:
    columns = [
        Column("devices"),
        Column("images each"),
        Column("gradients"),
        Column("batch norm"),
        Column("step"),
        Column("images/s"),
        Column("of each device's own speed"),
    ]
    rows = [
        [
            integer(item.devices),
            f"{plan.batch / item.devices:g}",
            seconds(item.step.gradients),
            seconds(item.step.statistics),
            seconds(item.step.seconds),
            f"{item.images_per_second:,.0f}",
            f"{100 * item.efficiency:.0f} %",
        ]
        for item in plan.scaling
    ]
    write_table(columns, rows)


def _facts(plan: Plan) -> list[str]:
    run, step = plan.run, plan.step
    lines = [
        f"more than {plan.most_paying} devices do less than half of what each would alone; "
        f"{plan.fastest} take the least time"
    ]
    if plan.devices > 1:
        lines.append(
            f"each device sends {size(plan.sent_bytes)} a step for {size(plan.gradient_bytes)} of "
            f"gradients; sent during the backward pass, a step would take "
            f"{seconds(step.overlapped)}"
        )
    epochs = f" ({run.epochs:,.0f} epochs)" if run.epochs else ""
    lines.append(
        f"the recipe: {integer(run.iterations)} steps{epochs} in {duration(run.training)}, "
        f"{integer(run.evaluations)} evaluations in {duration(run.evaluation)}"
    )
    if plan.decoding_cores:
        lines.append(f"decoding as many images takes {plan.decoding_cores:,.0f} cores")
    return lines
