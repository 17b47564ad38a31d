"""Generated PyTorch networks beside implementations that others wrote.

`python -m tests.specs.third_party` prints how far they are apart. The two networks are matched
without names: by the graphs that automatic differentiation records, in which layers are told apart
by their kind, their parameters' shapes and all that leads to them. A match that
could be another is refused. With the same weights, values then decide about everything else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.spec import load_spec
from tests.vision import torchvision_models

COMMUTATIVE = ("Add", "Mul")
RESIZING = ("MaxPool2DWithIndices", "UpsampleBilinear2D")
BATCH = 3
CIFAR, IMAGENET = 32, 64


@dataclass(frozen=True)
class Port:
    """A third party's network, and the spec with the overrides that make it the same."""

    spec: str
    make: Callable[[], nn.Module]
    size: int
    overrides: tuple[str, ...] = ()

    def ours(self) -> nn.Module:
        size = (f"input.height={self.size}", f"input.width={self.size}")
        return built(self.spec, (*self.overrides, *size))


def torchvision(name: str) -> nn.Module:
    return torchvision_models().__dict__[name](weights=None)


def timm(name: str) -> nn.Module:
    torchvision_models()
    return import_module("timm").create_model(name, pretrained=False)


def pytorchcv(name: str, *, pool: bool = False, **arguments: Any) -> nn.Module:
    """Return a network by its name; with `pool` it averages maps of any size at its end.

    Its own last pooling has windows of 7x7 or 8x8, the whole map of images of its own size.
    """
    torchvision_models()
    model: nn.Module = import_module("pytorchcv.model_provider").get_model(name, **arguments)
    if pool:
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return model


def of_pytorchcv(module: str, make: str, **arguments: Any) -> nn.Module:
    """Return a network that has no name in PyTorchCV, by the function that makes its family."""
    model: nn.Module = getattr(import_module(f"pytorchcv.models.{module}"), make)(**arguments)
    return model


def wide_resnet(blocks: int, width: int) -> nn.Module:
    size = {"num_classes": 10, "blocks": blocks, "width_factor": width}
    return of_pytorchcv("wrn_cifar", "get_wrn_cifar", **size)


def inception_resnet_v1() -> nn.Module:
    """Return PyTorchCV's network of faces with a plain classifier on its features."""
    model = pytorchcv("inceptionresnetv1", pool=True)
    model.output = nn.Linear(1792, 1000)
    return model


STRIDE_ON_3X3 = "unit.stride_on=conv2"
PADDED_POOL = "stem.pool.padding=1"
PYTORCHCV_MASKS = (
    PADDED_POOL,
    "attention.mask={pool: {padding: 1}, skip_identity: true, add_trunk: true}",
)
BASELINES = "baselines/"

PORTS: Mapping[str, Port] = {
    "torchvision resnet152": Port(
        f"{BASELINES}resnet152_imagenet",
        lambda: torchvision("resnet152"),
        IMAGENET,
        (STRIDE_ON_3X3, PADDED_POOL),
    ),
    "pytorchcv resnet152": Port(
        f"{BASELINES}resnet152_imagenet",
        lambda: pytorchcv("resnet152", pool=True),
        IMAGENET,
        (PADDED_POOL,),
    ),
    "timm resnext101_32x4d": Port(
        f"{BASELINES}resnext101_imagenet", lambda: timm("resnext101_32x4d"), IMAGENET
    ),
    "pytorchcv resnext101_32x4d": Port(
        f"{BASELINES}resnext101_imagenet",
        lambda: pytorchcv("resnext101_32x4d", pool=True),
        IMAGENET,
    ),
    "pytorchcv preresnet200b": Port(
        f"{BASELINES}resnet200_imagenet",
        lambda: pytorchcv("preresnet200b", pool=True),
        IMAGENET,
        ("stages.stage1.first_preactivation=true",),
    ),
    "pytorchcv resnet56_cifar10": Port(
        f"{BASELINES}resnet56_cifar",
        lambda: pytorchcv("resnet56_cifar10"),
        CIFAR,
        ("unit.shortcut=projection",),
    ),
    "pytorchcv preresnet164bn_cifar10": Port(
        f"{BASELINES}resnet164_cifar",
        lambda: pytorchcv("preresnet164bn_cifar10"),
        CIFAR,
        (STRIDE_ON_3X3,),
    ),
    "pytorchcv preresnet1001_cifar10": Port(
        f"{BASELINES}resnet1001_cifar",
        lambda: pytorchcv("preresnet1001_cifar10"),
        CIFAR,
        (STRIDE_ON_3X3,),
    ),
    "pytorchcv wrn16_8": Port(f"{BASELINES}wrn16_8_cifar", lambda: wide_resnet(16, 8), CIFAR),
    "pytorchcv wrn28_10": Port(f"{BASELINES}wrn28_10_cifar", lambda: wide_resnet(28, 10), CIFAR),
    "pytorchcv inceptionresnetv1": Port(
        f"{BASELINES}inception_resnet_v1_imagenet", inception_resnet_v1, 107
    ),
    "timm inception_resnet_v2": Port(
        f"{BASELINES}inception_resnet_v2_imagenet", lambda: timm("inception_resnet_v2"), 107
    ),
    "pytorchcv resattnet56": Port(
        "pytorchcv/resattnet56", lambda: pytorchcv("resattnet56", pool=True), IMAGENET
    ),
    "pytorchcv resattnet92": Port(
        "pytorchcv/resattnet92", lambda: pytorchcv("resattnet92", pool=True), IMAGENET
    ),
    "pytorchcv resattnet56, from the released network": Port(
        "attention56_imagenet",
        lambda: pytorchcv("resattnet56", pool=True),
        IMAGENET,
        PYTORCHCV_MASKS,
    ),
}


