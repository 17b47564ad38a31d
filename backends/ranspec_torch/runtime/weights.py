"""Move weights and optimiser state between a model and canonical arrays.

PyTorch's names and layouts are the canonical ones, but for the counters of batch norm, which no
layer with a fixed momentum reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranspec.runtime.checkpoint import select

Array = NDArray[Any]

AVERAGE = "average"
"""The slot of a weight's moving average."""

SLOTS: Mapping[type[torch.optim.Optimizer], Mapping[str, str]] = {
    torch.optim.SGD: {"momentum": "momentum_buffer"},
    torch.optim.RMSprop: {"second_moment": "square_avg"},
    torch.optim.Adam: {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"},
}


def state(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    arrays = {name: _array(tensor) for name, tensor in _tensors(model).items()}
    if optimizer is not None:
        for slot, key in _slots(optimizer).items():
            for name, parameter in model.named_parameters():
                value = optimizer.state[parameter].get(key, torch.zeros_like(parameter))
                arrays[f"{slot}.{name}"] = _array(value)
    return arrays


def size(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Return about how many bytes a checkpoint takes."""
    return sum(array.nbytes for array in state(model, optimizer).values())


def load(
    model: nn.Module,
    arrays: Mapping[str, Array],
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
) -> None:
    """Set all weights and statistics, and the optimiser's state after `step` steps if given.

    Raises ValueError, naming the tensor, if one is missing, unknown or of another shape.
    """
    targets = _tensors(model)
    if optimizer is not None:
        begin(model, optimizer, step=step, average=AVERAGE in _slots(optimizer))
        for slot, key in _slots(optimizer).items():
            for name, parameter in model.named_parameters():
                targets[f"{slot}.{name}"] = optimizer.state[parameter][key]
    for name in targets.keys() | arrays.keys():
        if name not in arrays:
            raise ValueError(f"tensor {name} is missing")
        if name not in targets:
            raise ValueError(f"tensor {name} has no place in the model")
        if arrays[name].shape != tuple(targets[name].shape):
            raise ValueError(
                f"tensor {name} has shape {list(arrays[name].shape)}, "
                f"the model needs {list(targets[name].shape)}"
            )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(torch.from_numpy(np.array(arrays[name], order="C")))


def restore(
    model: nn.Module,
    arrays: Mapping[str, Array],
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
) -> None:
    """Load what a checkpoint holds for the model; raise CheckpointError unless all fits."""
    load(model, select(arrays, state(model, optimizer)), optimizer, step)


def begin(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int = 0, average: bool = False
) -> None:
    """Set the optimiser's state to that of its beginning, but for the number of steps taken.

    Moments are zero; an `average` of the weights starts at what they are.
    """
    for parameter in model.parameters():
        slots = optimizer.state[parameter]
        for key in SLOTS[type(optimizer)].values():
            slots[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        if isinstance(optimizer, torch.optim.Adam | torch.optim.RMSprop):
            place = parameter.device if optimizer.defaults.get("fused") else "cpu"
            slots["step"] = torch.tensor(float(step), device=place)
        if average:
            slots[AVERAGE] = parameter.detach().clone()


def average(model: nn.Module, optimizer: torch.optim.Optimizer, kept: float) -> None:
    """Let the averages keep a share of themselves, and take the rest from the weights."""
    parameters: list[Tensor] = list(model.parameters())
    averages = [optimizer.state[parameter][AVERAGE] for parameter in parameters]
    with torch.no_grad():
        torch._foreach_lerp_(averages, parameters, 1 - kept)


@contextmanager
def averaged(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put the averages in the place of the weights for a while, where there are any."""
    parameters = [item for item in model.parameters() if AVERAGE in optimizer.state[item]]
    weights = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(optimizer.state[parameter][AVERAGE])
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.copy_(weight)


def tested(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return a checkpoint's tensors with the averages, if there are any, as the weights."""
    averages = {
        name.removeprefix(f"{AVERAGE}."): array
        for name, array in arrays.items()
        if name.startswith(f"{AVERAGE}.")
    }
    return {**arrays, **averages}


def clear_biases(model: nn.Module) -> None:
    """Let the biases of convolutions and linear layers be zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def kernels(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights that are drawn, and decay, by canonical name.

    They are those of convolutions and linear layers.
    """
    return {
        f"{path}.weight": tuple(module.weight.shape)
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight and statistic by canonical name."""
    return {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}


def _slots(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """Return the slots of an optimiser's state, by how the names of their tensors begin."""
    slots = {f"optimizer.{slot}": key for slot, key in SLOTS[type(optimizer)].items()}
    has_average = any(AVERAGE in values for values in optimizer.state.values())
    return slots | ({AVERAGE: AVERAGE} if has_average else {})


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.is_floating_point()
    }


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)
