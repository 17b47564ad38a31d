"""Measure what frameworks reach of the machine at hand.

NumPy tells how fast a product of large matrices and a copy of large arrays are; each framework, in
a process of its own, trains the small networks of `ranspec.planning.micro`. What an element takes
longer than its roofline is the slowness of its kind of operation.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranspec.codegen.backend import (
    Backend,
    NotInstalledError,
    installed_backends,
    require_installed,
)
from ranspec.codegen.render import render_files
from ranspec.planning.devices import Device, DeviceError, Link, Machine, Software
from ranspec.planning.micro import ELEMENTS, POINTS, Micro
from ranspec.planning.roofline import Roofline, total_times
from ranspec.planning.timing import Request, Subject, Timings
from ranspec.planning.work import LayerWork, network_work
from ranspec.spec import LoadedSpec, load_spec
from ranspec.verify.processes import cores, write_folder

RECIPE = "attention56_cifar"
"""The spec whose recipe small networks are trained by; its network is not measured."""
SECONDS = 20.0
"""How long a framework's steps take turns."""
LEAST_SLOWNESS = 0.02
"""What is faster, or not slower than what noise hides, is taken to be this slow."""
MATRIX, COPY, REPETITIONS = 1024, 2**24, 15
"""Rows of a matrix, float32 numbers of a copied array, and how often each is tried."""


def trained_backends() -> list[Backend]:
    """Return the backends whose framework is installed and that train."""
    found = []
    for backend in installed_backends():
        try:
            require_installed(backend)
        except NotInstalledError:
            continue
        if backend.trains:
            found.append(backend)
    return found


def measure_device(
    backends: Sequence[Backend], report: Callable[[str], None] = lambda message: None
) -> Device:
    """Measure this machine's processors with some frameworks, which must be installed."""
    if not backends:
        raise DeviceError("no framework is installed that could be measured")
    report(f"measuring NumPy on {counted_cores()}")
    bare = bare_device(measure_peak(), measure_bandwidth())
    software = {}
    for backend in backends:
        report(f"measuring {backend.title}")
        software[backend.name] = measure_software(backend, bare)
    return bare.model_copy(update={"software": software})


def bare_device(peak: float, bandwidth: float) -> Device:
    """Return this machine's processors as NumPy finds them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(
        title=f"{counted_cores()} of this machine, {platform.machine()}",
        memory=float(memory),
        bandwidth=bandwidth,
        peak={"float32": peak, "float64": peak / 2},
        machine=Machine(devices=1, bandwidth=bandwidth / 2, latency=20e-6),
        network=Link(bandwidth=1.25e9, latency=50e-6),
        source=f"measured {time.strftime('%Y-%m-%d')} by `ranspec plan --measure`; links assumed",
    )


def counted_cores() -> str:
    """Return `1 core`, or how many this process may use."""
    return f"{cores()} cores" if cores() > 1 else "1 core"


def measure_peak() -> float:
    """Return the floating-point operations/s of a product of large float32 matrices."""
    import numpy as np

    x = np.random.default_rng(0).standard_normal((MATRIX, MATRIX), np.float32)
    return 2 * MATRIX**3 / fastest(lambda: x @ x)


def measure_bandwidth() -> float:
    """Return the bytes/s of copying a large array: each is read and written."""
    import numpy as np

    x = np.ones(COPY, np.float32)
    y = np.empty_like(x)
    return 2 * x.nbytes / fastest(lambda: np.copyto(y, x))


def fastest(work: Callable[[], object]) -> float:
    """Return the least seconds of several tries."""
    clock = time.process_time if cores() == 1 else time.perf_counter
    found = []
    for _ in range(REPETITIONS):
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


def measure_software(
    backend: Backend, device: Device, points: Sequence[Micro] = POINTS, seconds: float = SECONDS
) -> Software:
    """Return what a framework reaches, from the least time of each small network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = tuple(dict.fromkeys(net for point in points for net in (point.base, point)))
        subjects = []
        for number, network in enumerate(networks):
            loaded = load_spec(
                RECIPE, [f"input={{height: {network.size}, width: {network.size}, channels: 3}}"]
            )
            code = folder / f"network{number}"
            write_folder(code, render_files(loaded, backend, graph=network.graph()))
            subjects.append(Subject(str(code), network.input, network.batch))
        timings = time_steps(backend, subjects, seconds, folder)
    measured = {
        network: min(found) for network, found in zip(networks, timings.seconds, strict=True)
    }
    return fitted(points, measured, device, fused=timings.fused, memory=float(timings.framework))


