"""The TensorFlow backend."""

from ranspec_tensorflow.emitter import BACKEND

__all__ = ["BACKEND"]
