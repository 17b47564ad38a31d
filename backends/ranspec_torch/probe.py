"""Run generated PyTorch code on given weights and batches, for the parity harness."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranspec.verify.probe import Observation, Start, main

Array = NDArray[Any]


class TorchSession:
    """A generated network with its optimiser."""

    def __init__(self, start: Start) -> None:
        self.code, self.settings = start.code, start.settings
        self.model: nn.Module = self.code.train.make_model(self.settings)
        self.initial: dict[str, Array] = self.code.weights.state(self.model)
        self.model.to(getattr(torch, start.dtype), memory_format=torch.channels_last)
        own = self.code.checkpoint.select(start.tensors, self.initial)
        self.code.weights.load(self.model, own)
        self.optimizer = self.code.train.make_optimizer(self.model, self.settings)
        if any(name.startswith("optimizer.") for name in start.tensors):
            self.code.weights.load(self.model, start.tensors, self.optimizer, start.step)

    def logits(self, images: Array) -> Array:
        self.model.eval()
        with torch.inference_mode():
            logits = self.model(_maps(images))
        self.model.train()
        return _array(logits)

    def observe(self, images: Array, labels: Array, learning_rate: float) -> Observation:
        logits: list[Array] = []
        handle = self.model.register_forward_hook(
            lambda module, inputs, output: logits.append(_array(output))
        )
        loss = self.step(images, labels, learning_rate)
        handle.remove()
        gradients = {
            name: _array(parameter.grad)
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None
        }
        return Observation(logits[-1], loss, gradients)

    def step(self, images: Array, labels: Array, learning_rate: float) -> float:
        loss: Tensor = self.code.train.train_step(
            self.model,
            self.optimizer,
            _maps(images),
            torch.from_numpy(labels),
            learning_rate,
            self.settings,
        )
        return loss.item()

    def state(self) -> dict[str, Array]:
        state: dict[str, Array] = self.code.weights.state(self.model, self.optimizer)
        return state

    def forward(self, images: Array, *, training: bool) -> None:
        self.model.train(training)
        with torch.inference_mode():
            self.model(_maps(images))

    def canonical(self, value: Array) -> Array:
        return value


def _maps(images: Array) -> Tensor:
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().numpy(), order="C")


if __name__ == "__main__":
    main(TorchSession)
