"""How long masks take without a framework, and how far they are from PyTorch's.

`python benchmarks/masks.py [SPEC]`, by default attention56_imagenet, evaluates an image of coloured
noise of many scales, in float32: trunk, mask and gated features of every attention module by the
NumPy reference, and by the generated PyTorch code, whose modules' values are caught by hooks. Both
take turns. Kernels are the initial ones, and batch norm has the statistics of the image, as after
training: with those that it starts from, numbers grow from unit to unit, and masks with them.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ranspec import compile_spec, load_spec
from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.ir.graph import Graph
from ranspec.pictures.modules import Fusion, fusions
from ranspec.pictures.weights import initial_weights
from ranspec.spec import LoadedSpec
from ranspec.verify.probe import imported
from ranspec.verify.processes import write_folder

ROUNDS = 7
Array = NDArray[np.floating[Any]]


def noise(graph: Graph) -> Array:
    """Return an image (1, C, H, W) with structure of many sizes, mean 0 and deviation 1."""
    generator = np.random.default_rng(0)
    height, width, channels = graph.input
    image = np.zeros((channels, height, width), dtype=np.float32)
    for side in (2, 4, 8, 16, 32, 64):
        for plane in image:
            coarse = Image.fromarray(generator.standard_normal((side, side)).astype(np.float32))
            plane += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return ((image - image.mean()) / image.std())[None]


def torch_network(
    loaded: LoadedSpec, weights: Mapping[str, Any], image: Array
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Return the network that is built for PyTorch, and its weights with statistics of an image."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "torch"
        write_folder(folder, render_files(loaded, load_backend("torch")))
        with imported(folder) as code:
            model: torch.nn.Module = code.train.make_model(code.train.Settings())
            code.weights.load(model, weights)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.inference_mode():
            model.train()(torch.from_numpy(np.concatenate([image, image[..., ::-1]])))
            return model.eval(), code.weights.state(model)


def caught(
    model: torch.nn.Module, image: Array, *, channels_last: bool = False
) -> dict[str, Array]:
    """Return what PyTorch's modules give for an image, by path."""
    outputs: dict[str, Array] = {}

    def keep(path: str) -> Any:
        return lambda module, inputs, output: outputs.__setitem__(path, output.numpy())

    handles = [
        module.register_forward_hook(keep(path))
        for path, module in model.named_modules()
        if path.endswith((".trunk", ".mask"))
    ]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with torch.inference_mode():
        model.to(memory_format=layout)(torch.from_numpy(image).contiguous(memory_format=layout))
    for handle in handles:
        handle.remove()
    return outputs


def by_path(found: Iterable[Fusion]) -> dict[str, Array]:
    """Return trunks and masks by the paths of their blocks."""
    return {
        f"{item.module}.{part}": getattr(item, part) for item in found for part in ("trunk", "mask")
    }


def report(who: str, found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Print the differences of all modules."""
    print(f"{who}:")
    for path, array in found.items():
        print(f"  {path}: {difference(array, expected[path]):.1e}")


def difference(found: Array, expected: Array) -> float:
    """Return the largest difference as a share of the largest number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main(name: str) -> None:
    """Print the differences, then the times."""
    loaded = load_spec(name)
    graph = compile_spec(loaded)
    image = noise(graph)
    model, weights = torch_network(loaded, initial_weights(loaded, graph).arrays, image)
    times: dict[str, list[float]] = {"NumPy": [], "PyTorch": []}
    found: list[Fusion] = []
    outputs: dict[str, Array] = {}
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        found = list(fusions(graph, weights, image))
        middle = time.perf_counter()
        outputs = caught(model, image)
        times["NumPy"].append(middle - start)
        times["PyTorch"].append(time.perf_counter() - middle)
    print(f"{name}, {'x'.join(map(str, graph.input))}, {platform.machine()}")
    numpy = by_path(found)
    report("float32, NumPy and PyTorch", numpy, outputs)
    report("PyTorch and itself, channels last", caught(model, image, channels_last=True), outputs)
    double = {path: array.astype(np.float64) for path, array in weights.items()}
    exact = by_path(fusions(graph, double, image.astype(np.float64)))
    report("NumPy and NumPy in float64", numpy, exact)
    report("PyTorch and NumPy in float64", outputs, exact)
    report("float64, NumPy and PyTorch", caught(model.double(), image.astype(np.float64)), exact)
    for who, values in times.items():
        kept = values[1:]
        print(f"{who}: median {statistics.median(kept):.2f} s, {min(kept):.2f} to {max(kept):.2f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"of both together: {memory:,.0f} MiB at most")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "attention56_imagenet")
