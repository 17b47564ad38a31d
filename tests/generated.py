"""What is generated and committed: `generated/`, parts of README.md, docs/language.md and tables.

`python -m tests.generated` brings all up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from ranspec.analysis.count import Count, count
from ranspec.codegen.build import build
from ranspec.compile import compile_spec
from ranspec.spec import load_spec, packaged_specs
from tests import language, scaling

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "generated"
README = ROOT / "README.md"
NETWORKS = ("attention92_cifar", "attention56_imagenet")
BACKENDS = {"torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX"}
TABLE = (
    *(f"attention{depth}_cifar" for depth in (56, 92, 128, 164, 236, 452)),
    *(f"attention{depth}_cifar100" for depth in (92, 236, 452)),
    *(f"attention56_{kind}_cifar" for kind in ("channel", "spatial", "localconv")),
    *(f"attention{depth}_imagenet" for depth in (56, 92)),
    "attention_digits",
)


def readme() -> str:
    """Return README.md with its generated parts brought up to date."""
    text = README.read_text(encoding="utf-8")
    for name, content in {"networks": networks(), "excerpts": excerpts()}.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        block = f"{begin}\n{content}\n{end}"
        text, found = pattern.subn(lambda _, block=block: block, text)
        if found != 1:
            raise ValueError(f"README.md has {found} parts marked {begin}")
    return text


def networks() -> str:
    """Return the table of networks with their figures."""
    header = "| spec | input | depth | parameters | paper | MACs | paper | paper's test error |"
    rows = [_row(counted(name), name) for name in TABLE]
    return "\n".join([header, "|---|---:|---:|---:|---:|---:|---:|---:|", *rows])


def counted(name: str) -> Count:
    """Count a spec of the package."""
    loaded = load_spec(packaged_specs() / f"{name}.yaml")
    return count(compile_spec(loaded))


def _row(result: Count, name: str) -> str:
    loaded = load_spec(packaged_specs() / f"{name}.yaml")
    height, width, _ = result.graph.input
    paper = loaded.spec.paper
    error = f"{paper.test_error:.2f} %" if paper and paper.test_error is not None else ""
    differences = result.relative_differences
    cells = (
        f"[`{name}`](specs/{name}.yaml)",
        f"{height}x{width}",
        str(result.trunk_depth),
        f"{result.trainable_parameters:,}",
        _printed(paper.parameters if paper else None, "M", 1e6, differences["parameters"]),
        f"{result.macs:,}",
        _printed(paper.macs if paper else None, "G", 1e9, differences["macs"]),
        error,
    )
    return f"| {' | '.join(cells)} |"


def _printed(figure: float | None, unit: str, size: float, difference: float | None) -> str:
    if figure is None:
        return ""
    beside = "" if difference is None else f" ({difference:+.1%})"
    return f"{figure / size:g} {unit}{beside}"


def excerpts() -> str:
    """Return part of a spec, and the class that each backend writes for its units."""
    spec = (packaged_specs() / "attention56_cifar.yaml").read_text(encoding="utf-8")
    lines = spec.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("input:"))
    stop = next(index for index, line in enumerate(lines) if line.startswith("train:"))
    parts = [_fenced("yaml", "\n".join(lines[start:stop]))]
    for backend, title in BACKENDS.items():
        model = (GENERATED / NETWORKS[0] / backend / "model.py").read_text(encoding="utf-8")
        (unit,) = re.findall(r"^class PreactivationBottleneck\(.*?(?=\n\n\n)", model, re.M | re.S)
        parts.append(f"In {title}:\n\n{_fenced('python', unit)}")
    return "\n\n".join(parts)


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def main() -> None:
    """Build the flagship networks for every backend, then update README.md and docs/."""
    for name in NETWORKS:
        loaded = load_spec(packaged_specs() / f"{name}.yaml")
        for backend in BACKENDS:
            build(loaded, backend, GENERATED / name / backend, force=True)
    README.write_text(readme(), encoding="utf-8")
    language.FILE.write_text(language.render(), encoding="utf-8")
    scaling.FILE.write_text(scaling.render(), encoding="utf-8")


if __name__ == "__main__":
    main()
