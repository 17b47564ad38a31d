"""The networks that every backend is verified on: changes to `tiny.yaml`, or specs by name.

A new choice of the spec language is covered by one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ranspec.spec import LoadedSpec, load_spec

TINY = str(Path(__file__).with_name("tiny.yaml"))


@dataclass(frozen=True)
class Network:
    """A spec and what is changed in it."""

    changes: tuple[str, ...] = ()
    source: str = TINY

    def load(self) -> LoadedSpec:
        return load_spec(self.source, self.changes)


def tiny(*changes: str) -> Network:
    return Network(changes)


def single_unit(unit: str, *changes: str) -> Network:
    """Return a network of one unit that changes the width and one that does not."""
    return tiny(
        f"unit={unit}", "stages.stage1={channels: 8, stride: 2, units: 2, modules: 0}", *changes
    )


TWO_STAGES = "stages.stage2={channels: 16, stride: 2, modules: 1, mask_depth: 1}"
LOCAL = "attention.mask={kind: local_convolution, units: 1}"
INCEPTION = """{kind: inception, branches: [
    [{channels: 4}], [{channels: 2}, {channels: 4, kernel: [1, 3]}, {channels: 4, kernel: [3, 1]}],
    [{pool: average, kernel: 3}, {channels: 2}]], scale: 0.5, convolution: linear}"""
REDUCTION = """{kind: inception, branches: [
    [{channels: 8, kernel: 3, stride: 2, valid: true}],
    [{pool: max, kernel: 3, stride: 2, valid: true}]], residual: false}"""

NETWORKS: Mapping[str, Network] = {
    "two stages, sizes 13x14": tiny(
        "input.height=13", "input.width=14", "attention={p: 1, t: 2, r: 2}", TWO_STAGES
    ),
    "depth 3, odd size": tiny("input.height=15", "input.width=15", "stages.stage1.mask_depth=3"),
    "depth 2, even size": tiny("input.height=12", "input.width=8", "stages.stage1.mask_depth=2"),
    "channel attention": tiny("attention.activation=channel"),
    "spatial attention": tiny("attention.activation=spatial"),
    "learned spatial attention": tiny("attention.activation=spatial_learned"),
    "standardized channel attention": tiny("attention.activation=channel_standardized"),
    "naive learning": tiny("attention.learning=naive"),
    "naive spatial attention": tiny("attention.learning=naive", "attention.activation=spatial"),
    "local mask, naive, channel": tiny(
        LOCAL, "attention.learning=naive", "attention.activation=channel"
    ),
    "local mask, spatial": tiny(LOCAL, "attention.activation=spatial"),
    "half-pixel interpolation, average pools": tiny(
        "attention.mask.align_corners=false",
        "attention.mask.pool.kind=average",
        "stages.stage1.mask_depth=2",
    ),
    "nearest interpolation, average same pools": tiny(
        "attention.mask.interpolation=nearest",
        "attention.mask.pool={kind: average, padding: same}",
        "stages.stage1.mask_depth=2",
    ),
    "direct decoder, same pools, bias in the mask's head": tiny(
        "attention.mask.decoder=direct",
        "attention.mask.pool.padding=same",
        "attention.mask.head_bias=true",
        "attention.mask.head_normalization=none",
        "stages.stage1.mask_depth=2",
    ),
    "stem with bias and pool, two hidden layers": tiny(
        "input.height=31",
        "input.width=32",
        "stem={channels: 4, kernel: 7, stride: 2, bias: true, normalization: false, pool: {}}",
        "head={normalization: false, hidden: [7, 6]}",
        "attention.mask.pool={padding: valid, kernel: 2}",
    ),
    "Adam, decaying rate": tiny(
        "train.optimizer={kind: adam, weight_decay: 0.001}",
        "train.learning_rate={kind: exponential, initial: 0.001, factor: 0.5, every: 7}",
        "train.label_smoothing=0",
    ),
    "RMSProp": tiny("train.optimizer={kind: rmsprop, epsilon: 0.01, weight_decay: 0.001}"),
    "constant rate": tiny("train.learning_rate={kind: constant, initial: 0.01}"),
    "warm-up": tiny("train.learning_rate.warmup={iterations: 5, rate: 0.01}"),
    "plain momentum, other batch norm": single_unit(
        "{kind: preactivation_bottleneck}",
        "train.optimizer.nesterov=false",
        "batch_norm={epsilon: 0.001, momentum: 0.01}",
    ),
    "bottleneck with biases, projections of their own": single_unit(
        "{kind: preactivation_bottleneck, bias: true, projection: always, shortcut: normalized}"
    ),
    "basic unit": single_unit("{kind: preactivation_basic, shortcut: raw, dropout: 0.3}"),
    "grouped bottleneck": single_unit("{kind: bottleneck, groups: 2, reduction: 2}"),
    "stride on the first convolution": single_unit("{kind: bottleneck, stride_on: conv1}"),
    "zero-padded shortcut": single_unit("{kind: basic, shortcut: zero_padding}"),
    "projected shortcut": single_unit("{kind: basic}"),
    "valid convolution": single_unit("{kind: convolution, valid: true}"),
    "residual inception": tiny(f"unit={INCEPTION}", "stages.stage1={channels: 4, modules: 0}"),
    "inception reduction": tiny(f"unit={REDUCTION}", "stages.stage1={channels: 12, modules: 0}"),
}
