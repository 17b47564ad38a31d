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
    for name, calls in network_parts(
        classes=classes,
        stem=stem,
        stages=stages,
        unit=unit,
        attention=attention,
        head_settings=head_settings,
    ):
        x = b.sequence(name, calls, x)
    return x


def network_parts(
    *,
    classes: Dimension | int,
    stem: Stem,
    stages: tuple[tuple[str, Stage], ...],
    unit: Unit,
    attention: Attention,
    head_settings: Head,
) -> list[tuple[str, list[BlockCall]]]:
    """List the stem, the stages and the head, each a row of blocks."""
    return [
        ("stem", [make_stem(stem)]),
        *(
            (name, _stage(stage, stage.unit or unit, stage.attention or attention))
            for name, stage in stages
        ),
        ("head", [head(classes=classes, **dict(head_settings))]),
    ]


def _stage(stage: Stage, unit: Unit, attention: Attention) -> list[BlockCall]:
    """List a stage's units and attention modules; the first unit carries the stride."""
    module = attention_module(
        channels=stage.channels, mask_depth=stage.mask_depth, unit=unit, attention=attention
    )
    first = make_unit(unit, stage.channels, stage.stride, preactivation=stage.first_preactivation)
    units = [first, *[make_unit(unit, stage.channels)] * (stage.units - 1)]
    return [
        *units[: stage.units],
        *[module] * stage.modules,
        *[make_unit(unit, stage.channels)] * stage.units_after,
    ]
