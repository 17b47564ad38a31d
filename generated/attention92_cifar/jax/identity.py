"""What makes a run the same run: network, spec, images, and the settings that decide its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from checkpoint import Manifest

SPEC, CARD = "spec.yaml", "network.json"
"""Files of a built folder: all that it was built from, and what its network counts."""


def decisive(settings: Any) -> dict[str, Any]:
    """Return the settings that decide the result of a run, as JSON has them.

    Of a class that settings are composed of, these are the ones that it names as `decisive`, or all
    of its own where it names none.
    """
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    for kind in type(settings).__mro__:
        named = vars(kind).get("decisive")
        if named is not None:
            for field in fields(kind):
                if field.name not in named:
                    values.pop(field.name, None)
    return as_json(values)


def differences(
    there: Manifest, identity: Mapping[str, str], settings: Mapping[str, Any]
) -> list[str]:
    """Say in what the run of a checkpoint is not that of a network, spec, data and settings.

    A setting that one of them does not have is not compared, as some frameworks have options of
    their own; nor are `iterations`, of which there may be more.
    """
    before = {"network": there.network, "digest": there.digest, "data": there.data}
    found = [
        f"{'spec' if name == 'digest' else name}: {_short(before[name])} there, {_short(here)} here"
        for name, here in identity.items()
        if before[name] != here
    ]
    earlier = there.settings or {}
    return found + [
        f"--{name.replace('_', '-')}: {earlier[name]} there, {here} here"
        for name, here in settings.items()
        if name != "iterations" and name in earlier and earlier[name] != here
    ]


def built_from(folder: Path) -> dict[str, Any]:
    """Return what a built folder says of its network: the `spec`, and the `card` of its counts."""
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found["spec"] = (folder / SPEC).read_text(encoding="utf-8")
    with suppress(OSError, ValueError):
        found["card"] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return found


def as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they come back from JSON; text stands for what it has no word for."""
    found: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return found


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest if len(digest) < 40 else digest[:12]
