"""`recipe.py` is one text for all frameworks, and is what the spec's `train` section says."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from ranspec.codegen import training
from ranspec.codegen.backend import UnsupportedError, load_backend
from ranspec.codegen.program import RECIPE, _runtime_files
from ranspec.codegen.render import render_files, template_environment
from ranspec.codegen.training import training_context
from ranspec.runtime import sampling
from ranspec.spec import LoadedSpec, load_spec
from ranspec.spec.base import Model
from ranspec.verify.experiment import landmarks, rate_at
from tests.rendering import ROOT, TRAINING

SCHEDULES = {
    "step": "{kind: step, initial: 0.1, factor: 0.2, at: [3, 40, 41]}",
    "step, none": "{kind: step, initial: 0.1, at: []}",
    "exponential": "{kind: exponential, initial: 0.1, factor: 0.94, every: 7}",
    "cosine": "{kind: cosine, initial: 0.1}",
    "cosine to a least rate": "{kind: cosine, initial: 0.1, least: 0.003}",
    "constant": "{kind: constant, initial: 0.02}",
    "plateau": "{kind: plateau, initial: 0.1, factor: 0.2, patience: 2, least: 1e-4}",
}
WARMUPS = ("null", "{iterations: 9, rate: 0.01}", "{kind: linear, iterations: 9, rate: 1e-3}")
RECIPES = {
    "mixup, averages": (
        "augmentation.mixup=0.2",
        "weight_average=0.999",
        "micro_batches=4",
        "gradient_clipping=2",
        "optimizer.decayed_weights=head",
    ),
    "cutmix, ten crops": ("augmentation.cutmix=1", "test={crops: 10, size: 0.875}"),
    "one crop of no whole size": ("test={size: 0.7}",),
    "colours after maps": (
        "augmentation={pad: 0, flip: true, area: [0.08, 1], ratio: [0.5, 2], color: 0.1}",
    ),
    "rotated": ("augmentation={pad: 0, flip: false, rotation: 20, shift: 0.1}", "clean_labels=0.7"),
    "none": ("augmentation={pad: 0, flip: false}", "optimizer=adam", "label_smoothing=0.1"),
    "RMSProp": ("optimizer=rmsprop", "validation=100", "early_stopping=3"),
} | {
    f"{name}, warm-up {warmup}": (
        f"learning_rate={schedule}",
        f"learning_rate.warmup={warmup}",
        "iterations=50",
        "validation=100",
    )
    for name, schedule in SCHEDULES.items()
    for warmup in WARMUPS
}
AUGMENT = """\
def __getattr__(name):
    return lambda images, *arguments: [*images, (name, *arguments)]
