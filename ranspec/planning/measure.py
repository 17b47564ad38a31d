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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranspec.codegen.backend import Backend, installed_backends, require_installed
from ranspec.codegen.render import render_files
from ranspec.planning.devices import Device, DeviceError, Link, Machine, Software
from ranspec.planning.micro import POINTS, Micro
from ranspec.planning.roofline import Roofline, layer_time
from ranspec.planning.timing import Request, Subject, Timings
from ranspec.planning.work import LayerWork, network_work
from ranspec.spec import LoadedSpec, load_spec
from ranspec.verify.processes import cores, write_folder

RECIPE = "attention_digits"
"""The spec whose recipe small networks are trained by; its network is not measured."""
SECONDS = 60.0
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
        except Exception:
            continue
        if backend.trains:
            found.append(backend)
    return found


def measure_device(report: Callable[[str], None] = lambda message: None) -> Device:
    """Measure this machine's processors with every framework that is installed."""
    report(f"measuring NumPy on {cores()} core(s)")
    peak, bandwidth = measure_peak(), measure_bandwidth()
    bare = bare_device(peak, bandwidth)
    software = {}
    for backend in trained_backends():
        report(f"measuring {backend.title}")
        software[backend.name] = measure_software(backend, bare)
    if not software:
        raise DeviceError("no framework is installed that could be measured")
    return bare.model_copy(update={"software": software})


def bare_device(peak: float, bandwidth: float) -> Device:
    """Return this machine's processors as NumPy finds them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = cores()
    return Device(
        title=f"{count} core{'s' if count > 1 else ''} of {platform.node() or 'this machine'}",
        memory=float(memory),
        bandwidth=bandwidth,
        peak={"float32": peak, "float64": peak / 2},
        machine=Machine(devices=1, bandwidth=bandwidth / 2, latency=20e-6),
        network=Link(bandwidth=1.25e9, latency=50e-6),
        source=f"measured {time.strftime('%Y-%m-%d')} by `ranspec plan --measure`; links assumed",
    )


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
        subjects: list[Subject] = []
        loaded = load_spec(RECIPE)
        for point in points:
            for times in (point.few, point.many):
                code = folder / f"network{len(subjects)}"
                files = render_files(loaded, backend, graph=point.graph(times))
                write_folder(code, files)
                subjects.append(Subject(str(code), point.input, point.batch))
        timings = time_steps(backend, subjects, seconds, folder)
    least = [min(found) for found in timings.seconds]
    measured = dict(zip(points, zip(least[::2], least[1::2], strict=True), strict=True))
    return fitted(measured, device, fused=backend.name == "jax", memory=float(timings.memory))


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
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.PIPE,  # The process ends where this one does.
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )
        try:
            code = process.wait()
        finally:
            process.kill()
    if code:
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DeviceError("\n".join([f"{backend.title} could not be measured:", *said[-5:]]))
    found: dict[str, Any] = json.loads(Path(request.result).read_text(encoding="utf-8"))
    return Timings(tuple(map(tuple, found["seconds"])), found["memory"])


def fitted(
    measured: Mapping[Micro, tuple[float, float]], device: Device, *, fused: bool, memory: float
) -> Software:
    """Return what explains the times of small networks, few and many times the element.

    Kinds are solved one after the other: what an element has besides its own kind is known then.
    """
    software = Software(fused=fused, start=0.0, step=0.0, memory=memory)
    slowness: dict[str, list[tuple[int, float]]] = {}
    for point, (few, many) in measured.items():
        work = [network_work(point.graph(times), fused=fused) for times in (point.few, point.many)]
        if point.kind == "start":
            started = [sum(map(_starts, layers)) for layers in work]
            start = max(0.0, (many - few) / (started[1] - started[0]))
            step = max(0.0, few - start * started[0])
            software = software.model_copy(update={"start": start, "step": step})
            continue
        known = software.model_copy(update={"slowness": _sorted(slowness)})
        roofline = Roofline(device, known, "float32")
        own, other = 0.0, 0.0
        for layers, sign in zip(work, (-1, 1), strict=True):
            for layer in layers:
                seconds = layer_time(layer, point.batch, roofline).seconds
                started_in = _starts(layer) * software.start
                if layer.kind == point.kind:
                    factor = known.slowness_of(layer.kind, layer.channels)
                    own += sign * (seconds - started_in) / factor
                    other += sign * started_in
                else:
                    other += sign * seconds
        if own > 0:
            found = max(LEAST_SLOWNESS, (many - few - other) / own)
            channels = next(layer.channels for layer in work[1][1:] if layer.kind == point.kind)
            slowness.setdefault(point.kind, []).append((channels, found))
    return software.model_copy(update={"slowness": _sorted(slowness)})


def _starts(layer: LayerWork) -> int:
    """Return how often a layer is started in a step."""
    return layer.starts * sum(work.values > 0 for work in (layer.forward, layer.backward))


def _sorted(
    slowness: Mapping[str, Sequence[tuple[int, float]]],
) -> dict[str, tuple[tuple[int, float], ...]]:
    return {kind: tuple(sorted(points)) for kind, points in slowness.items()}
