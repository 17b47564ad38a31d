"""Pooling as specs describe it."""

from ranspec.ir.builder import Builder, Value
from ranspec.spec.units import Pool


def pool(b: Builder, x: Value, settings: Pool) -> Value:
    """Pool a map as a spec asks."""
    apply = b.max_pool if settings.kind == "max" else b.average_pool
    return apply(x, settings.kernel, settings.stride, settings.padding)
