"""The whole network: stem, stages, head."""

from __future__ import annotations

from ranspec.blocks.attention import attention_module
from ranspec.blocks.heads import head
from ranspec.blocks.stems import make_stem
from ranspec.blocks.units import make_unit
from ranspec.ir.builder import BlockCall, Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.attention import Attention
from ranspec.spec.model import Head, Stage, Stem
from ranspec.spec.units import Unit


@block
def network(
    b: Builder,
    x: Value,
    *,
    classes: Dimension,
    class_name: str,
    description: str,
    stem: Stem,
    stages: tuple[tuple[str, Stage], ...],
    unit: Unit,
    attention: Attention,
    head_settings: Head,
) -> Value:
    """A network of stages."""
    b.variant(class_name, description)
    x = b.call("stem", make_stem(stem), x)
    for name, stage in stages:
        x = b.sequence(name, _stage(stage, stage.unit or unit, stage.attention or attention), x)
    structure = dict(head_settings)
    return b.call("head", head(classes=classes, **structure), x)


def _stage(stage: Stage, unit: Unit, attention: Attention) -> list[BlockCall]:
    """List a stage's units and attention modules; the first unit carries the stride."""
    strides = [stage.stride] + [1] * (stage.units - 1)
    module = attention_module(
        channels=stage.channels, mask_depth=stage.mask_depth, unit=unit, attention=attention
    )
    return [
        *(make_unit(unit, stage.channels, stride) for stride in strides[: stage.units]),
        *[module] * stage.modules,
        *[make_unit(unit, stage.channels)] * stage.units_after,
    ]
