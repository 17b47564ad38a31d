"""Devices by name and from files, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranspec.planning.devices import (
    HERE,
    DeviceError,
    assumed_software,
    load_device,
    measured_file,
    power_law,
    table,
    written,
)
from ranspec.spec import SpecError


@pytest.mark.parametrize("name", table())
def test_devices_say_where_their_figures_are_from(name: str) -> None:
    device = load_device(name)
    assert device.source
    assert device.preferred in device.peak


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a100", "did you mean a100-40 or a100-80?"),
        ("H100PCIE", "did you mean h100-pcie?"),
        ("toaster", "there are v100-16, "),
        (HERE, "ranspec plan SPEC --measure"),
    ],
)
def test_unknown_devices_are_refused_with_what_there_is(name: str, told: str) -> None:
    with pytest.raises(DeviceError) as error:
        load_device(name)
    assert told in str(error.value)


def test_a_device_is_read_from_a_file_as_it_was_written(tmp_path: Path) -> None:
    device = table()["l4"].model_copy(update={"software": dict(assumed_software())})
    path = tmp_path / "mine.yaml"
    path.write_text(written(device), encoding="utf-8")
    assert load_device(str(path)) == device


def test_what_was_measured_here_is_called_here() -> None:
    path = measured_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written(table()["t4"]), encoding="utf-8")
    try:
        assert load_device(HERE) == table()["t4"]
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("memory: ", "memry: ", "memry: unknown key"),
        ("memory: 24100000000.0", "memory: -1", "memory: found -1: input should be greater than 0"),
        ("title: NVIDIA L4 24 GB\n", "", "title: required key is missing"),
        ("latency: ", "latency: [1]  # ", "machine.latency: found a list"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = tmp_path / "mine.yaml"
    text = written(table()["l4"])
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpecError) as error:
        load_device(str(path))
    assert told in str(error.value)
    assert f"{path}:" in str(error.value)


def test_a_file_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        load_device("nowhere.yaml")


@pytest.mark.parametrize(("at", "value"), [(1, 8.0), (4, 8.0), (8, 4.0), (16, 2.0), (99, 2.0)])
def test_slowness_follows_a_power_law_between_points(at: int, value: float) -> None:
    assert power_law(((4, 8.0), (16, 2.0)), at) == pytest.approx(value)
