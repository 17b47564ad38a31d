"""What is learnt of a framework from small networks, and how generated code is timed."""

from __future__ import annotations

from collections import Counter

import pytest

from ranspec.codegen.backend import available_backends, load_backend
from ranspec.planning.devices import Device, DeviceError, Software
from ranspec.planning.measure import (
    RECIPE,
    bare_device,
    fitted,
    measure_device,
    time_network,
    with_slowness,
)
from ranspec.planning.micro import ELEMENTS, POINTS, Micro
from ranspec.planning.plan import Plan, makespan
from ranspec.planning.timing import take_turns
from ranspec.planning.work import network_work
from ranspec.spec import load_spec

KNOWN = Software(
    fused=False,
    start=2e-5,
    step=1e-3,
    memory=5e8,
    slowness={
        "convolution": ((16, 4.0), (64, 2.0)),
        "pointwise convolution": ((4, 3.0), (16, 1.5)),
        "batch_norm": ((64 * 32**3, 2.5),),
        "relu": ((64 * 32**3, 2.5),),
        "resize": ((64 * 32**3, 5.0),),
        "max_pool": ((64 * 32**3, 5.0),),
    },
)

SOLVED = {
    ("start", 16),
    *((kind, channels) for kind in ("convolution", "pointwise") for channels in (16, 64)),
    *((kind, 64) for kind in ("norm", "mask")),
}


@pytest.fixture(scope="module")
def device() -> Device:
    return bare_device(1e11, 1e10)


def seconds(network: Micro, device: Device, software: Software) -> float:
    """Return what a plan says of a small network's step, but for its update."""
    spec = load_spec(RECIPE).spec
    plan = Plan(spec, network.graph(), device, "known", software, "float32", network.batch, 1)
    step = plan.step
    return step.forward + step.backward + step.besides


@pytest.mark.parametrize("fused", [False, True])
def test_slowness_is_found_again_in_times_that_it_explains(device: Device, fused: bool) -> None:
    known = KNOWN.model_copy(update={"fused": fused})
    points = tuple(
        point for point in POINTS if (point.element, point.channels) in SOLVED and point.size != 8
    )
    networks = {network for point in points for network in (point, point.base)}
    times = {network: seconds(network, device, known) for network in networks}
    found = fitted(points, times, device, fused=fused, memory=5e8)
    assert found.start == pytest.approx(known.start, rel=0.2)
    for kind in ("pointwise convolution", "convolution", "batch_norm", "max_pool"):
        assert dict(found.slowness[kind]) == pytest.approx(dict(known.slowness[kind]), rel=0.05)


def test_points_are_kept_in_the_order_of_their_channels() -> None:
    software = with_slowness(with_slowness(KNOWN, "linear", 64, 2.0), "linear", 8, 3.0)
    assert software.slowness["linear"] == ((8, 3.0), (64, 2.0))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point.element}-{point.channels}")
def test_points_differ_from_their_bases_by_their_own_kind(point: Micro) -> None:
    base, work = (network_work(net.graph(), fused=False) for net in (point.base, point))
    added = Counter(layer.kind for layer in work)
    added.subtract(layer.kind for layer in base)
    kinds = ELEMENTS[point.element].kinds or ("pointwise convolution",)
    assert all(added[kind] >= point.times for kind in kinds)
    assert min(added.values()) >= 0


def test_steps_take_turns_until_the_time_is_over() -> None:
    taken: list[int] = []
    times = take_turns([lambda: taken.append(0), lambda: taken.append(1)], 0.0)
    assert len(times) == 2
    assert min(map(len, times)) >= 3
    assert taken[0] == 0 and taken[-1] == 1


def test_nothing_is_measured_without_a_framework() -> None:
    with pytest.raises(DeviceError, match="no framework"):
        measure_device([])


@pytest.mark.skipif("torch" not in available_backends(), reason="no torch backend")
def test_generated_code_is_timed_in_a_process_of_its_own() -> None:
    pytest.importorskip("torch")
    timings = time_network(load_backend("torch"), load_spec("attention_digits"), 2, 0.0)
    assert all(0 < time < 60 for time in timings.seconds[0])
    assert 1e8 < timings.framework <= timings.memory
    assert not timings.fused


def test_runs_are_shared_out_the_longest_first() -> None:
    assert makespan([3.0, 1.0, 2.0, 2.0], 2) == 4.0
    assert makespan([3.0, 1.0], 1) == 4.0
    assert makespan([3.0, 1.0], 5) == 3.0
