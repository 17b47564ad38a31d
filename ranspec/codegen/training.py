"""What the templates of `recipe.py` and `train.py` are given: the recipe as Python literals.

Decisions are taken here, once for all backends; templates lay them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, get_origin

from ranspec.runtime import schedule as schedules
from ranspec.runtime import settings as setting_types
from ranspec.spec.model import Spec
from ranspec.spec.training import (
    Augmentation,
    Optimizer,
    RmsProp,
    Schedule,
    Sgd,
    Test,
    Training,
)

LINE_LENGTH = 100
FLIP = "flip images at random, left to right"
TEN, CENTRE = 10, 4
"""How many crops there may be, and which of them is the centre."""

SCHEDULE = {
    "factor": ("learning_rate_factor", "Share", "factor of each change"),
    "at": ("learning_rate_steps", "tuple[Steps, ...], RISING", "when the rate changes"),
    "every": ("learning_rate_every", "Steps", "steps between changes of the rate"),
    "patience": ("learning_rate_patience", "Patience", "epochs to wait for a better one"),
    "least": ("learning_rate_least", "LowestRate", "lowest learning rate"),
}
"""Name, type and help of the settings of schedules, by the key of the language."""

RUNTIME_MODULES = (
    "archives.py",
    "cache.py",
    "checkpoint.py",
    "data.py",
    "images.py",
    "initialization.py",
    "metrics.py",
    "progress.py",
    "sampling.py",
    "schedule.py",
    "settings.py",
    "streaming.py",
)


@dataclass(frozen=True)
class TrainingContext:
    """Values for a `train.py` template: names and flags as they are, the rest Python source.

    `recipe_settings` are the fields of the generated `Recipe`, laid out as formatters want them.
    """

    name: str
    network: str
    digest: str
    model_class: str
    data: str
    height: str
    width: str
    channels: str
    classes: str
    normalization: str
    distribution: str
    fan: str
    deviation: str
    optimizer: str
    schedule: str
    rate: tuple[str, ...]
    """The arguments of the schedule's function, none for a constant rate."""
    warmup: str
    """Its kind, or nothing."""
    decayed: str
    """What the names of kernels with an L2 penalty begin with."""
    accumulated: bool
    clipped: bool
    averaged: bool
    top5: bool
    validated: bool
    stopping: bool
    restored: bool
    cropped: bool
    warped: tuple[str, ...]
    """The settings of the affine maps, if there are any."""
    colored: bool
    mixed: str
    """mixup or cutmix, or nothing."""
    crops: str
    """The crops that images are tested by, if not the whole image."""
    smoothed: bool
    noisy: bool
    dropout: bool
    bundled: bool
    recipe_augment: tuple[str, ...]
    recipe_sampling: tuple[str, ...]
    recipe_schedule: tuple[str, ...]
    recipe_types: tuple[str, ...]
    recipe_settings: tuple[str, ...]
    checks: tuple[tuple[str, str], ...]
    """What settings of the recipe must not be together, and what is said then."""