def built(spec: str, overrides: tuple[str, ...]) -> nn.Module:
    """Return the network that the generated PyTorch code of a spec makes."""
    backend = load_backend("torch")
    source = render_files(load_spec(spec, overrides), backend)["model.py"]
    module = ModuleType("model")
    with patch.dict(sys.modules, {"layers": import_module("ranspec_torch.runtime.layers")}):
        exec(compile(source, "model.py", "exec"), module.__dict__)
    *_, network = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == "model"
    )
    made: nn.Module = network()
    return made


class Unmatched(Exception):
    """Two networks whose layers do not correspond, or not in one way alone."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A step that owns parameters, joins values or changes their size, and what leads to it."""

    kind: str
    signature: int
    inputs: tuple[Layer, ...] = ()
    parameter: Tensor | None = None


@dataclass
class Signatures:
    """Numbers for structures: equal ones where all that leads to two layers is alike."""

    known: dict[Hashable, int] = field(default_factory=dict)

    def of(self, structure: Hashable) -> int:
        return self.known.setdefault(structure, len(self.known))

    def layers(self, logits: Tensor) -> Layer:
        """Return the last layer of the graph that led to the logits."""
        made: dict[Any, Layer] = {}
        waiting = [logits.grad_fn]
        while waiting:
            node = waiting[-1]
            inner = [child for child, _ in node.next_functions if child is not None]
            missing = [child for child in inner if child not in made]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if node not in made:
                made[node] = self._layer(node, tuple(made[child] for child in inner))
        return made[logits.grad_fn]

    def _layer(self, node: Any, inputs: tuple[Layer, ...]) -> Layer:
        kind = type(node).__name__.rpartition("Backward")[0]
        if not inputs:
            parameter: Tensor = node.variable
            signature = self.of(("parameter", tuple(parameter.shape)))
            return Layer("parameter", signature, parameter=parameter)
        structural = kind in RESIZING or inputs[0].parameter is not None
        if len(inputs) == 1 and (kind == "T" or not structural):
            return inputs[0]
        signatures = [layer.signature for layer in inputs]
        ordered = sorted(signatures) if kind in COMMUTATIVE else signatures
        return Layer(kind, self.of((kind, *ordered)), inputs)


