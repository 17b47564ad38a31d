"""Generated networks compute what the implementations of others compute."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")
if not all(map(find_spec, ("pytorchcv", "timm", "torchvision"))):
    pytest.skip("needs pytorchcv, timm and torchvision", allow_module_level=True)

from tests.specs.third_party import (  # noqa: E402
    CIFAR,
    IMAGENET,
    PORTS,
    Port,
    Signatures,
    Unmatched,
    compare,
    matched,
    of_pytorchcv,
)

TOLERANCE = 1e-12


@pytest.mark.parametrize("name", PORTS)
def test_a_network_is_that_of_its_ports(name: str) -> None:
    port = PORTS[name]
    errors = compare(port.ours(), port.make(), port.size)
    assert errors.logits < TOLERANCE
    assert errors.gradients < TOLERANCE


def small_preresnet() -> torch.nn.Module:
    size = {"num_classes": 10, "blocks": 20, "bottleneck": True}
    return of_pytorchcv("preresnet_cifar", "get_preresnet_cifar", **size)


def small_resnext() -> torch.nn.Module:
    model = of_pytorchcv("resnext", "get_resnext", blocks=14, cardinality=32, bottleneck_width=4)
    model.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    return model


CIFAR_UNITS = tuple(f"stages.stage{stage}.units=2" for stage in (1, 2, 3))
IMAGENET_UNITS = tuple(f"stages.stage{stage}.units=1" for stage in (1, 2, 3, 4))
SMALL = {
    "preresnet": Port(
        "baselines/resnet164_cifar",
        small_preresnet,
        CIFAR,
        ("unit.stride_on=conv2", *CIFAR_UNITS),
    ),
    "resnext": Port("baselines/resnext101_imagenet", small_resnext, IMAGENET, IMAGENET_UNITS),
}
FAULTS = [
    ("preresnet", "unit.stride_on=conv1"),
    ("preresnet", "unit.shortcut=raw"),
    ("preresnet", "head.normalization=false"),
    ("preresnet", "stem.normalization=true"),
    ("preresnet", "stages.stage1.first_preactivation=false"),
    ("preresnet", "batch_norm.epsilon=0.001"),
    ("resnext", "stem.pool.padding=ceil"),
    ("resnext", "stem.pool.kernel=2"),
    ("resnext", "unit.stride_on=conv1"),
]


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_those_of_their_ports(name: str) -> None:
    port = SMALL[name]
    assert compare(port.ours(), port.make(), port.size).gradients < TOLERANCE


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_a_wrong_network_is_told_from_its_port(name: str, fault: str) -> None:
    port = SMALL[name]
    wrong = replace(port, overrides=(*port.overrides, fault))
    try:
        errors = compare(wrong.ours(), port.make(), port.size)
    except Unmatched:
        return
    assert min(errors.logits, errors.gradients) > 1e-6


def test_an_ambiguous_match_is_refused() -> None:
    class Twins(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) + self.second(x)

    signatures = Signatures()
    layers = [signatures.layers(Twins()(torch.ones(1, 3))) for _ in range(2)]
    with pytest.raises(Unmatched, match="are alike"):
        matched(*layers)
