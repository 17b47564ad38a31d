"""Move weights and optimiser state between a model and canonical arrays.

PyTorch's names and layouts are the canonical ones, but for the counters of batch norm, which no
layer with a fixed momentum reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]

SLOTS: Mapping[type[torch.optim.Optimizer], Mapping[str, str]] = {
    torch.optim.SGD: {"momentum": "momentum_buffer"},
    torch.optim.RMSprop: {"second_moment": "square_avg"},
    torch.optim.Adam: {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"},
}


def state(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Array]:
    """Return copies of all weights and statistics, and of the optimiser's state if given."""
    arrays = {name: _array(tensor) for name, tensor in _tensors(model).items()}
    if optimizer is not None:
        for slot, key in SLOTS[type(optimizer)].items():
            for name, parameter in model.named_parameters():
                value = optimizer.state[parameter].get(key, torch.zeros_like(parameter))
                arrays[f"optimizer.{slot}.{name}"] = _array(value)
    return arrays


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
        for slot, key in SLOTS[type(optimizer)].items():
            for name, parameter in model.named_parameters():
                buffer = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                optimizer.state[parameter][key] = buffer
                targets[f"optimizer.{slot}.{name}"] = buffer
                if isinstance(optimizer, torch.optim.Adam | torch.optim.RMSprop):
                    optimizer.state[parameter]["step"] = torch.tensor(float(step))
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


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.is_floating_point()
    }


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy(), order="C", copy=True)
