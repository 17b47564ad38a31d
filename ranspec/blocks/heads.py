"""Heads: from the last feature map to the logits."""

from __future__ import annotations

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension


@block
def head(
    b: Builder,
    x: Value,
    *,
    classes: Dimension,
    normalization: bool,
    activation: bool,
    dropout: float,
    hidden: tuple[int, ...],
) -> Value:
    """Global average pooling and the classifier."""
    x = b.norm_relu("norm", x) if normalization else x
    x = b.relu(x) if activation else x
    x = b.global_average_pool(x)
    for index, features in enumerate(hidden, start=1):
        x = b.dropout(f"dropout{index}", x, dropout)
        x = b.relu(b.linear(f"hidden{index}", x, features))
    x = b.dropout("dropout", x, dropout)
    return b.linear("classifier", x, classes)
