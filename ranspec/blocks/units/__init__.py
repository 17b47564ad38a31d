"""Units: the smallest parts that a stage repeats.

Every unit takes `channels` and `stride` as numbers, and the fields of its spec model as structure.
"""

from __future__ import annotations

from collections.abc import Mapping

from ranspec.blocks.units.convolutional import convolution, inception
from ranspec.blocks.units.postactivation import basic, bottleneck
from ranspec.blocks.units.preactivation import (
    preactivation_basic,
    preactivation_bottleneck,
    preactivation_inception,
)
from ranspec.ir.builder import Block, BlockCall
from ranspec.ir.dimension import Dimension
from ranspec.spec.units import Unit

UNITS: Mapping[str, Block] = {
    "basic": basic,
    "bottleneck": bottleneck,
    "convolution": convolution,
    "inception": inception,
    "preactivation_basic": preactivation_basic,
    "preactivation_bottleneck": preactivation_bottleneck,
    "preactivation_inception": preactivation_inception,
}
"""The block of each unit kind of the spec language."""


def make_unit(
    unit: Unit,
    channels: Dimension | int,
    stride: Dimension | int = 1,
    *,
    preactivation: bool = True,
) -> BlockCall:
    """Return the unit a spec asks for; without `preactivation`, of an input that is activated."""
    structure = {name: value for name, value in unit if name != "kind"}
    if not preactivation:
        structure["preactivation"] = False
    return UNITS[unit.kind](channels=channels, stride=stride, **structure)
