"""The ONNX backend: infers only, one `model.onnx` with its weights."""

from ranspec_onnx.backend import BACKEND

__all__ = ["BACKEND"]
