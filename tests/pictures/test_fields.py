"""`ranspec fields`: receptive fields of trunks and masks."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from ranspec.analysis.receptive_field import mask_fields, receptive_fields
from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.pictures.activations import activations
from ranspec.pictures.fields import drawn, module_fields
from ranspec.pictures.modules import attention_modules
from ranspec.spec import load_spec
from ranspec.verify.experiment import random_state
from tests.rendering import SPECS


def ranspec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["fields", *map(str, arguments)])


@pytest.mark.parametrize("spec", ["attention92_cifar", "attention56_imagenet"])
def test_every_mask_has_one_and_the_largest_are_those_of_the_stages(spec: str) -> None:
    graph = compile_spec(load_spec(spec))
    found = mask_fields(graph)
    assert [item.path for item in found] == list(attention_modules(graph))
    for stage in receptive_fields(graph):
        own = [item for item in found if item.path.startswith(f"{stage.path}.")]
        if stage.mask is None:
            assert not own
        else:
            assert stage.mask.size[0] == max(item.mask.size[0] for item in own)
            assert stage.trunk.size[0] >= max(item.trunk.size[0] for item in own)
    trunks = [item.trunk.size[0] for item in found]
    assert all(one < other for one, other in pairwise(trunks))


def test_a_mask_sees_more_than_its_trunk_where_it_pools() -> None:
    assert len(SPECS) > 20
    for item in mask_fields(compile_spec(load_spec("attention56_cifar"))):
        assert item.mask.size[0] > item.trunk.size[0]


def test_a_trunk_depends_on_all_of_its_field_and_nothing_beyond() -> None:
    """Every pixel of an image is changed in turn: some of them change the position's trunk."""
    loaded = load_spec(
        "attention_digits",
        [
            "input.height=17",
            "input.width=21",
            "stages.stage1={channels: 8, modules: 1, mask_depth: 1, units: 0}",
            "stages.stage2=null",
            "attention={p: 0, t: 2}",
        ],
    )
    graph = compile_spec(loaded)
    (field,) = module_fields(graph, ["stage1.0"], (5, 18))
    assert field.position == (5, 18)
    height, width, _ = graph.input
    images = np.zeros((1 + height * width, 1, height, width))
    images[:] = np.random.default_rng(0).standard_normal((1, 1, height, width))
    images[1:].reshape(height * width, -1)[np.diag_indices(height * width)] += 3.0
    state = random_state(graph, 0)
    trunk = next(
        item.inputs[1] for item in activations(graph, state, images) if item.layer.operation.mask
    )
    row, column = field.position
    changed = (trunk[1:, :, row, column] != trunk[:1, :, row, column]).any(1)
    rows, columns = np.nonzero(changed.reshape(height, width))
    reached = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert reached == field.trunk_box
    assert field.trunk_box[3] == width < 18.5 + field.trunk.size[1] / 2


def test_it_is_drawn_around_the_position_and_clipped() -> None:
    graph = compile_spec(load_spec("attention56_cifar"))
    (item,) = module_fields(graph, ["stage1.1"], (0, 31))
    assert item.trunk_box[:1] + item.trunk_box[3:] == (0.0, 32.0)
    sheet = np.asarray(drawn(Image.new("RGB", (32, 32), "gray"), [item]))
    blue, orange = (np.array(color) for color in ((0, 114, 178), (213, 94, 0)))
    assert (sheet == blue).all(2).any()
    assert (sheet == orange).all(2).any()


def test_they_are_told_and_drawn(tmp_path: Path) -> None:
    image, output = tmp_path / "image.png", tmp_path / "fields.png"
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(image)
    drawn_over = ranspec("attention_digits", "--image", image, "-o", output)
    assert drawn_over.exit_code == 0, drawn_over.stderr
    with Image.open(output) as sheet:
        assert sheet.width > 2 * 160
    told = json.loads(ranspec("attention_digits", "--module", "stage2", "--format", "json").stdout)
    assert [item["module"] for item in told] == ["stage2.1"]
    assert told[0]["trunk"]["box"] == [0.0, 0.0, 8.0, 8.0]
    assert told[0]["position"] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("baselines/resnet164_cifar",), "has no attention module"),
        (("attention_digits", "--at", "8,0"), "expected ROW,COLUMN from 0,0 to 7,7"),
        (("attention_digits", "--at", "1"), "expected ROW,COLUMN"),
        (("attention_digits", "--image", "none.png", "-o", "x.png"), "No such file"),
        (("attention_digits", "--image", "none.png"), "name with -o the file"),
        (("attention_digits", "-o", "x.gif"), "does not end in .png"),
    ],
)
def test_what_cannot_be_drawn_is_told(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ranspec(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
