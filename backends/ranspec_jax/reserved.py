"""Names that generated classes inherit from `flax.nnx.Module`; a test compares them with it."""

from __future__ import annotations

_NAMES = """
    eval iter_children iter_modules perturb set_attributes sow train
"""
RESERVED = frozenset(_NAMES.split())
