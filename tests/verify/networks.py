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
    "spatial attention, learned by position": tiny(
        "attention.activation=spatial", "attention.normalization={affine: position, epsilon: 1e-3}"
    ),
    "channel attention, learned by channel, TensorFlow's norm": tiny(
        "attention.activation=channel",
        "attention.normalization={affine: channel, epsilon: 0.5, epsilon_use: least}",
    ),
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
    "padded pools, sizes 13x14": tiny(
        "input.height=13",
        "input.width=14",
        "stem.pool={kernel: 3, stride: 1, padding: 1}",
        "attention.mask.pool={kind: average, padding: 1}",
        "stages.stage1.mask_depth=2",
    ),
    "padded maximum pools": tiny("attention.mask.pool={kernel: 2, padding: 1}"),
    "pools padded by 0": tiny("attention.mask.pool={kernel: 2, padding: 0}"),
    "units after the fusion, masks that take the trunk and skip by identity too": tiny(
        "attention={p: 1, p_after: 2, mask: {skip_identity: true, add_trunk: true}}",
        "input.height=12",
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
    "rate lowered on plateaus": tiny(
        "train.learning_rate={kind: plateau, initial: 0.1, factor: 0.2, patience: 2}",
        "train.validation=8",
    ),
    "RMSProp": tiny("train.optimizer={kind: rmsprop, epsilon: 0.01, weight_decay: 0.001}"),
    "constant rate": tiny("train.learning_rate={kind: constant, initial: 0.01}"),
    "warm-up": tiny("train.learning_rate.warmup={iterations: 5, rate: 0.01}"),
    "cosine after a linear warm-up": tiny(
        "train.learning_rate={kind: cosine, initial: 0.1, least: 0.01}",
        "train.learning_rate.warmup={kind: linear, iterations: 6, rate: 0.01}",
        "train.iterations=40",
    ),
    "micro-batches, clipped and averaged, a penalty of the head, mixed labels": tiny(
        "train.optimizer={kind: sgd, weight_decay: 0.02, decayed_weights: head}",
        "train={micro_batches: 2, gradient_clipping: 0.05, weight_average: 0.9}",
        "train.augmentation.mixup=0.3",
        "input.height=16",
    ),
    "plain momentum, other batch norm": single_unit(
        "{kind: preactivation_bottleneck}",
        "train.optimizer.nesterov=false",
        "batch_norm={epsilon: 0.001, momentum: 0.01}",
    ),
    "bottleneck with biases, projections of their own": single_unit(
        "{kind: preactivation_bottleneck, bias: true, projection: always, shortcut: norm_relu}"
    ),
    "bottleneck, stride on the first convolution, shortcut after BN alone": single_unit(
        "{kind: preactivation_bottleneck, stride_on: conv1, shortcut: norm}"
    ),
    "first unit of an activated input, ReLU before pooling": single_unit(
        "{kind: preactivation_bottleneck}",
        "stages.stage1.first_preactivation=false",
        "head={normalization: false, activation: true}",
    ),
    "basic unit": single_unit("{kind: preactivation_basic, shortcut: raw, dropout: 0.3}"),
    "grouped bottleneck": single_unit("{kind: bottleneck, groups: 2, reduction: 2}"),
    "stride on the first convolution": single_unit("{kind: bottleneck, stride_on: conv1}"),
    "zero-padded shortcut": single_unit("{kind: basic, shortcut: zero_padding}"),
    "projected shortcut": single_unit("{kind: basic}"),
    "valid convolution": single_unit("{kind: convolution, valid: true}"),
    "residual inception": tiny(f"unit={INCEPTION}", "stages.stage1={channels: 4, modules: 0}"),
    "inception reduction": tiny(f"unit={REDUCTION}", "stages.stage1={channels: 12, modules: 0}"),
    "pre-activation inception": single_unit(
        "{kind: preactivation_inception, reductions: [2, 4, 4]}"
    ),
    "TensorFlow's padding, projections of the raw input": single_unit(
        "{kind: preactivation_bottleneck, projection: always, shortcut: raw}",
        "padding=same",
        "input.height=12",
    ),
    "normalised branches": tiny(
        "unit={kind: inception, normalization: norm_relu, convolution: activated, branches: "
        "[[{channels: 4}], [], [{channels: 4, kernel: 3}]]}",
        "stages.stage1={channels: 4, modules: 0}",
    ),
}


SHALLOW = (
    "attention.t=1",
    "stages.stage1.mask_depth=2",
    "stages.stage2.mask_depth=1",
)


def narrow(source: str, size: int, *changes: str, **channels: int) -> Network:
    """Return a whole network on small images, with narrower stages."""
    widths = (f"stages.{stage}.channels={width}" for stage, width in channels.items())
    return Network((f"input.height={size}", f"input.width={size}", *widths, *changes), source)


FAMILIES: Mapping[str, Network] = {
    "attention, ImageNet": narrow(
        "attention56_imagenet",
        64,
        *SHALLOW,
        "stem.channels=8",
        "classes=10",
        stage1=16,
        stage2=32,
        stage3=64,
        tail=64,
    ),
    "AttentionNeXt": narrow(
        "attentionnext56_imagenet",
        64,
        *SHALLOW,
        "stem.channels=8",
        "unit.groups=4",
        "classes=10",
        stage1=16,
        stage2=32,
        stage3=64,
        tail=64,
    ),
    "AttentionInception": narrow(
        "attentioninception56_imagenet",
        75,
        *SHALLOW,
        "stem.channels=8",
        "classes=10",
        stage1=32,
        stage2=32,
        stage3=64,
        tail=64,
    ),
    "Yang, Ni and Gong": narrow("yeah2020/attention56_spatial_cifar", 16, *SHALLOW),
    "Yang, Ni and Gong, Tiny ImageNet": narrow(
        "yeah2020/attention56_tiny_imagenet",
        32,
        *SHALLOW,
        "stem.channels=8",
        "head.hidden=[16]",
        entry=16,
        stage1=16,
        stage2=16,
        stage3=32,
        tail=32,
    ),
    "Zhang and Zhan": narrow(
        "lzlz2020/attention56_spatial_cifar",
        32,
        "stem.channels=8",
        entry1=16,
        stage1=16,
        entry2=32,
        stage2=32,
        entry3=32,
        stage3=32,
        tail1=32,
        tail2=32,
    ),
    "Edirisooriya": narrow("edirisooriya2017/attn_reduction", 24, "classes=10"),
    "ResNet of pre-activation bottlenecks": narrow(
        "baselines/resnet164_cifar",
        16,
        *(f"stages.stage{stage}.units=2" for stage in (1, 2, 3)),
        stage1=16,
        stage2=32,
        stage3=32,
    ),
    "ResNet of basic units": narrow(
        "baselines/resnet56_cifar", 16, *(f"stages.stage{stage}.units=2" for stage in (1, 2, 3))
    ),
    "wide ResNet": narrow("baselines/wrn16_8_cifar", 16, stage1=16, stage2=16, stage3=32),
    "ResNeXt": narrow(
        "baselines/resnext101_imagenet",
        64,
        *(f"stages.stage{stage}.units=2" for stage in (1, 2, 3, 4)),
        "stem.channels=8",
        "unit.groups=4",
        "classes=10",
        stage1=16,
        stage2=32,
        stage3=32,
        stage4=64,
    ),
    "Inception-ResNet-v1": narrow(
        "baselines/inception_resnet_v1_imagenet",
        75,
        *(f"stages.inception_{letter}.units=1" for letter in "abc"),
        "classes=10",
    ),
}
"""One whole network of each family."""