"""
"""An `augment.py` that says what is done to images, in order."""


def loaded(*changes: str) -> LoadedSpec:
    return load_spec("attention_digits", [f"train.{change}" for change in changes])


def recipe_text(spec: LoadedSpec, backend: str = TRAINING[0]) -> str:
    context = training_context(spec.spec, digest=spec.digest, model_class="Network")
    environment = template_environment(f"ranspec_{backend}")
    return environment.get_template(f"{RECIPE}.j2").render(training=context)


@contextmanager
def imported(folder: Path, *changes: str) -> Iterator[ModuleType]:
    """Import a recipe as a built folder has it, with the modules of all frameworks beside it."""
    files = _runtime_files("ranspec.runtime") | {
        "augment.py": AUGMENT,
        "recipe.py": recipe_text(loaded(*changes)),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    names = {name.removesuffix(".py") for name in files}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("recipe")
    finally:
        sys.path.remove(str(folder))
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_text_however_rare(name: str) -> None:
    spec = loaded(*RECIPES[name])
    assert len({recipe_text(spec, backend) for backend in TRAINING}) == 1


def test_rare_recipes_are_clean_and_formatted(tmp_path: Path) -> None:
    for index, changes in enumerate(RECIPES.values()):
        (tmp_path / f"recipe{index}.py").write_text(recipe_text(loaded(*changes)), encoding="utf-8")
    config = ("--config", str(ROOT / "pyproject.toml"), "--no-cache")
    for command in (("check",), ("format", "--check", "--diff")):
        arguments = [sys.executable, "-m", "ruff", *command, str(tmp_path), *config]
        result = subprocess.run(arguments, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", [name for name in RECIPES if "warm-up" in name])
def test_the_schedule_is_that_of_the_reference(name: str, tmp_path: Path) -> None:
    spec = loaded(*RECIPES[name]).spec
    with imported(tmp_path, *RECIPES[name]) as recipe:
        positions = {*landmarks(spec), *((step, 0) for step in range(50))}
        for position in sorted(positions):
            found = recipe.learning_rate(*position, recipe.Recipe())
            assert found == pytest.approx(rate_at(spec.train, position), rel=1e-14)


def test_a_schedule_is_one_function_and_a_part_of_the_language() -> None:
    sources = (Path(training.__file__), Path(training.__file__).parent / "templates/recipe.py.j2")
    for source in sources:
        text = source.read_text(encoding="utf-8").lower()
        assert not any(kind in text for kind in ("cosine", "exponential"))


ORDER = {
    "mixup, averages": ["normalize", "crop_and_flip_images", "mixup"],
    "cutmix, ten crops": ["normalize", "crop_and_flip_images", "cutmix"],
    "colours after maps": ["warp", "shift_colors", "normalize"],
    "rotated": ["warp", "normalize"],
    "none": ["normalize"],
}


@pytest.mark.parametrize("name", ORDER)
def test_images_go_through_the_augmentations_in_order(name: str, tmp_path: Path) -> None:
    with imported(tmp_path, *RECIPES[name]) as recipe:
        draws = recipe.draw(3, 1000, recipe.Recipe())
        done = recipe.training_images([], draws, "statistics", recipe.Recipe())
        assert [step[0] for step in done] == ORDER[name]
        arrays = [item for step in done for item in step if isinstance(item, np.ndarray)]
        assert all(any(item is drawn for drawn in draws) for item in arrays)
        labels = recipe.training_labels(["labels"], draws)
        mixed = done[-1][0] in ("mixup", "cutmix")
        assert labels == (["labels", ("mix_labels", draws.kept, 10)] if mixed else ["labels"])


def test_draws_are_those_of_sampling(tmp_path: Path) -> None:
    with imported(tmp_path, "augmentation.cutmix=1", "seed=5") as recipe:
        draws = recipe.draw(30, 1000, recipe.Recipe())
    offsets, flips = sampling.crop_and_flip(5, 30, 64, 1, False)
    boxes = sampling.cutmix_boxes(5, 30, 64, 8, 8, 1.0)
    np.testing.assert_array_equal(draws.indices, sampling.batch_indices(5, 30, 64, 1000))
    np.testing.assert_array_equal(draws.offsets, offsets)
    np.testing.assert_array_equal(draws.flips, flips)
    np.testing.assert_array_equal(draws.boxes, boxes)
    np.testing.assert_array_equal(draws.kept, sampling.cutmix_shares(boxes, 8, 8))


def test_crops_are_cut_from_whole_images_where_these_are_decoded(tmp_path: Path) -> None:
    sizes = np.full((1000, 2), (300, 200))
    with imported(tmp_path, *RECIPES["colours after maps"]) as recipe:
        resident = recipe.draw(3, 1000, recipe.Recipe())
        streamed = recipe.draw(3, 1000, recipe.Recipe(), sizes)
    assert resident.parts is None
    assert streamed.parts.shape == (64, 4)
    limits = {"aspect": 1.0, "area": (0.08, 1.0), "ratio": (0.5, 2.0)}
    parts = sampling.crop_boxes(0, 3, sizes[streamed.indices], **limits)
    np.testing.assert_array_equal(streamed.parts, parts)
    np.testing.assert_array_equal(streamed.maps, sampling.affine_maps(0, 3, 64, 8, 8, flip=True))


def test_test_images_are_cropped(tmp_path: Path) -> None:
    with imported(tmp_path, *RECIPES["cutmix, ten crops"]) as recipe:
        assert len(recipe.CROPS) == 10
        crops = sampling.ten_crop_maps(8, 8, 7, 7, 8, 8)
        np.testing.assert_array_equal(np.stack(recipe.CROPS), crops)
        warped, normalized = recipe.test_images([], recipe.CROPS[9], "statistics")
        assert (warped[0], normalized) == ("warp", ("normalize", "statistics"))
        np.testing.assert_array_equal(warped[1], recipe.CROPS[9][None])


def test_one_crop_is_the_centre(tmp_path: Path) -> None:
    with imported(tmp_path, "test={size: 0.75}") as recipe:
        (centre,) = recipe.CROPS
        rows = centre[0] @ np.array([[0, 7], [0, 0], [1, 1]]) / 2**16
        np.testing.assert_allclose(rows, [1 - 0.125, 6 + 0.125])


def test_a_whole_image_is_normalized_alone(tmp_path: Path) -> None:
    with imported(tmp_path) as recipe:
        assert recipe.CROPS == (None,)
        assert recipe.test_images([], None, "statistics") == [("normalize", "statistics")]


@pytest.mark.parametrize(("weights", "prefix"), [("all", ""), ("head", "head.")])
def test_kernels_with_a_penalty_begin_alike(weights: str, prefix: str, tmp_path: Path) -> None:
    with imported(tmp_path, f"optimizer.decayed_weights={weights}") as recipe:
        assert prefix == recipe.DECAYED


@pytest.mark.parametrize("key", training.ADVANCED)
def test_what_a_backend_lacks_is_refused(key: str) -> None:
    changes = {
        "test": "test.size=0.5",
        "optimizer.decayed_weights": "optimizer.decayed_weights=head",
        "micro_batches": "micro_batches=2",
    }
    spec = loaded(changes.get(key, f"{key}=0.5"))
    backend = replace(load_backend(TRAINING[0]), lacks=frozenset({key}))
    with pytest.raises(UnsupportedError, match=f"code has no train.{key} yet"):
        render_files(spec, backend)


@pytest.mark.parametrize("backend", TRAINING)
def test_a_plain_recipe_needs_nothing_that_a_backend_may_lack(backend: str) -> None:
    assert load_backend(backend).lacks <= training.ADVANCED.keys()
    assert training.lacking(loaded().spec.train, training.ADVANCED.keys()) == ()


# --- the command line

KEYS = {
    "learning_rate": "initial",
    "learning_rate_steps": "at",
    "warmup_steps": "iterations",
    "warmup_rate": "rate",
    "early_stopping": "patience",
} | {f"learning_rate_{key}": key for key in ("factor", "every", "patience", "least")}
WIDER = {"validation", "mixup", "cutmix"}
"""Settings that recipes have only above 0, where a spec may say 0."""


def models(part: Model) -> Iterator[Model]:
    yield part
    for value in vars(part).values():
        if isinstance(value, Model):
            yield from models(value)


def limits(info: Any) -> tuple[float | None, ...]:
    """Return the limits of a number, or of the entries of a tuple, in a spec."""
    found = list(info.metadata) if isinstance(info, FieldInfo) else []
    pending = [info.annotation if isinstance(info, FieldInfo) else info]
    while pending:
        kind = pending.pop()
        if get_origin(kind) is Annotated:
            found += [
                limit
                for item in kind.__metadata__
                for limit in (item.metadata if isinstance(item, FieldInfo) else (item,))
            ]
        pending += [item for item in get_args(kind) if get_origin(item) is not None]
    values = []
    for kind, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
        values.append(next((getattr(x, name) for x in found if isinstance(x, kind)), None))
    return tuple(values)


def allowed(hint: Any) -> tuple[float | None, ...]:
    """Return the limits of a setting."""
    pending, found = [hint], []
    while pending:
        kind = pending.pop()
        if get_origin(kind) is Annotated:
            found += [item for item in kind.__metadata__ if type(item).__name__ == "Range"]
        pending += [item for item in get_args(kind) if get_origin(item) is not None]
    (limit,) = set(found)
    shown = (limit.least, limit.above, limit.most, limit.below)
    return tuple(number if np.isfinite(number) else None for number in shown)


@pytest.mark.parametrize("name", RECIPES)
def test_a_setting_has_the_limits_of_its_key(name: str, tmp_path: Path) -> None:
    parts = list(models(loaded(*RECIPES[name]).spec.train))
    with imported(tmp_path, *RECIPES[name]) as recipe:
        hints = get_type_hints(recipe.Recipe, include_extras=True)
    for setting, hint in hints.items():
        key = KEYS.get(setting, setting)
        near = [part for part in parts if key in type(part).model_fields]
        if setting.startswith("warmup"):
            near = [part for part in near if "rate" in type(part).model_fields]
        if setting.startswith("learning_rate"):
            near = [part for part in near if "initial" in type(part).model_fields]
        info = type(near[0]).model_fields[key]
        if get_args(hint)[0] is not bool and setting not in WIDER:
            assert allowed(hint) == limits(info), setting


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--learning-rate 1e40", "argument --learning-rate: '1e40' is not a number, above 0"),
        ("--learning-rate nan", "argument --learning-rate: 'nan' is not a number, above 0"),
        ("--learning-rate-steps 20 10", "found 20 10, expected rising"),
        ("--learning-rate-factor 5", "'5' is not a number, above 0, at most 1"),
        ("--momentum 1", "argument --momentum: '1' is not a number, 0 or more, below 1"),
        ("--batch-size 70000", "argument --batch-size: '70000' is not a whole number, 1 or more"),
        ("--iterations 0", "argument --iterations: '0' is not a whole number, 1 or more"),
        ("--batch-size 66", "argument --micro-batches: is 4, which does not divide 66"),
        ("--mixup 0", "argument --mixup: '0' is not a number, above 0, at most 16"),
        ("--weight-average 1", "argument --weight-average: '1' is not a number, 0 or more, below"),
        ("--gradient-clipping 0", "argument --gradient-clipping: '0' is not a number, above 0"),
    ],
)
def test_the_command_line_is_as_strict_as_the_spec(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = RECIPES["mixup, averages"]
    with imported(tmp_path, *changes) as recipe, pytest.raises(SystemExit) as exit:
        sys.modules["settings"].parse_settings(recipe.Recipe, "", arguments.split())
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_a_least_rate_is_below_the_initial_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = RECIPES["cosine to a least rate, warm-up null"]
    with imported(tmp_path, *changes) as recipe, pytest.raises(SystemExit) as exit:
        sys.modules["settings"].parse_settings(recipe.Recipe, "", ["--learning-rate", "1e-3"])
    assert exit.value.code == 2
    told = "argument --learning-rate-least: is 0.003, above the initial rate"
    assert told in capsys.readouterr().err


def test_limits_of_a_tuple_have_an_order(tmp_path: Path) -> None:
    with imported(tmp_path, *RECIPES["colours after maps"]) as recipe:
        hints = get_type_hints(recipe.Recipe, include_extras=True)
        for name in ("area", "ratio"):
            assert sys.modules["settings"].ORDERED in get_args(hints[name])