def time_network(backend: Backend, loaded: LoadedSpec, batch: int, seconds: float) -> Timings:
    """Time training steps of a spec's own network, in a process of its own."""
    size = loaded.spec.input
    with tempfile.TemporaryDirectory() as name:
        code = Path(name) / "network"
        write_folder(code, render_files(loaded, backend))
        subject = Subject(str(code), (size.height, size.width, size.channels), batch)
        return time_steps(backend, [subject], seconds, Path(name))


def time_steps(
    backend: Backend, subjects: Sequence[Subject], seconds: float, folder: Path
) -> Timings:
    """Time training steps of built folders in one process of a backend, in turns.

    Raises `DeviceError` with the end of what the process said where it ends badly.
    """
    request = Request(tuple(subjects), seconds, str(folder / "timings.json"))
    path = folder / "request.json"
    path.write_text(json.dumps(asdict(request)), encoding="utf-8")
    errors = folder / "errors.txt"
    command = [sys.executable, "-m", "ranspec.verify.guard", f"{backend.package}.timing", str(path)]
    with (
        errors.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,  # The process ends where this one does.
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait()
        finally:
            process.kill()
    if code:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DeviceError("\n".join([f"{backend.title} could not be measured:", *said[-5:]]))
    found: dict[str, Any] = json.loads(Path(request.result).read_text(encoding="utf-8"))
    return Timings(**{**found, "seconds": tuple(map(tuple, found["seconds"]))})


def fitted(
    points: Sequence[Micro],
    measured: Mapping[Micro, float],
    device: Device,
    *,
    fused: bool,
    memory: float,
) -> Software:
    """Return what explains the seconds of small networks.

    Kinds are solved one after the other: what an element has besides its own kind is known then.
    """
    software = Software(fused=fused, start=0.0, step=0.0, memory=memory)
    for point in points:
        work, base = (network_work(net.graph(), fused=fused) for net in (point, point.base))
        added = Counter(work)
        added.subtract(Counter(base))
        longer = measured[point] - measured[point.base]
        if not (kinds := ELEMENTS[point.element].kinds):
            started = sum(count * _starts(layer) for layer, count in added.items())
            start = max(0.0, longer / started)
            step = max(0.0, measured[point.base] - start * sum(map(_starts, base)))
            software = software.model_copy(update={"start": start, "step": step})
            continue
        own = Counter({layer: count for layer, count in added.items() if layer.kind in kinds})
        others = Counter({layer: added[layer] for layer in added if layer not in own})
        known = Roofline(device, software, "float32")
        alone = Roofline(device, software.model_copy(update={"slowness": {}}), "float32")
        started_in = software.start * sum(count * _starts(layer) for layer, count in own.items())
        roofline = sum(total_times(own, point.batch, alone)) - started_in
        rest = sum(total_times(others, point.batch, known)) + started_in
        slowness = max(LEAST_SLOWNESS, (longer - rest) / roofline)
        for kind in kinds:
            alike = (layer for layer in own if own[layer] and layer.kind == kind)
            extent = max(layer.extent(point.batch) for layer in alike)
            software = with_slowness(software, kind, int(extent), slowness)
    return software


def with_slowness(software: Software, kind: str, extent: int, slowness: float) -> Software:
    """Return what is known with one more measured point."""
    points = (*software.slowness.get(kind, ()), (extent, slowness))
    more = {**software.slowness, kind: tuple(sorted(points))}
    return software.model_copy(update={"slowness": more})


def _starts(layer: LayerWork) -> int:
    """Return how often a layer is started in a step."""
    return layer.starts * sum(work.values > 0 for work in (layer.forward, layer.backward))