def training_context(spec: Spec, *, digest: str, model_class: str) -> TrainingContext:
    """Return what the templates need to know of a spec."""
    if not model_class.isidentifier():
        raise ValueError(f"{model_class!r} is not an identifier")
    recipe = spec.train
    augmentation = recipe.augmentation
    warped = tuple(name for name, _, _ in _geometry(augmentation))
    cropped = not warped and (augmentation.pad > 0 or augmentation.flip)
    colored = augmentation.color > 0
    mixed = "mixup" if augmentation.mixup > 0 else "cutmix" if augmentation.cutmix > 0 else ""
    tested = recipe.test != Test()
    validated, stopping = recipe.validation > 0, recipe.early_stopping
    noisy = recipe.clean_labels < 1
    dropout = spec.head.dropout > 0
    settings, warmup = _recipe(recipe), recipe.learning_rate.warmup
    return TrainingContext(
        name=spec.name,
        network=_literal(spec.name),
        digest=_literal(digest),
        model_class=model_class,
        data=_literal(recipe.data),
        height=_literal(spec.input.height),
        width=_literal(spec.input.width),
        channels=_literal(spec.input.channels),
        classes=_literal(spec.classes),
        normalization=_literal(recipe.normalization),
        distribution=_literal(recipe.initialization.kind),
        fan=_literal(recipe.initialization.fan),
        deviation=_literal(recipe.initialization.deviation),
        optimizer=recipe.optimizer.kind,
        schedule=recipe.learning_rate.kind,
        rate=tuple(_rate(recipe.learning_rate)),
        warmup=warmup.kind if warmup else "",
        decayed=_literal("head." if recipe.optimizer.decayed_weights == "head" else ""),
        accumulated=recipe.micro_batches > 1,
        clipped=recipe.gradient_clipping is not None,
        averaged=recipe.weight_average > 0,
        top5=spec.classes > 5,
        validated=validated,
        stopping=stopping is not None,
        restored=stopping is not None and stopping.restore_best,
        cropped=cropped,
        warped=warped,
        colored=colored,
        mixed=mixed,
        crops=_crops(recipe.test, spec.input.height, spec.input.width),
        smoothed=recipe.label_smoothing > 0,
        noisy=noisy,
        dropout=dropout,
        bundled=recipe.data == "digits",
        recipe_augment=_used(
            crop_and_flip_images=cropped,
            cutmix=mixed == "cutmix",
            mix_labels=bool(mixed),
            mixup=mixed == "mixup",
            normalize=True,
            shift_colors=colored,
            warp=bool(warped) or tested,
        ),
        recipe_sampling=_used(
            affine_maps=bool(warped),
            batch_indices=True,
            color_shares=colored,
            crop_and_flip=cropped,
            crop_boxes="area" in warped,
            cutmix_boxes=mixed == "cutmix",
            cutmix_shares=mixed == "cutmix",
            mixup_shares=mixed == "mixup",
            step_seed=dropout,
            ten_crop_maps=tested,
        ),
        recipe_schedule=_used(
            **{
                f"{recipe.learning_rate.kind}_schedule": recipe.learning_rate.kind != "constant",
                "linear_warmup": warmup is not None and warmup.kind == "linear",
            }
        ),
        recipe_types=_mentioned(settings),
        recipe_settings=settings,
        checks=tuple(_checks(recipe)),
    )


ADVANCED: Mapping[str, Callable[[Training], bool]] = {
    "micro_batches": lambda recipe: recipe.micro_batches > 1,
    "gradient_clipping": lambda recipe: recipe.gradient_clipping is not None,
    "weight_average": lambda recipe: recipe.weight_average > 0,
    "optimizer.decayed_weights": lambda recipe: recipe.optimizer.decayed_weights != "all",
    "augmentation.mixup": lambda recipe: recipe.augmentation.mixup > 0,
    "augmentation.cutmix": lambda recipe: recipe.augmentation.cutmix > 0,
    "test": lambda recipe: recipe.test != Test(),
}
"""What a backend's training may lack, by key of the recipe, and which recipes ask for it."""


def lacking(recipe: Training, lacks: Set[str]) -> tuple[str, ...]:
    """Return the keys of a recipe that a backend lacks."""
    return tuple(key for key, asked in ADVANCED.items() if key in lacks and asked(recipe))


def _mentioned(settings: Sequence[str]) -> tuple[str, ...]:
    """Return the names of types and limits that settings have."""
    code = " ".join(re.sub('"[^"]*"', "", setting) for setting in settings)
    return tuple(
        name
        for name, value in vars(setting_types).items()
        if (get_origin(value) is Annotated or isinstance(value, setting_types.Rising))
        and re.search(rf"\b{name}\b", code)
    )


def _used(**functions: bool) -> tuple[str, ...]:
    """Return the names of the functions that are used."""
    return tuple(name for name, used in functions.items() if used)


