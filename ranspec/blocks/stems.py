"""Stems: from the image to the first stage's input."""

from __future__ import annotations

from collections.abc import Mapping

from ranspec.blocks.pooling import pool
from ranspec.blocks.units.convolutional import NO_PADDING
from ranspec.ir.builder import Block, BlockCall, Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.model import Stem
from ranspec.spec.units import Pool


@block
def convolution_stem(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    kernel: int,
    stride: int,
    bias: bool,
    valid: bool,
    normalization: bool,
    pool_settings: Pool | None,
) -> Value:
    """The first convolution and what prepares its output for the first stage."""
    b.variant("Stem")
    padding = NO_PADDING if valid else None
    x = b.convolution("conv", x, channels, kernel=kernel, stride=stride, padding=padding, bias=bias)
    x = b.norm_relu("norm", x) if normalization else x
    return pool(b, x, pool_settings) if pool_settings else x


STEMS: Mapping[str, Block] = {"convolution": convolution_stem}
"""The block of each stem kind of the spec language."""


def make_stem(stem: Stem) -> BlockCall:
    """Return the stem a spec asks for."""
    structure = {("pool_settings" if name == "pool" else name): value for name, value in stem}
    del structure["kind"]
    return STEMS[stem.kind](**structure)
