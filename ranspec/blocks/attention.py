"""The attention module: a trunk weighted by a soft mask (Wang et al., CVPR 2017, section 3)."""

from __future__ import annotations

from ranspec.blocks.masks import make_mask
from ranspec.blocks.units import make_unit
from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.attention import Attention
from ranspec.spec.units import Unit


@block
def attention_module(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    mask_depth: int | None,
    unit: Unit,
    attention: Attention,
) -> Value:
    """Attention module."""
    learning = "(1 + mask) * trunk" if attention.learning == "residual" else "mask * trunk"
    described = f"Attention module, {learning}"
    name, mask_name = ("AttentionModule", attention.mask.described)
    if attention.mask.has_depth:
        name, mask_name = f"AttentionModuleDepth{mask_depth}", f"{mask_name} of depth {mask_depth}"
    b.variant(name, f"{described}, with {mask_name}.")
    b.all_equal((x.channels, channels))

    def units(name: str, value: Value, count: int) -> Value:
        return b.sequence(name, [make_unit(unit, channels)] * count, value)

    x = units("before", x, attention.p)
    trunk = b.variable("trunk", units("trunk", x, attention.t))
    call = make_mask(attention, channels, mask_depth, unit)
    inputs = (x, trunk)[: len(call.block.inputs)]
    mask = b.variable("mask", b.call("mask", call, *inputs))
    after = attention.p if attention.p_after is None else attention.p_after
    return units("after", b.gate(mask, trunk, attention.learning), after)
