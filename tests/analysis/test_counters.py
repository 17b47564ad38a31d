"""Each convention is what the real counter reports of the generated PyTorch code."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranspec.analysis.conventions import report
from ranspec.analysis.count import count
from ranspec.codegen.backend import available_backends
from ranspec.codegen.build import build
from ranspec.compile import class_name, compile_spec
from ranspec.spec import load_spec

SPEC = "attention56_cifar"

pytestmark = [
    pytest.mark.skipif("torch" not in available_backends(), reason="no torch backend installed"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("torch")
    folder = build(load_spec(SPEC), "torch", tmp_path_factory.mktemp("build") / "code").folder
    sys.path.insert(0, str(folder))
    already = set(sys.modules)
    yield getattr(_module(folder / "model.py"), class_name(SPEC))().eval()
    sys.path.remove(str(folder))
    for name in set(sys.modules) - already:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def image() -> Any:
    import torch

    return torch.zeros(1, 3, 32, 32)


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("counted_model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(convention: str) -> tuple[int, int]:
    found = report(count(compile_spec(load_spec(SPEC))), convention)
    return found.parameters, found.cost


def parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_torch(network: Any, image: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(image)
    assert (parameters(network), counter.get_total_flops()) == expected("torch")


def test_fvcore(network: Any, image: Any) -> None:
    fvcore = pytest.importorskip("fvcore.nn")
    analysis = fvcore.FlopCountAnalysis(network, image)
    total = analysis.unsupported_ops_warnings(False).total()
    assert (fvcore.parameter_count(network)[""], total) == expected("fvcore")


def test_torchinfo(network: Any, image: Any) -> None:
    torchinfo = pytest.importorskip("torchinfo")
    summary = torchinfo.summary(network, input_data=image, verbose=0)
    assert (summary.trainable_params, summary.total_mult_adds) == expected("torchinfo")


def test_ptflops(network: Any, image: Any) -> None:
    if importlib.util.find_spec("torchvision"):
        from tests.vision import torchvision_models

        torchvision_models()  # ptflops imports it where it is installed
    ptflops = pytest.importorskip("ptflops")
    cost, size = ptflops.get_model_complexity_info(
        network,
        tuple(image.shape[1:]),
        as_strings=False,
        print_per_layer_stat=False,
        backend="pytorch",
    )
    assert (size, cost) == expected("ptflops")


def test_thop(network: Any, image: Any) -> None:
    thop = pytest.importorskip("thop")
    cost, size = thop.profile(network, (image,), verbose=False)
    assert (size, cost) == expected("thop")
