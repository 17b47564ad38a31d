"""Small networks with random weights, in NumPy and as PyTorch code that was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.spec import LoadedSpec
from ranspec.verify.experiment import random_state
from tests.verify.networks import Network, tiny

Array = NDArray[Any]

TWO_STAGES = "stages.stage2={channels: 16, stride: 2, modules: 2, mask_depth: 1}"
NETWORKS: Mapping[str, Network] = {
    "residual": tiny(TWO_STAGES),
    "naive": tiny(TWO_STAGES, "attention={learning: naive, p: 1, t: 2}"),
    "channel": tiny("attention.activation=channel"),
    "spatial": tiny("attention={activation: spatial, p: 0, p_after: 1}"),
    "local, standardized": tiny(
        "attention.mask={kind: local_convolution, units: 1}",
        "attention.activation=channel_standardized",
    ),
}


@dataclass(frozen=True)
class Sample:
    """A network with weights and images, and what PyTorch makes of them."""

    loaded: LoadedSpec
    graph: Graph
    weights: Mapping[str, Array]
    images: Array
    torch: Mapping[str, Array] = field(default_factory=dict)
    """The output of every module of the built network, by its path."""

    def relative_difference(self, path: str, found: Array) -> float:
        """Return how far an array is from PyTorch's, as a share of the largest number in that."""
        expected = self.torch[path]
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="package", params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="package", params=NETWORKS)
def sample(
    request: pytest.FixtureRequest, dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> Sample:
    """A network, and what PyTorch's code of it computes, its modules' outputs caught by hooks."""
    loaded = NETWORKS[request.param].load()
    graph = compile_spec(loaded)
    weights = {name: array.astype(dtype) for name, array in random_state(graph, 0).items()}
    height, width, channels = graph.input
    images = np.random.default_rng(1).standard_normal((3, channels, height, width)).astype(dtype)
    folder = tmp_path_factory.mktemp("built") / "torch"
    outputs = torch_outputs(loaded, folder, weights, images)
    return Sample(loaded, graph, weights, images, outputs)


def torch_outputs(
    loaded: LoadedSpec, folder: Path, weights: Mapping[str, Array], images: Array
) -> dict[str, Array]:
    """Return the output of every module of the code that is built for PyTorch, by path."""
    torch = pytest.importorskip("torch")
    from ranspec.codegen.backend import load_backend
    from ranspec.codegen.render import render_files
    from ranspec.verify.probe import imported
    from tests.rendering import write

    write(folder, render_files(loaded, load_backend("torch")))
    outputs: dict[str, Array] = {}
    with imported(folder) as code:
        model = code.train.make_model(code.train.Settings()).to(torch.from_numpy(images).dtype)
        code.weights.load(model, weights)

    def keep(path: str) -> Any:
        return lambda module, inputs, output: outputs.__setitem__(path, output.numpy())

    for path, module in model.named_modules():
        module.register_forward_hook(keep(path))
    with torch.inference_mode():
        model.eval()(torch.from_numpy(images))
    return outputs
