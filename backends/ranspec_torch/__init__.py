"""The PyTorch backend."""

from ranspec_torch.emitter import BACKEND

__all__ = ["BACKEND"]
