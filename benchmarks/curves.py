"""The same training in every framework: what the loss curves are worth as evidence.

    python benchmarks/curves.py free                        the digits, 200 steps, float64
    python benchmarks/curves.py steps --data-dir DIR        CIFAR-10, every 20th of 200 steps
    python benchmarks/curves.py hand-over                   one run, from framework to framework

`free` trains every backend from its own initial weights and lets it go, and PyTorch once more from
weights that differ by one part in 10^15: what rounding alone does. `steps` takes the state of a
PyTorch run after each 20 steps, and two steps from it in every backend, in float32 and in float64.
`hand-over` ends one run twice, goes on with it in another framework each time, and compares the
weights with those of an undisturbed run. Results are written to docs/curves.json and curves.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ranspec.runtime import checkpoint

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "curves.json"
BACKENDS = ("torch", "tensorflow", "jax")
STEPS, EVERY = 200, 20
CONTROL = "torch, weights changed by 1e-15"


def main() -> None:
    """Run what is asked for and write down what it gives."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("free", "steps", "hand-over"))
    parser.add_argument("--spec")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--precision", nargs="+", default=["float64", "float32"])
    options = parser.parse_args()
    data = ["--data-dir", str(options.data_dir)] if options.data_dir else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.what == "free":
            found: Any = free(folder, options.spec or "attention_digits", data)
        elif options.what == "hand-over":
            found = hand_over(folder, options.spec or "attention_digits", data)
        else:
            spec = options.spec or "attention92_cifar"
            found = {kind: steps(folder, spec, data, kind) for kind in options.precision}
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {options.what: found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def free(folder: Path, spec: str, data: Sequence[str]) -> dict[str, Any]:
    """Train without intervention; return the largest distance of the losses of each pair."""
    common = [*data, "--precision", "float64", "--iterations", str(STEPS), "--log-every", "1"]
    runs = []
    for backend in BACKENDS:
        output = folder / backend
        train(build(folder, spec, backend), output, common)
        runs.append(output)
    weights = perturbed(folder, spec, data)
    runs.append(folder / CONTROL)
    train(build(folder, spec, "torch"), runs[-1], [*common, "--weights", str(weights)])
    picture = ROOT / "docs" / "curves.svg"
    picture.unlink(missing_ok=True)
    ranspec("compare", *map(str, runs), "-o", str(picture))
    losses = {run.name: curve(run) for run in runs}
    return {
        "spec": spec,
        "steps": STEPS,
        "precision": "float64",
        "distance": {
            f"{one} / {other}": float(np.abs(losses[one] - losses[other]).max())
            for one, other in combinations(losses, 2)
        },
    }


def steps(folder: Path, spec: str, data: Sequence[str], precision: str) -> dict[str, Any]:
    """Take two steps from the same states in every backend; return how far their losses part."""
    marks = range(0, STEPS, EVERY)
    leading = folder / f"{precision} leading"
    common = [*data, "--precision", precision, "--log-every", "1"]
    for mark in marks:
        if mark:
            ends = [*common, "--iterations", str(mark), "--keep", "100"]
            train(build(folder, spec, "torch"), leading, ends)
    states = {
        checkpoint.load(path)[1].step: path for path in leading.glob("checkpoint*.safetensors")
    }
    losses: dict[str, list[float]] = {}
    for backend in BACKENDS:
        for mark in marks:
            output = folder / f"{precision} {backend} {mark}"
            start = ["--resume", str(states[mark])] if mark else []
            ends = ["--iterations", str(mark + 2)]
            train(build(folder, spec, backend), output, [*common, *start, *ends])
            losses.setdefault(backend, []).extend(curve(output)[-2:])
    return {
        "spec": spec,
        "first_steps": list(marks),
        "distance": {
            f"{one} / {other}": float(np.abs(np.array(losses[one]) - np.array(losses[other])).max())
            for one, other in combinations(losses, 2)
        },
        "losses": losses["torch"],
    }


def hand_over(folder: Path, spec: str, data: Sequence[str]) -> dict[str, Any]:
    """Give one run from backend to backend; return how far its weights are from one backend's."""
    common = [*data, "--precision", "float64", "--log-every", "1"]
    order = ("torch", "jax", "tensorflow", "torch")
    for count, backend in enumerate(order, 1):
        ends = ["--iterations", str(10 * count)]
        train(build(folder, spec, backend), folder / "handed over", [*common, *ends])
    ends = ["--iterations", str(10 * len(order))]
    train(build(folder, spec, "torch"), folder / "undisturbed", [*common, *ends])
    handed, alone = (
        checkpoint.load(folder / name / "checkpoint.safetensors")[0]
        for name in ("handed over", "undisturbed")
    )
    return {
        "spec": spec,
        "order": order,
        "steps_each": 10,
        "distance": max(
            float(np.abs(handed[name] - array).max() / max(np.abs(array).max(), 1e-30))
            for name, array in alone.items()
        ),
    }


def build(folder: Path, spec: str, backend: str) -> Path:
    """Build a spec for a backend, once."""
    code = folder / f"code {backend}"
    if not code.exists():
        ranspec("build", spec, "--backend", backend, "-o", str(code))
    return code


def ranspec(*arguments: str) -> None:
    """Run a command of ranspec."""
    program = "from ranspec.cli import main; main()"
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=sys.stderr)


def train(code: Path, output: Path, arguments: Sequence[str]) -> None:
    """Run a built train.py to its end, on the CPU."""
    command = [
        sys.executable,
        "train.py",
        "--device",
        "cpu",
        "--output",
        str(output),
        "--evaluate-every",
        "100000",
        *arguments,
    ]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run(command, cwd=code, env=environment, check=True, stdout=sys.stderr)


def curve(run: Path) -> np.ndarray:
    """Return the losses of a run, one a step."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return np.array([record["loss"] for record in records if "loss" in record])


def perturbed(folder: Path, spec: str, data: Sequence[str]) -> Path:
    """Write initial weights of which every number is changed by one part in 10^15."""
    weights = folder / "weights.safetensors"
    ranspec("weights", spec, "-o", str(weights))
    tensors, manifest = checkpoint.load(weights)
    generator = np.random.Generator(np.random.Philox(key=0))
    changed = {
        name: array.astype(np.float64) * (1 + 1e-15 * generator.standard_normal(array.shape))
        for name, array in tensors.items()
    }
    path = folder / "changed.safetensors"
    checkpoint.save(path, changed, manifest)
    return path


if __name__ == "__main__":
    main()
