"""What well-known counters would report of the same network.

Each says what its parameters and its cost are; none is wrong, and few agree. What a counter sees
depends on how a network is written: the rules here are for the PyTorch code that ranspec
generates, one image, in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from ranspec.analysis.count import Count
from ranspec.ir import operations as ops
from ranspec.ir.graph import Layer


@dataclass(frozen=True)
class Convention:
    """A way to count: which arrays are parameters, and what each layer costs."""

    with_statistics: bool
    parameters_are: str
    cost_is: str
    cost: Callable[[Layer], int]


@dataclass(frozen=True)
class Reported:
    """A network under a convention."""

    convention: str
    parameters: int
    parameters_are: str
    cost: int
    cost_is: str


def report(count: Count, convention: str) -> Reported:
    """Return what a counter would report; `KeyError` for an unknown convention."""
    rules = CONVENTIONS[convention]
    statistics = count.batch_norm_statistics if rules.with_statistics else 0
    return Reported(
        convention,
        count.trainable_parameters + statistics,
        rules.parameters_are,
        sum(rules.cost(layer) for layer in count.graph.layers),
        rules.cost_is,
    )


def _macs(layer: Layer) -> int:
    return layer.operation.macs(layer.output)


def _flops(layer: Layer) -> int:
    return layer.operation.flops(layer.inputs, layer.output)


def _two_per_mac(layer: Layer) -> int:
    return 2 * _macs(layer)


def _fvcore(layer: Layer) -> int:
    match layer.operation:
        case ops.BatchNorm():
            return 2 * prod(layer.output)
        case ops.Resize(interpolation="bilinear"):
            return 4 * prod(layer.output)
        case ops.Resize():
            return prod(layer.output)
        case _:
            return _macs(layer)


def _thop(layer: Layer) -> int:
    match layer.operation:
        case ops.BatchNorm():
            return 4 * prod(layer.output)
        case _:
            return _macs(layer)


def _ptflops(layer: Layer) -> int:
    match layer.operation:
        case ops.BatchNorm():
            return 2 * prod(layer.output)
        case ops.Relu() | ops.MaxPool() | ops.AveragePool() | ops.Subsample():
            return prod(layer.inputs[0])
        case ops.Resize():
            return prod(layer.output)
        case _:
            return _macs(layer) + _bias(layer)


def _torchinfo(layer: Layer) -> int:
    operation = layer.operation
    match operation:
        case ops.Convolution():
            return _macs(layer) + _bias(layer)
        case _:
            arrays = operation.parameters()
            named = (arrays[name].shape for name in ("weight", "bias") if name in arrays)
            return sum(prod(size.value for size in shape) for shape in named)


def _bias(layer: Layer) -> int:
    biased = getattr(layer.operation, "bias", False)
    return prod(layer.output) if biased else 0


_TRAINABLE = "trainable parameters"
_ALL = "trainable parameters and batch-norm statistics"
_MACS = "MACs of convolutions and linear layers"

CONVENTIONS: Mapping[str, Convention] = {
    "ranspec": Convention(False, _TRAINABLE, _MACS, _macs),
    "flops": Convention(False, _TRAINABLE, "FLOPs of everything, 2 for each MAC", _flops),
    "caffe": Convention(True, _ALL, _MACS, _macs),
    "keras": Convention(True, _ALL, "FLOPs, 2 for each MAC", _two_per_mac),
    "fvcore": Convention(
        False,
        _TRAINABLE,
        "MACs, and for each element 2 of batch norm, 4 of bilinear and 1 of nearest resizing "
        "(printed as FLOPs)",
        _fvcore,
    ),
    "ptflops": Convention(
        False,
        _TRAINABLE,
        "MACs with biases, and for each element 2 of batch norm, 1 of ReLU, resizing and what is "
        "pooled",
        _ptflops,
    ),
    "thop": Convention(
        False,
        _TRAINABLE,
        "MACs, and 4 for each element of batch norm",
        _thop,
    ),
    "torchinfo": Convention(
        False,
        _TRAINABLE,
        "MACs with biases, and 1 for each parameter of batch norm (printed as mult-adds)",
        _torchinfo,
    ),
    "torch": Convention(False, _TRAINABLE, f"FLOPs, 2 for each of the {_MACS}", _two_per_mac),
}
"""The conventions by name: `ranspec` is the default; `torch` is PyTorch's FlopCounterMode."""
