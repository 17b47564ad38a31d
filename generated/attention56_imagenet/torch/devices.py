"""Where PyTorch computes, in what precision, and a dataset there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from data import Dataset
from settings import fail

Draws = TypeVar("Draws", bound=tuple[Any, ...])


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how to compute."""

    decisive: ClassVar[tuple[str, ...]] = ("precision",)

    device: Annotated[Literal["auto", "cpu", "gpu"], "where to train"] = "auto"
    precision: Annotated[Literal["float32", "bfloat16"], "of convolutions"] = "float32"
    compile: Annotated[bool, "compile the network with torch.compile"] = False


def choose_device(options: DeviceOptions) -> torch.device:
    """Make PyTorch use the precision asked for; return the device, `auto` a GPU if there is one."""
    if options.precision == "float32":
        # A GPU's convolutions would round to 10 bits of mantissa.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    found = torch.cuda.is_available()
    if options.device == "gpu" and not found:
        fail("--device gpu: PyTorch finds no GPU")
    return torch.device("cuda" if found and options.device != "cpu" else "cpu")


def autocast(device: torch.device, options: DeviceOptions) -> torch.autocast:
    """Return the context that runs convolutions in the precision asked for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16")


def put_draws(draws: Draws, device: torch.device) -> Draws:
    """Return the draws of a step with their arrays on the device."""
    put = (
        torch.from_numpy(item).to(device, non_blocking=True)
        if isinstance(item, np.ndarray)
        else item
        for item in draws
    )
    return type(draws)(*put)


class DeviceData:
    """A dataset on the device."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self.images = torch.from_numpy(np.asarray(dataset.images)).to(device)
        self.labels = torch.from_numpy(dataset.labels).to(device)
        self.device = device

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images [n, H, W, C] and labels [n] of the dataset's rows."""
        return self.images[indices], self.labels[indices]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the dataset in order, `size` rows at a time; the last batch may be smaller."""
        return zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)