def _recipe(recipe: Training) -> tuple[str, ...]:
    settings = [
        _setting("seed", "Count", "seed of weights, sample order, augmentation", recipe.seed),
        _setting("iterations", "Steps", "steps to train", recipe.iterations),
        _setting("batch_size", "BatchSize", "images per step", recipe.batch_size),
    ]
    if recipe.micro_batches > 1:
        help = "parts of a batch, one after the other"
        settings.append(_setting("micro_batches", "BatchSize", help, recipe.micro_batches))
    settings += [*_schedule(recipe.learning_rate), *_optimizer(recipe.optimizer)]
    if recipe.gradient_clipping is not None:
        help = "largest norm of all gradients"
        settings.append(_setting("gradient_clipping", "Rate", help, recipe.gradient_clipping))
    if recipe.weight_average > 0:
        help = "share that the average of weights keeps"
        settings.append(_setting("weight_average", "Fraction", help, recipe.weight_average))
    if recipe.validation:
        help = "training images to hold out"
        settings.append(_setting("validation", "Positive", help, recipe.validation))
    if recipe.early_stopping:
        help = "epochs to wait for a better one"
        patience = recipe.early_stopping.patience
        settings.append(_setting("early_stopping", "Patience", help, patience))
    settings += _augmentation(recipe.augmentation)
    if recipe.label_smoothing > 0:
        help = "target spread over classes"
        settings.append(_setting("label_smoothing", "Fraction", help, recipe.label_smoothing))
    if recipe.clean_labels < 1:
        help = "share of right training labels"
        settings.append(_setting("clean_labels", "Share", help, recipe.clean_labels))
    return tuple(settings)


def _augmentation(augmentation: Augmentation) -> Iterator[str]:
    geometry = _geometry(augmentation)
    for name, kind, help in geometry:
        yield _setting(name, kind, help, getattr(augmentation, name))
    if not geometry and (augmentation.pad > 0 or augmentation.flip):
        help = "zero pixels around an image to crop from"
        yield _setting("pad", "Padding", help, augmentation.pad)
        yield _setting("flip", "bool", FLIP, augmentation.flip)
    if augmentation.color > 0:
        help = "deviation of shares of principal colours"
        yield _setting("color", "Fraction", help, augmentation.color)
    for name in ("mixup", "cutmix"):
        if concentration := getattr(augmentation, name):
            help = f"parameter of {name}'s beta distribution"
            yield _setting(name, "Concentration", help, concentration)


def _geometry(augmentation: Augmentation) -> tuple[tuple[str, str, str], ...]:
    """Return name, type and help of each setting of the affine maps; none if there are no maps."""
    if not augmentation.warps:
        return ()
    crop = (augmentation.area, augmentation.ratio) != ((1.0, 1.0), (1.0, 1.0))
    shares, ratios = "tuple[Share, Share], ORDERED", "tuple[Ratio, Ratio], ORDERED"
    settings = (
        ("area", shares, "least and largest share to crop", crop),
        ("ratio", ratios, "least and largest width / height of it", crop),
        ("shift", "Fraction", "largest shift, as a share of the size", augmentation.shift > 0),
        ("zoom", "Fraction", "largest change of size, as a share", augmentation.zoom > 0),
        ("shear", "Fraction", "largest slant, as a share", augmentation.shear > 0),
        ("rotation", "Angle", "largest rotation in degrees", augmentation.rotation > 0),
        ("flip", "bool", FLIP, True),
    )
    return tuple((name, kind, help) for name, kind, help, used in settings if used)


def _schedule(schedule: Schedule) -> Iterator[str]:
    yield _setting("learning_rate", "Rate", "initial learning rate", schedule.initial)
    for key in type(schedule).model_fields:
        if key in SCHEDULE:
            yield _setting(*SCHEDULE[key], getattr(schedule, key))
    if warmup := schedule.warmup:
        yield _setting("warmup_steps", "Steps", "steps before that rate", warmup.iterations)
        yield _setting("warmup_rate", "Rate", "learning rate of the first", warmup.rate)


