"""Verify every shipped spec, whole, in float64, and write docs/verification.md.

    python benchmarks/verify_all.py                 all that is not verified yet
    python benchmarks/verify_all.py --limit 1       the next one
    python benchmarks/verify_all.py --only NAME     some, again
    python benchmarks/verify_all.py --write         the table alone

Results are kept in docs/verification.json. A spec is verified again, and until then not in the
table, when what is executed of the code built from it, the reference or the verifier has changed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "verification.json"
TABLE = ROOT / "docs" / "verification.md"

STEPS, IMAGES = 4, 4
REDUCED = (("inception", 107), ("", 64))
"""Height and width of large images, by a part of a spec's name: what its pools and masks take."""
SMALL = 16
"""Height and width of images that are below 100."""

EXECUTED = tuple(
    f"{module}.py"
    for module in (
        *("model", "layers", "recipe", "train", "weights"),
        *("initialization", "optimizer", "schedule"),
    )
)
"""The files of a build that a verification executes."""
CALLED = ("Settings", "make_model", "make_optimizer", "train_step")
"""What it executes of train.py, with all that these call: not the loop around them."""
JUDGING = ("verify/*.py", "analysis/interpreter.py", "analysis/reference.py", "ir/**/*.py")
"""What it is judged by."""

GROUPS = {
    "logits": ("logits, training", "logits, evaluation"),
    "gradients": ("loss", "gradients"),
    "statistics": ("statistics, one step",),
    "steps": (
        "losses, all steps",
        "parameters, all steps",
        "averages, all steps",
        "statistics, all steps",
        "optimizer, all steps",
    ),
    "start": ("initial weights", "learning rates"),
}
INTRODUCTION = """# Every shipped spec, verified

Each spec as it is shipped but for the size of its images, in float64: the code that each backend
is given against the NumPy reference and against one another, with the tolerances of
`ranspec verify`. Errors are the largest of all backends and tensors, relative. The noise is how
far the reference parts from itself when every number of its state is changed by one part in 10^15:
what no comparison can be better than. The steps are the recipe's own around the first change of
its learning rate, at the rates shown. The code runs op by op: compiling each network would take
twice the time; the tests and `ranspec verify` by itself compile it.

    python benchmarks/verify_all.py

"""


def main() -> None:
    """Verify what is asked for, one spec after the other, and write the table after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    cache = Path(tempfile.gettempdir()) / f"ranspec-verification-{os.getuid()}"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

    from ranspec.spec import available_specs, packaged_specs

    names = sorted(available_specs([packaged_specs()]), key=size)
    done = 0
    for name in [] if options.write else (options.only or names):
        key = fingerprint(name)
        if done >= options.limit or (
            not options.only and results().get(name, {}).get("key") == key
        ):
            continue
        print(name, file=sys.stderr, flush=True)
        twin = twin_of(name)
        measured = results()[twin] | {"as": twin} if twin else verified(name)
        record = measured | {"key": key, "name": name}
        write_results(results() | {name: record})
        done += 1
    known = {
        name: record
        for name, record in results().items()
        if name in names and record["key"] == fingerprint(name)
    }
    write_results(known)
    TABLE.write_text(table(known, len(names)), encoding="utf-8")
    print(f"{len(known)} of {len(names)} specs are in {TABLE}; {done} verified now")


def results() -> dict[str, Any]:
    """Return what is verified so far."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else {}


