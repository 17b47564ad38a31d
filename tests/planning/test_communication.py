"""The ring all-reduce."""

from __future__ import annotations

import pytest

from ranspec.planning.communication import exposed, ring_bytes, ring_seconds, slowest_link
from ranspec.planning.devices import Link, table


@pytest.mark.parametrize(("devices", "share"), [(1, 0.0), (2, 1.0), (4, 1.5), (1000, 1.998)])
def test_each_device_sends_two_shares_less_two_parts(devices: int, share: float) -> None:
    assert ring_bytes(100.0, devices) == pytest.approx(100.0 * share)


def test_a_ring_takes_two_steps_less_than_twice_round() -> None:
    link = Link(bandwidth=1e9, latency=1e-6, message=1e-5)
    assert ring_seconds(4e6, 4, link) == pytest.approx(1e-5 + 6 * (1e-6 + 1e6 / 1e9))
    assert ring_seconds(4e6, 1, link) == 0


def test_a_ring_beyond_a_machine_is_as_slow_as_the_network() -> None:
    device = table()["a100-80"]
    assert slowest_link(device, 8) == device.machine
    assert slowest_link(device, 9).latency == device.network.latency
    assert slowest_link(device, 9).bandwidth == device.network.bandwidth


def test_what_is_sent_during_the_backward_pass_adds_only_what_is_left() -> None:
    assert exposed(3.0, 2.0, overlapped=False) == 3.0
    assert exposed(3.0, 2.0, overlapped=True) == 1.0
    assert exposed(1.0, 2.0, overlapped=True) == 0.0
