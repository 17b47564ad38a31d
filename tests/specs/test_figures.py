"""The specs have exactly the sizes and costs of the networks they describe."""

from __future__ import annotations

import math

import pytest

from ranspec.analysis.count import count
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.spec import load_spec, packaged_specs
from tests.rendering import SPECS

PARAMETERS = {
    "attention56_imagenet": 31_810_728,
    "attention92_imagenet": 52_466_344,
    "attention56_cifar": 1_030_394,
    "attention92_cifar": 1_841_274,
    "attention128_cifar": 2_652_154,
    "attention164_cifar": 3_463_034,
    "attention236_cifar": 5_084_794,
    "attention452_cifar": 8_745_850,
    "attention92_cifar100": 1_864_404,
    "attention236_cifar100": 5_107_924,
    "attention452_cifar100": 8_768_980,
}
MACS = {"attention56_imagenet": 6_270_836_736, "attention92_imagenet": 10_533_789_696}
REQUIRED = {
    *(f"attention{depth}_cifar" for depth in (56, 92, 128, 164, 236, 452)),
    *(f"attention{depth}_cifar100" for depth in (92, 236, 452)),
    *(f"attention{depth}_nal_cifar" for depth in (56, 92, 128, 164)),
    *(f"attention56_{kind}_cifar" for kind in ("channel", "spatial", "localconv")),
    *(f"attention{depth}_imagenet" for depth in (56, 92)),
    "attention_digits",
}


def compiled(name: str) -> Graph:
    return compile_spec(load_spec(packaged_specs() / f"{name}.yaml"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_trainable_parameters(name: str) -> None:
    graph = compiled(name)
    tensors = graph.tensors.values()
    assert sum(math.prod(t.shape) for t in tensors if t.trainable) == PARAMETERS[name]
    assert count(graph).trainable_parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", MACS)
def test_multiply_adds_of_convolutions_and_linear_layers(name: str) -> None:
    graph = compiled(name)
    assert sum(layer.operation.macs(layer.output) for layer in graph.layers) == MACS[name]
    assert count(graph).macs == MACS[name]


def test_the_papers_networks_are_all_there() -> None:
    assert set(SPECS) >= REQUIRED


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_is_named_as_its_file_and_says_where_it_is_from(name: str) -> None:
    path = packaged_specs() / f"{name}.yaml"
    spec = load_spec(path).spec
    assert spec.name == path.stem
    assert spec.source
    assert path.read_text().startswith("# yaml-language-server: $schema=")


@pytest.mark.parametrize("name", SPECS)
def test_every_spec_compiles(name: str) -> None:
    assert compiled(name).tensors
