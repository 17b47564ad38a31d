"""The JAX backend."""

from ranspec_jax.emitter import BACKEND

__all__ = ["BACKEND"]