def _rate(schedule: Schedule) -> Iterator[str]:
    """Yield the arguments of a schedule's function, by the names of its parameters."""
    if schedule.kind == "constant":
        return
    parameters = signature(getattr(schedules, f"{schedule.kind}_schedule")).parameters
    fields = {key: f"recipe.{name}" for key, (name, _, _) in SCHEDULE.items()} | {
        "initial": "recipe.learning_rate",
        "begin": "recipe.warmup_steps" if schedule.warmup else "0",
        "end": "recipe.iterations",
    }
    place, *others = parameters
    yield place
    yield from (f"{name}={fields[name]}" for name in others)


def _optimizer(optimizer: Optimizer) -> tuple[str, ...]:
    help = "L2 penalty, not on biases or norms"
    decay = _setting("weight_decay", "Penalty", help, optimizer.weight_decay)
    if isinstance(optimizer, Sgd):
        return (
            _setting("momentum", "Fraction", "momentum of SGD", optimizer.momentum),
            _setting("nesterov", "bool", "look ahead along the momentum", optimizer.nesterov),
            decay,
        )
    if isinstance(optimizer, RmsProp):
        return (
            _setting("decay", "Fraction", "decay of RMSProp's second moment", optimizer.decay),
            _setting("epsilon", "Rate", "term in RMSProp's denominator", optimizer.epsilon),
            decay,
        )
    return (
        _setting("beta1", "Fraction", "decay of Adam's first moment", optimizer.beta1),
        _setting("beta2", "Fraction", "decay of Adam's second moment", optimizer.beta2),
        _setting("epsilon", "Rate", "term in Adam's denominator", optimizer.epsilon),
        decay,
    )


def _crops(test: Test, height: int, width: int) -> str:
    """Return the crops of a test image as maps; nothing where it is taken as a whole."""
    if test == Test():
        return ""
    sizes = (test.size * size for size in (height, width))
    crop = ", ".join(_literal(int(size) if size.is_integer() else size) for size in sizes)
    only = "" if test.crops == TEN else f"[{CENTRE}:{CENTRE + 1}]"
    return f"ten_crop_maps(HEIGHT, WIDTH, {crop}, HEIGHT, WIDTH){only}"


def _checks(recipe: Training) -> Iterator[tuple[str, str]]:
    """Yield what settings must not be together, as Python, and a message on the first of them."""
    if hasattr(recipe.learning_rate, "least"):
        yield (
            "self.learning_rate_least > self.learning_rate",
            "learning_rate_least is {self.learning_rate_least}, above the initial rate",
        )
    if recipe.micro_batches > 1:
        yield (
            "self.batch_size % self.micro_batches",
            "micro_batches is {self.micro_batches}, which does not divide {self.batch_size}",
        )
    if recipe.augmentation.mixes:
        yield (
            "self.batch_size % 2",
            "batch_size is {self.batch_size}, but images are mixed in pairs of neighbours",
        )


def _setting(name: str, type: str, help: str, default: object) -> str:
    """Return a field of `Settings`, wrapped as formatters do if its default is too long."""
    head = f"    {name}: Annotated[{type}, {_literal(help)}] = "
    line = head + _literal(default)
    if len(line) <= LINE_LENGTH:
        return line
    inner = "\n        "
    if isinstance(default, tuple):
        return f"{head}({''.join(f'{inner}{_literal(value)},' for value in default)}\n    )"
    raise ValueError(f"setting {name} is too long for a line")


def _literal(value: object) -> str:
    """Return a value as Python source, strings in double quotes as formatters want them."""
    match value:
        case str():
            return json.dumps(value)
        case bool() | None | float():
            return repr(value)
        case int():
            return f"{value:_}" if value >= 10_000 else repr(value)
        case tuple():
            return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    raise TypeError(f"no literal for {value!r}")
