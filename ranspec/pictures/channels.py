"""Which channels of attention modules are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ranspec.errors import RanspecError
from ranspec.ir.graph import Graph
from ranspec.pictures.modules import Fusion, attention_modules, fusions

if TYPE_CHECKING:
    from ranspec.ir.operation import Array
    from ranspec.pictures.activations import Weights

DEFAULT_COUNT = 4
_RANKED = re.compile(r"(varied|strongest)(?:[ :]([1-9][0-9]{0,5}))?", re.ASCII)
_NUMBERS = re.compile(r"[0-9]{1,6}(,[0-9]{1,6})*", re.ASCII)


class ChannelError(RanspecError):
    """Channels cannot be understood, or a module has not got them."""


@dataclass(frozen=True)
class Channels:
    """`numbers` of channels, or how to find them.

    `varied` are those whose mask differs most over the positions (by its standard deviation),
    `strongest` those whose trunk's mean absolute value is largest. `mean` is that of all channels.
    """

    kind: Literal["numbers", "all", "mean", "varied", "strongest"] = "varied"
    count: int = DEFAULT_COUNT
    numbers: tuple[int, ...] = ()

    @property
    def depends_on_images(self) -> bool:
        return self.kind in ("varied", "strongest")


def parse_channels(text: str) -> Channels:
    """Read `0,5`, `all`, `mean`, `varied 4` or `strongest 4`; raise `ChannelError` for others."""
    cleaned = text.strip()
    if cleaned == "all":
        return Channels("all")
    if cleaned == "mean":
        return Channels("mean")
    if _NUMBERS.fullmatch(cleaned):
        return Channels("numbers", numbers=tuple(dict.fromkeys(map(int, cleaned.split(",")))))
    if found := _RANKED.fullmatch(cleaned):
        kind: Literal["varied", "strongest"] = "varied" if found[1] == "varied" else "strongest"
        return Channels(kind, int(found[2] or DEFAULT_COUNT))
    raise ChannelError(
        f"channels {text!r}: expected numbers such as 0,5, or all, mean, varied N or strongest N"
    )


def check_channels(graph: Graph, channels: Channels, modules: Sequence[str]) -> None:
    """Raise `ChannelError` where one of some modules has not got a channel that is asked for."""
    for module, count in _counts(graph).items():
        missing = [number for number in channels.numbers if number >= count]
        if module in modules and missing:
            raise ChannelError(
                f"{module} has no channel {missing[0]}; its channels are 0 to {count - 1}"
            )


def choose_channels(
    graph: Graph, weights: Weights, images: Array, channels: Channels, modules: Sequence[str]
) -> dict[str, tuple[int | None, ...]]:
    """Return the channels to draw of each module, the same for all images (N, C, H, W).

    None stands for the mean of all channels. Those that are found come in order of their rank,
    equal ones in that of their numbers.
    """
    counts = {name: count for name, count in _counts(graph).items() if name in modules}
    if channels.kind == "all":
        return {name: tuple(range(count)) for name, count in counts.items()}
    if not channels.depends_on_images:
        return dict.fromkeys(counts, channels.numbers or (None,))
    scores: dict[str, Array] = {}
    for index in range(len(images)):
        for fusion in fusions(graph, weights, images[index : index + 1]):
            if fusion.module in counts:
                score = _score(channels, fusion)
                scores[fusion.module] = scores.get(fusion.module, 0) + score
    return {name: _largest(scores[name], channels.count) for name in counts}


def _counts(graph: Graph) -> Mapping[str, int]:
    modules = attention_modules(graph)
    return {
        modules[layer.path]: layer.output[-1] for layer in graph.layers if layer.path in modules
    }


def _score(channels: Channels, fusion: Fusion) -> Array:
    import numpy as np

    if channels.kind == "varied":
        spread: Array = fusion.mask.std((0, 2, 3), dtype=np.float64)
        return spread
    strength: Array = np.abs(fusion.trunk).mean((0, 2, 3), dtype=np.float64)
    return strength


def _largest(scores: Array, count: int) -> tuple[int, ...]:
    import numpy as np

    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(int(channel) for channel in order)
