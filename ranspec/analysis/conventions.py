"""What well-known counters would report of the same network.

Each names what it calls parameters and what it calls cost; none is wrong, and no two agree. The
counters see PyTorch modules and functions, so what they report of a network depends a little on
how it is written: the rules here are for batch norm, ReLU and pooling as modules and resizing as
a function, in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from ranspec.analysis.count import Count, operation_cost
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
        case ops.AveragePool() | ops.GlobalAveragePool():
            return prod(layer.output)
        case _:
            return _macs(layer)


def _torchinfo(layer: Layer) -> int:
    operation = layer.operation
    match operation:
        case ops.Convolution(bias=bias):
            return _macs(layer) + (prod(layer.output) if bias else 0)
        case _:
            return operation_cost(operation, layer.inputs, layer.output).parameters


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
        "MACs, and for each element 2 of batch norm and 4 of bilinear resizing (printed as FLOPs)",
        _fvcore,
    ),
    "thop": Convention(
        False,
        _TRAINABLE,
        "MACs, and for each element 4 of batch norm and 1 of average pooling",
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
