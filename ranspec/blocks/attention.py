"""The attention module: a trunk weighted by a soft mask (Wang et al., CVPR 2017, section 3)."""

from __future__ import annotations

from ranspec.blocks.masks import local_mask, soft_mask, soft_mask_of_trunk
from ranspec.blocks.units import make_unit
from ranspec.ir.builder import BlockCall, Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.attention import Attention, EncoderDecoderMask, Mask
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
    if isinstance(attention.mask, EncoderDecoderMask):
        b.variant(
            f"AttentionModuleDepth{mask_depth}", f"{described}, with a mask of depth {mask_depth}."
        )
    else:
        b.variant("AttentionModule", f"{described}, with a mask of local convolutions.")
    b.all_equal((x.channels, channels))

    def units(name: str, value: Value, count: int) -> Value:
        return b.sequence(name, [make_unit(unit, channels)] * count, value)

    x = units("before", x, attention.p)
    trunk = b.variable("trunk", units("trunk", x, attention.t))
    inputs = [x, trunk] if _takes_trunk(attention.mask) else [x]
    call = _mask(channels, mask_depth, unit, attention)
    mask = b.variable("mask", b.call("mask", call, *inputs))
    after = attention.p if attention.p_after is None else attention.p_after
    return units("after", b.gate(mask, trunk, attention.learning), after)


def _mask(
    channels: Dimension, mask_depth: int | None, unit: Unit, attention: Attention
) -> BlockCall:
    shared = {
        "channels": channels,
        "unit": unit,
        "activation": attention.activation,
        "normalization": attention.normalization,
    }
    if isinstance(attention.mask, EncoderDecoderMask):
        block = soft_mask_of_trunk if _takes_trunk(attention.mask) else soft_mask
        return block(depth=mask_depth, down_units=attention.r, mask=attention.mask, **shared)
    return local_mask(mask=attention.mask, **shared)


def _takes_trunk(mask: Mask) -> bool:
    return isinstance(mask, EncoderDecoderMask) and mask.add_trunk
