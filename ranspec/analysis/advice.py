"""What a spec says that is legal, but surely not meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ranspec.analysis.count import Count
from ranspec.ir.operations import BatchNorm, Relu
from ranspec.spec import DEFAULT, LoadedSpec, Origin, Problem
from ranspec.spec.training import CLASSES_OF_DATA, Adam, StepSchedule

FAR_OFF = 0.05
"""Relative difference from a printed figure that is no rounding and no other way to count."""
_HIGH_FOR_ADAM = 0.01
_OTHER_MOMENTUM = 0.5

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to look at again: the value at `path`, or else what makes its default wrong."""

    path: Path
    message: str
    causes: tuple[Path, ...] = ()


def advice(loaded: LoadedSpec, counted: Count) -> tuple[Problem, ...]:
    """Return what the author of a spec should look at again, in the order of the spec."""
    found = (
        *_norm_after_norm(loaded, counted),
        *_idle_settings(loaded),
        *_statistics(loaded),
        *_data(loaded),
        *_rates(loaded),
        *_figures(counted),
    )
    problems = (Problem.at(_written(loaded, item), item.path, item.message) for item in found)
    return tuple(sorted(problems, key=lambda item: (item.file, item.line, item.column)))


def _written(loaded: LoadedSpec, item: Advice) -> Origin:
    """Return where the first of what an advice is about was written."""
    places = (loaded.origins.get(path, DEFAULT) for path in (item.path, *item.causes))
    return next((place for place in places if place != DEFAULT), loaded.locate(*item.path))


def _norm_after_norm(loaded: LoadedSpec, counted: Count) -> Iterator[Advice]:
    layers = counted.graph.layers
    first = next(index for index, layer in enumerate(layers) if layer.path.startswith("head."))
    before, head = layers[first - 1].operation, layers[first].operation
    if isinstance(before, Relu) and isinstance(head, BatchNorm):
        extra = 2 * layers[first].output[-1]
        last = list(loaded.spec.stages)[-1]
        yield Advice(
            ("head", "normalization"),
            f"a second BN-ReLU, {extra:,} parameters, after units that end in ReLU; write "
            "head: {normalization: false} for the network of the papers",
            (("stages", last, "unit", "kind"), ("unit", "kind")),
        )


def _idle_settings(loaded: LoadedSpec) -> Iterator[Advice]:
    """Find what was written and has no effect."""
    spec = loaded.spec
    for name, stage in spec.stages.items():
        path = ("stages", name)
        if stage.stride > 1 and not stage.units:
            message = "a stage without units before its modules keeps the size; write units: 1"
            yield Advice((*path, "stride"), message)
        if stage.mask_depth and not stage.modules and _is_written(loaded, *path, "mask_depth"):
            message = "the stage has no attention modules; write modules: 1"
            yield Advice((*path, "mask_depth"), message)
    start = ("train", "initialization")
    kind = loaded.origins[*start, "kind"].file
    if spec.train.initialization.kind == "he_normal":
        key, message = (
            "deviation",
            "kind he_normal takes its deviation from fan; write kind: normal",
        )
    else:
        key, message = "fan", "kind normal has no fan; it starts all layers with deviation"
    if _is_written(loaded, *start, key) and kind in (loaded.origins[*start, key].file, "default"):
        yield Advice((*start, key), message)


def _statistics(loaded: LoadedSpec) -> Iterator[Advice]:
    momentum = loaded.spec.batch_norm.momentum
    if momentum > _OTHER_MOMENTUM:
        yield Advice(
            ("batch_norm", "momentum"),
            f"{momentum:g} is the weight of the new batch here; where the old statistics have this "
            f"weight, write {1 - momentum:.6g}",
        )


def _data(loaded: LoadedSpec) -> Iterator[Advice]:
    spec, data = loaded.spec, loaded.spec.train.data
    classes = CLASSES_OF_DATA.get(data)
    if classes and classes != spec.classes:
        message = f"{data} has {classes:,} classes, the network {spec.classes:,}"
        yield Advice(("classes",), message, (("train", "data"),))
    if data == "digits" and spec.train.augmentation.flip:
        path = ("train", "augmentation", "flip")
        message = "mirrored digits are no digits; write augmentation: {flip: false}"
        yield Advice(path, message, (("train", "data"),))


def _rates(loaded: LoadedSpec) -> Iterator[Advice]:
    train = loaded.spec.train
    rate = train.learning_rate
    path = ("train", "learning_rate")
    if isinstance(rate, StepSchedule):
        late = [at for at in rate.at if at >= train.iterations]
        if late:
            listed = ", ".join(map(str, late))
            message = f"training ends at {train.iterations}, before the rate falls at {listed}"
            yield Advice((*path, "at"), message, (("train", "iterations"),))
        if rate.warmup and rate.at and rate.warmup.iterations > rate.at[0]:
            message = f"the warm-up lasts until after the rate falls at {rate.at[0]}"
            yield Advice((*path, "warmup"), message)
    if isinstance(train.optimizer, Adam) and rate.initial > _HIGH_FOR_ADAM:
        message = f"a rate of {rate.initial:g} is high for Adam, whose authors take 0.001"
        yield Advice((*path, "initial"), message, (("train", "optimizer", "kind"),))


def _figures(counted: Count) -> Iterator[Advice]:
    printed = counted.paper
    if printed is None or printed.comment:
        return
    for key, difference in counted.relative_differences.items():
        if difference is None or abs(difference) <= FAR_OFF:
            continue
        ours = {"parameters": counted.trainable_parameters, "macs": counted.macs}[key]
        figure = {"parameters": printed.parameters, "macs": printed.macs}[key]
        yield Advice(
            ("paper", key),
            f"the source prints {figure:,.0f}, the network has {ours:,} ({difference:+.1%})",
        )


def _is_written(loaded: LoadedSpec, *path: str) -> bool:
    # A build writes every value into its spec.yaml, which says nothing of what anyone meant.
    return not loaded.spec.built_from and loaded.origins.get(path, DEFAULT) != DEFAULT