def matched(ours: Layer, theirs: Layer) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that correspond; raise `Unmatched` where they need not."""
    partners: dict[Layer, Layer] = {}
    pairs = []
    waiting = [(ours, theirs)]
    while waiting:
        left, right = waiting.pop()
        if left in partners:
            if partners[left] is not right:
                raise Unmatched(f"a {left.kind} corresponds to two")
            continue
        partners[left] = right
        if left.signature != right.signature:
            raise Unmatched(
                f"a {left.kind} of {shapes(left)} and a {right.kind} of {shapes(right)}"
            )
        if left.parameter is not None and right.parameter is not None:
            pairs.append((left.parameter, right.parameter))
        waiting += zip(in_order(left), in_order(right), strict=True)
    if len(set(partners.values())) != len(partners):
        raise Unmatched("two layers correspond to one")
    return pairs


def in_order(layer: Layer) -> list[Layer]:
    """Return the inputs in an order that is the same in two layers of one signature."""
    if layer.kind not in COMMUTATIVE:
        return list(layer.inputs)
    if len({one.signature for one in layer.inputs}) < len(set(layer.inputs)):
        raise Unmatched(f"the terms of an {layer.kind} are alike; either could be the other")
    return sorted(layer.inputs, key=lambda one: one.signature)


def shapes(layer: Layer) -> str:
    sizes = [tuple(one.parameter.shape) for one in layer.inputs if one.parameter is not None]
    return ", ".join(map(str, sizes)) or "no parameters"


def run(model: nn.Module, images: Tensor, *, training: bool) -> Tensor:
    """Return the logits, with the identity for dropout."""
    model.train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    logits: Tensor = model(images)
    return logits


def randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights of a sensible size, and scales, shifts and statistics that show."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        if tensor.ndim > 1:
            value = noise * math.sqrt(2 / tensor[0].numel())
        else:
            value = 0.2 * noise + (0.0 if name.endswith(("bias", "mean")) else 1.0)
        with torch.no_grad():
            tensor.copy_(value.abs() + 0.1 if name.endswith("var") else value)


def statistics(model: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            mean, variance = module.running_mean, module.running_var
            assert mean is not None
            assert variance is not None
            yield module.weight, mean, variance


def copy(pairs: list[tuple[Tensor, Tensor]], ours: nn.Module, theirs: nn.Module) -> None:
    """Give their parameters and running statistics our values."""
    running = {id(weight): (mean, variance) for weight, mean, variance in statistics(theirs)}
    partner = {id(left): right for left, right in pairs}
    with torch.no_grad():
        for left, right in pairs:
            right.copy_(left)
        for weight, *values in statistics(ours):
            for value, target in zip(values, running[id(partner[id(weight)])], strict=True):
                target.copy_(value)


def relative_error(ours: Tensor, theirs: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference, relative to the largest value or a floor above it."""
    difference = (ours - theirs).detach().abs().max()
    return float(difference / theirs.detach().abs().max().clamp(min=floor))


def gradient_error(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Return the largest relative error of a parameter's gradient.

    Some are zero but for rounding, such as that of a bias that a batch norm takes away: the floor
    is a ten-thousandth of the largest gradient of all.
    """
    gradients = [(left.grad, right.grad) for left, right in pairs]
    assert all(a is not None and b is not None for a, b in gradients)
    floor = 1e-4 * max(float(theirs.abs().max()) for _, theirs in gradients)
    return max(relative_error(*pair, floor) for pair in gradients)


@dataclass(frozen=True)
class Errors:
    """How far two networks are apart."""

    logits: float
    """In training and in evaluation, relative to the largest."""
    gradients: float
    """Of all parameters, each relative to its largest."""


def compare(ours: nn.Module, theirs: nn.Module, size: int) -> Errors:
    """Compare two networks in float64 with the same weights; raise `Unmatched`."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = ours.double(), theirs.double()
    randomize(ours, generator)
    images = torch.randn(BATCH, 3, size, size, generator=generator, dtype=torch.float64)
    signatures = Signatures()
    # One image in evaluation is enough to see what leads where.
    layers = [signatures.layers(run(model, images[:1], training=False)) for model in (ours, theirs)]
    pairs = matched(*layers)
    for model, side in ((ours, 0), (theirs, 1)):
        found = {id(pair[side]) for pair in pairs}
        if any(id(parameter) not in found for parameter in model.parameters()):
            raise Unmatched("a parameter leads to no logits")
    copy(pairs, ours, theirs)
    with torch.no_grad():
        evaluated = [run(model, images, training=False) for model in (ours, theirs)]
    trained = [run(model, images, training=True) for model in (ours, theirs)]
    for logits in trained:
        F.cross_entropy(logits, torch.arange(BATCH)).backward()
    return Errors(
        logits=max(relative_error(*evaluated), relative_error(*trained)),
        gradients=gradient_error(pairs),
    )


def main() -> None:
    for name, port in PORTS.items():
        errors = compare(port.ours(), port.make(), port.size)
        overrides = "; ".join(port.overrides) or "as it is"
        print(f"{name}: {port.spec}, {overrides}")
        print(f"    logits {errors.logits:.1e}, gradients {errors.gradients:.1e}", flush=True)


if __name__ == "__main__":
    main()
