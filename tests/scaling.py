"""The tables of docs/scaling.md, as `ranspec plan` has their figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from ranspec.cli.output import duration, seconds
from ranspec.planning.devices import load_device
from ranspec.planning.plan import DECODED, Plan, plan_training
from ranspec.spec import load_spec

FILE = Path(__file__).parents[1] / "docs" / "scaling.md"
DEVICE = "h100"
COUNTS = (1, 2, 4, 8, 16, 64, 256, 1024)
IMAGES = 128
"""Images of each device where the batch grows with their number."""
IMAGENET_EPOCH = 1_281_167


def render() -> str:
    """Return docs/scaling.md with its tables brought up to date."""
    text = FILE.read_text(encoding="utf-8")
    for name, lines in {
        "cifar": whole_batch("attention92_cifar"),
        "imagenet": whole_batch("attention92_imagenet"),
        "growing": growing("attention92_imagenet"),
        "devices": devices("attention92_cifar", "attention92_imagenet"),
    }.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        block = "\n".join([begin, *lines, end])
        text, found = pattern.subn(lambda _, block=block: block, text)
        if found != 1:
            raise ValueError(f"{FILE} has {found} parts marked {begin}")
    return text


@cache
def planned(name: str, device: str = DEVICE) -> Plan:
    """Return the plan of a spec on one device, compiled."""
    return plan_training(load_spec(name), load_device(device))[0]


def whole_batch(name: str) -> Iterator[str]:
    """Yield a table of the recipe's own batch on more and more devices."""
    plan = planned(name)
    local = replace(plan, local_batch_norm=True)
    yield "| devices | images each | step | images/s | whole recipe | with local batch norm | |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for shared, alone in zip(plan.scaling, local.scaling, strict=True):
        recipe = plan.training.iterations * shared.step.seconds
        yield _row(
            f"{shared.devices}",
            f"{plan.batch // shared.devices}",
            seconds(shared.step.seconds),
            f"{shared.images_per_second:,.0f}",
            duration(recipe),
            seconds(alone.step.seconds),
            f"{100 * alone.efficiency:.0f} %",
        )


def growing(name: str) -> Iterator[str]:
    """Yield a table of a batch that grows with the number of devices, batch norm on each alone."""
    plan = replace(planned(name), local_batch_norm=True)
    yield (
        "| devices | batch | step | all-reduce | images/s | 90 epochs | cores to decode | "
        "step with shared batch norm |"
    )
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for count in COUNTS:
        batch = count * IMAGES
        step = plan.step_on(count, batch)
        shared = replace(plan, local_batch_norm=False).step_on(count, batch)
        speed = batch / step.seconds
        yield _row(
            f"{count:,}",
            f"{batch:,}",
            seconds(step.seconds),
            seconds(step.gradients),
            f"{speed:,.0f}",
            duration(90 * IMAGENET_EPOCH / speed),
            f"{speed / DECODED:,.0f}",
            seconds(shared.seconds),
        )


def devices(*names: str) -> Iterator[str]:
    """Yield a table of one device each, with the recipe of the spec."""
    yield "| device | network | precision | largest batch | step | images/s | whole recipe |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for name in names:
        for device in ("t4", "l4", "rtx3090", "rtx4090", "v100-16", "a100-80", "h100", "h200"):
            plan = planned(name, device)
            yield _row(
                device,
                f"`{name}`",
                plan.precision,
                f"{plan.largest_batch:,}",
                seconds(plan.step.seconds),
                f"{plan.images_per_second:,.0f}",
                duration(plan.run.seconds),
            )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
