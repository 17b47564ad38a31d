"""What devices that share a batch say to one another: a ring all-reduce of the gradients.

In a ring of n devices (Patarasuk and Yuan, 2009) an array goes round twice in n parts, once to be
added up and once to be handed out: 2 (n - 1) steps, in each of which every device sends one part.
"""

from __future__ import annotations

from ranspec.planning.devices import Device, Link


def ring_bytes(size: float, devices: int) -> float:
    """Return the bytes that each device sends to have an array of `size` bytes added up."""
    return 2 * (devices - 1) / devices * size


def ring_seconds(size: float, devices: int, link: Link) -> float:
    """Return how long that takes over links of one kind."""
    if devices == 1:
        return 0.0
    steps = 2 * (devices - 1)
    return link.message + steps * link.latency + ring_bytes(size, devices) / link.bandwidth


def slowest_link(device: Device, devices: int) -> Link:
    """Return the link of a ring that holds it up: the network's, where there are more machines.

    All of a machine's network serves the ring, as it leaves a machine once.
    """
    if devices <= device.machine.devices:
        return device.machine
    bandwidth = min(device.machine.bandwidth, device.network.bandwidth)
    return device.network.model_copy(update={"bandwidth": bandwidth})


def exposed(communication: float, backward: float, *, overlapped: bool) -> float:
    """Return what an all-reduce adds to a step: all of it, or what the backward pass leaves."""
    return max(0.0, communication - backward) if overlapped else communication
