"""Hold the steps that `ranspec plan` predicts against those that generated code takes.

    ranspec plan --measure
    python benchmarks/plan.py --backend torch --seconds 10

Each network trains in a process of its own, on what is there already, after the first steps, which
compile. The device is the one that was measured, from small networks of single operations: none of
the networks here. On one core (`taskset -c 0`) both are the processor's time, which other work on
the machine changes little. Prints a row for each network and framework as it is done.
"""

from __future__ import annotations

import argparse

from ranspec.codegen.backend import load_backend
from ranspec.planning.devices import load_device
from ranspec.planning.measure import time_network, trained_backends
from ranspec.planning.plan import plan_training
from ranspec.spec import load_spec

NETWORKS = {
    "attention_digits": 64,
    "yeah2020/attention56_cifar": 64,
    "attention56_cifar": 32,
    "attention92_cifar": 16,
    "baselines/resnet56_cifar": 64,
    "attention56_imagenet": 1,
}
"""Networks, and how many images they are given at once."""
HEADER = "| network | images | framework | predicted | measured | error | memory | measured |"


def main() -> None:
    """Measure, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--backend", action="append", help="default: all that are installed")
    parser.add_argument("--device", default="here")
    parser.add_argument("--seconds", type=float, default=10.0, help="of steps, for each")
    options = parser.parse_args()
    print(HEADER)
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for backend in options.backend or [found.name for found in trained_backends()]:
        for name in options.networks:
            print(row(name, backend, options.device, options.seconds), flush=True)


def row(name: str, backend: str, device: str, seconds: float) -> str:
    """Return what was predicted of a network and what was measured, as a row of Markdown."""
    loaded, batch = load_spec(name), NETWORKS.get(name, 16)
    plans = plan_training(loaded, load_device(device), batch=batch)
    (plan,) = (item for item in plans if item.software_name == backend)
    timings = time_network(load_backend(backend), loaded, batch, seconds)
    predicted, measured = plan.step.seconds, min(timings.seconds[0])
    cells = (
        f"`{name}`",
        str(batch),
        backend,
        f"{1e3 * predicted:.0f} ms",
        f"{1e3 * measured:.0f} ms",
        f"{100 * (predicted / measured - 1):+.0f} %",
        f"{plan.memory.peak(batch) / 2**20:.0f} MiB",
        f"{timings.memory / 2**20:.0f} MiB",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