def write_results(known: dict[str, Any]) -> None:
    """Keep what is verified."""
    text = json.dumps(dict(sorted(known.items())), indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")


def twin_of(name: str) -> str | None:
    """Return another spec that has been verified, and whose numbers must be the same."""
    wanted = as_verified(name)
    return next(
        (
            other
            for other, record in results().items()
            if other != name
            and as_verified(other) == wanted
            and record["key"] == fingerprint(other)
        ),
        None,
    )


def as_verified(name: str) -> str:
    """Return what decides a verification's numbers: two specs may differ in their labels alone."""
    from ranspec.spec import load_spec

    spec = load_spec(name, changes(name)).spec.model_dump(mode="json")
    apart = {"name", "source", "paper", "notes"}
    training = {key: spec["train"][key] for key in spec["train"].keys() - {"data", "clean_labels"}}
    return json.dumps(
        {**{k: spec[k] for k in spec.keys() - apart}, "train": training}, sort_keys=True
    )


def size(name: str) -> float:
    """Return the multiply-adds of a spec as it is verified: small ones come first."""
    from ranspec.compile import compile_spec
    from ranspec.spec import load_spec

    graph = compile_spec(load_spec(name, changes(name)))
    return sum(layer.operation.macs(layer.output) for layer in graph.layers)


def changes(name: str) -> list[str]:
    """Return the overrides that reduce a spec's images."""
    from ranspec.spec import load_spec

    own = load_spec(name).spec.input
    large = own.height >= 100
    size = next(size for part, size in REDUCED if part in name) if large else SMALL
    return [f"input.height={min(size, own.height)}", f"input.width={min(size, own.width)}"]


def fingerprint(name: str) -> str:
    """Return a digest of all that a verification depends on."""
    from ranspec.codegen.backend import available_backends, load_backend
    from ranspec.codegen.render import as_bytes, render_files
    from ranspec.spec import load_spec

    loaded = load_spec(name, changes(name))
    digest = hashlib.sha256(f"{STEPS} {IMAGES}".encode())
    for backend in map(load_backend, available_backends()):
        if backend.trains:
            for file, content in render_files(loaded, backend).items():
                if file in EXECUTED:
                    text = as_bytes(content).decode()
                    text = executed(text) if file == "train.py" else text
                    digest.update(f"{file}\n{text}".encode())
    for pattern in JUDGING:
        for source in sorted((ROOT / "ranspec").glob(pattern)):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def executed(source: str) -> str:
    """Return the definitions of a module that a verification reaches."""
    parts: dict[str, ast.stmt] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            parts[node.name] = node
        elif isinstance(node, ast.Assign):
            parts |= {name.id: node for name in node.targets if isinstance(name, ast.Name)}
    reached: dict[str, None] = {}
    waiting = list(CALLED)
    while waiting:
        name = waiting.pop()
        if name in parts and name not in reached:
            reached[name] = None
            waiting += [part.id for part in ast.walk(parts[name]) if isinstance(part, ast.Name)]
    return "\n".join(ast.unparse(parts[name]) for name in sorted(reached))


def verified(name: str) -> dict[str, Any]:
    """Verify a spec in all backends that train, and return what the table tells of it."""
    from ranspec.codegen.backend import available_backends, load_backend
    from ranspec.spec import load_spec
    from ranspec.verify.harness import verify

    started = time.perf_counter()
    backends = [backend for backend in available_backends() if load_backend(backend).trains]
    report = verify(
        load_spec(name, changes(name)), backends, steps=STEPS, batch_size=IMAGES, compiled="none"
    ).to_json()
    checks = report.pop("checks")
    return {
        "set": changes(name),
        "seconds": round(time.perf_counter() - started),
        "groups": {group: worst(checks, members) for group, members in GROUPS.items()},
        "outcomes": {
            backend: worst_outcome(checks, report["failures"], backend) for backend in backends
        },
        **report,
    }


def worst(checks: list[dict[str, Any]], members: tuple[str, ...]) -> dict[str, float | None]:
    """Return the error and noise of some quantities that come nearest to their tolerance."""
    infinite = float("inf")

    def share(check: dict[str, Any], key: str) -> float:
        return (infinite if check[key] is None else check[key]) / check["tolerance"]

    mine = [check for check in checks if check["quantity"] in members]
    error = max(mine, key=lambda check: share(check, "max_relative_error"))
    noise = max(mine, key=lambda check: share(check, "noise"))
    return {
        "error": error["max_relative_error"],
        "tolerance": error["tolerance"],
        "noise": noise["noise"],
    }


def worst_outcome(
    checks: list[dict[str, Any]], failures: list[dict[str, Any]], backend: str
) -> str:
    """Return what is to be said of a backend."""
    if any(failure["backend"] == backend for failure in failures):
        return "did not run"
    mine = {check["outcome"] for check in checks if backend in check["pair"].split("/")}
    order = ("failed", "cannot be told", "passed")
    return next((outcome for outcome in order if outcome in mine), "not compared")


def table(known: dict[str, Any], specs: int) -> str:
    """Write the results as a page."""
    counts: dict[str, int] = {}
    for record in known.values():
        counts[record["outcome"]] = counts.get(record["outcome"], 0) + 1
    summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    groups = list(GROUPS)
    head = ["spec", "input", "steps", "rates", *groups, "outcome", "seconds"]
    lines = [
        INTRODUCTION + f"Of {specs} specs {len(known)} are verified so far: {summary or 'none'}.\n",
        f"Cells are error / tolerance (noise). {STEPS} steps of {IMAGES} images.\n",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, record in known.items():
        size = "x".join(item.partition("=")[2] for item in record["set"])
        rates = " to ".join(f"{rate:g}" for rate in dict.fromkeys(record["learning_rates"]))
        outcomes = set(record["outcomes"].values())
        outcome = (
            f"{', '.join(record['outcomes'])}: {outcomes.pop()}"
            if len(outcomes) == 1
            else ", ".join(f"{key}: {value}" for key, value in record["outcomes"].items())
        )
        if record.get("as"):
            outcome += f" (the same numbers as {record['as']})"
        cells = [cell(record["groups"][group]) for group in groups]
        row = [name, size, f"from {record['first_step']}", rates]
        lines.append("| " + " | ".join([*row, *cells, outcome, str(record["seconds"])]) + " |")
    return "\n".join(lines) + "\n"


def cell(group: dict[str, float | None]) -> str:
    """Write one cell."""
    error, noise = group["error"], group["noise"]
    written = "infinite" if error is None else f"{error:.0e}"
    return (
        f"{written} / {group['tolerance']:.0e} ({'infinite' if noise is None else f'{noise:.0e}'})"
    )


if __name__ == "__main__":
    main()
