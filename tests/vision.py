"""torchvision, where it was built for another PyTorch than the one that is installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import torch

_KEPT: list[torch.library.Library] = []
"""Declarations last as long as their library."""


def torchvision_models() -> ModuleType:
    """Import torchvision's networks, which need nothing of its compiled part.

    Where that part was built for another PyTorch, the operators whose shapes torchvision
    describes when it is imported are declared first; from then on it can be imported by others.
    """
    try:
        return import_module("torchvision.models")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _KEPT.append(library)
        return import_module("torchvision.models")
