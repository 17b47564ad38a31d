"""Soft mask branches of the attention module (Wang et al., CVPR 2017, sections 3.1 and 4.1)."""

from __future__ import annotations

from collections.abc import Mapping

from ranspec.blocks.pooling import pool
from ranspec.blocks.units import make_unit
from ranspec.ir.builder import Block, BlockCall, Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.attention import Attention, EncoderDecoderMask, LocalConvolutionMask
from ranspec.spec.units import Unit


@block
def soft_mask(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    depth: int,
    unit: Unit,
    attention: Attention,
    mask: EncoderDecoderMask,
) -> Value:
    """Encoder-decoder soft mask."""
    b.variant(f"SoftMaskDepth{depth}", f"Soft mask branch that pools {_times(depth)}.")
    y = _encode_and_decode(b, x, channels, depth, attention.r, unit, mask)
    return _mask_head(b, y, channels, attention, mask)


@block
def soft_mask_of_trunk(
    b: Builder,
    x: Value,
    trunk: Value,
    *,
    channels: Dimension,
    depth: int,
    unit: Unit,
    attention: Attention,
    mask: EncoderDecoderMask,
) -> Value:
    """Encoder-decoder soft mask to which the trunk is added before its head."""
    b.variant(
        f"SoftMaskDepth{depth}",
        f"Soft mask branch that pools {_times(depth)}; the trunk is added before its head.",
    )
    y = _encode_and_decode(b, x, channels, depth, attention.r, unit, mask)
    b.all_equal((trunk.height, x.height), (trunk.width, x.width), (trunk.channels, channels))
    return _mask_head(b, b.add(y, trunk), channels, attention, mask)


def _encode_and_decode(
    b: Builder,
    x: Value,
    channels: Dimension,
    depth: int,
    down_units: int,
    unit: Unit,
    mask: EncoderDecoderMask,
) -> Value:
    """Pool `depth` times and return to the size of the input."""
    b.all_equal((x.channels, channels))

    def units(name: str, value: Value, count: int) -> Value:
        return b.sequence(name, [make_unit(unit, channels)] * count, value)

    levels = [x]
    for level in range(1, depth + 1):
        smallest = min(levels[-1].height.value, levels[-1].width.value)
        if smallest < 2:
            size = f"{x.height.value}x{x.width.value}"
            most = f"can be pooled {_times(level - 1)}, not {_times(depth)}"
            b.fail(f"a {size} map {most if level > 1 else 'cannot be pooled'}", "mask_depth")
        y = units(f"down{level}", pool(b, levels[-1], mask.pool), down_units)
        kept = level < depth and mask.decoder == "stepwise"
        levels.append(b.variable(f"down{level}", y) if kept else y)
    y = units("bottom", levels.pop(), mask.bottom_units)
    while mask.decoder == "stepwise" and len(levels) > 1:
        skip, level = levels.pop(), len(levels)
        y = b.resize(y, skip, mask.interpolation, mask.align_corners)
        added = units(f"skip{level}", skip, mask.skip_units)
        y = b.add(y, b.add(skip, added) if mask.skip_identity else added)
        y = units(f"up{level}", y, mask.up_units)
    return b.resize(y, x, mask.interpolation, mask.align_corners)


@block
def local_mask(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    depth: int | None,
    unit: Unit,
    attention: Attention,
    mask: LocalConvolutionMask,
) -> Value:
    """Soft mask branch of local convolutions alone (Wang et al., Table 4)."""
    b.all_equal((x.channels, channels))
    y = b.sequence("units", [make_unit(unit, channels)] * mask.units, x)
    return _mask_head(b, y, channels, attention, mask)


MASKS: Mapping[str, Block] = {
    "encoder_decoder": soft_mask,
    "local_convolution": local_mask,
}
"""The block of each mask kind of the spec language; one with a second input is given the trunk."""


def make_mask(
    attention: Attention, channels: Dimension, depth: int | None, unit: Unit
) -> BlockCall:
    """Return the mask a spec asks for."""
    mask = attention.mask
    with_trunk = isinstance(mask, EncoderDecoderMask) and mask.add_trunk
    block = soft_mask_of_trunk if with_trunk else MASKS[mask.kind]
    return block(channels=channels, depth=depth, unit=unit, attention=attention, mask=mask)


def _mask_head(
    b: Builder,
    y: Value,
    channels: Dimension,
    attention: Attention,
    mask: EncoderDecoderMask | LocalConvolutionMask,
) -> Value:
    for index in range(1, mask.head_convolutions + 1):
        if mask.head_normalization == "each" or (mask.head_normalization == "inner" and index > 1):
            y = b.norm_relu(f"norm{index}", y)
        y = b.convolution(f"conv{index}", y, channels, kernel=1, bias=mask.head_bias)
    activation, normalization = attention.activation, attention.normalization
    if activation == "mixed":
        return b.sigmoid(y)
    epsilon = normalization.epsilon_of(activation)
    match activation:
        case "channel":
            y = b.channel_normalize(y, epsilon, normalization.epsilon_use)
        case "spatial":
            y = b.spatial_normalize(y, epsilon)
        case "channel_standardized":
            y = b.channel_standardize(y, epsilon)
    match normalization.affine:
        case "channel":
            y = b.channel_affine("affine", y)
        case "position":
            y = b.spatial_affine("affine", y)
    return y if activation == "channel" else b.sigmoid(y)


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
