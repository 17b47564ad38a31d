"""Names that generated classes inherit from `flax.nnx.Module`, and `rngs`; a test compares them."""

from __future__ import annotations

_NAMES = """
    eval iter_children iter_modules perturb rngs set_attributes sow train
"""
RESERVED = frozenset(_NAMES.split())
