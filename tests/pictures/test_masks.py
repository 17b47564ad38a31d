"""`ranspec masks`: pictures and a page, or a message and nothing."""

from __future__ import annotations

import base64
import io
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.pictures.colors import colored, levels, palette
from ranspec.pictures.inputs import Images
from ranspec.pictures.masks import file_names, masked_images
from ranspec.pictures.modules import fusions
from ranspec.pictures.weights import initial_weights
from ranspec.runtime.checkpoint import Manifest, save
from ranspec.spec import load_spec
from tests.browser import browser, needs_browser
from tests.pictures.conftest import Sample

SPEC = "attention_digits"


@pytest.fixture
def digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a digit & more.png"
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def ranspec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["masks", *map(str, arguments)])


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_it_writes_a_picture_of_each_module_and_a_page(digit: Path) -> None:
    result = ranspec(SPEC, "--images", digit, digit, "--channels", "0,5", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{Path('out/index.html')}\n"
    assert "initial weights, seed 0, which have learnt nothing" in result.stderr
    names = {path.name for path in Path("out").iterdir()}
    sheets = {
        f"{number}_a_digit_more_{module}.png"
        for number in (1, 2)
        for module in ("stage1_1", "stage2_1")
    }
    assert names == {"index.html", ".ranspec.json"} | sheets
    for name in sheets:
        with Image.open(Path("out", name)) as sheet:
            assert sheet.width > 4 * 160


def test_the_page_needs_no_other_file_and_tells_what_its_pictures_are(digit: Path) -> None:
    assert ranspec(SPEC, digit, "--module", "stage2", "--channels", "7", "-o", "out").exit_code == 0
    text = Path("out/index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.findall(r"https?:|//|@import", re.sub(r"base64,[^\"')]*", "", text))
    images = page.all("img")
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in images)
    alternatives = [image["alt"] or "" for image in images]
    assert all(alternatives)
    assert [text.partition(":")[0] for text in alternatives[2:]] == [
        f"{title}, stage2.1 channel 7, of a digit & more.png"
        for title in ("trunk", "soft mask", "gated")
    ]
    sources = [base64.b64decode((image["src"] or "").partition(",")[2]) for image in images[2:]]
    assert {Image.open(io.BytesIO(source)).size for source in sources} == {(4, 4)}
    policy = next(item["content"] for item in page.all("meta") if "http-equiv" in item)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{digest}'")


@needs_browser
def test_in_a_browser_it_asks_for_nothing_and_keys_change_it(digit: Path) -> None:
    assert ranspec(SPEC, digit, "--channels", "3", "-o", "out").exit_code == 0
    with browser(Path("home").resolve()) as opened:
        opened.resize(360, 800)
        opened.prefer("dark")
        opened.open(Path("out/index.html"))
        assert opened.value("document.documentElement.scrollWidth") <= 360
        assert opened.value("getComputedStyle(document.body).colorScheme") == "light dark"
        assert opened.value("[...document.images].every(image => image.naturalWidth > 0)")
        shown = "getComputedStyle(document.querySelector('.over img')).opacity"
        assert opened.value(shown) == "0.6"
        opened.press("Tab", "ArrowLeft", "ArrowLeft")
        assert opened.value(shown) == "0.58"
        opened.press("Tab", " ")
        assert opened.value("document.body.className") == "pixels"
        assert {address.partition(":")[0] for address in opened.requests()} <= {"file", "data"}
        assert sum(address.startswith("file:") for address in opened.requests()) == 1
        assert opened.complaints() == []


def test_it_replaces_its_own_pictures_and_no_others(digit: Path) -> None:
    assert ranspec(SPEC, digit, "-o", "out").exit_code == 0
    Path("out/mine.txt").write_text("mine")
    assert ranspec(SPEC, digit, "--module", "stage1", "-o", "out").exit_code == 0
    names = {path.name for path in Path("out").iterdir()}
    own = {"a_digit_more_stage1_1.png", "index.html", ".ranspec.json"}
    assert names == {"mine.txt", *own}
    Path("out/index.html").write_text("mine")
    refused = ranspec(SPEC, digit, "-o", "out")
    assert refused.exit_code == 2
    assert "index.html was edited" in refused.stderr
    assert {path.name for path in Path("out").iterdir()} == names
    assert ranspec(SPEC, digit, "-o", "out", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("baselines/resnet164_cifar", "{digit}"), "has no attention module, and so no mask"),
        ((SPEC,), "name one or more image files"),
        ((SPEC, "none.png"), "none.png: No such file or directory"),
        ((SPEC, "{digit}", "--module", "stage3"), "no attention module 'stage3'"),
        ((SPEC, "{digit}", "--channels", "32"), "stage1.1 has no channel 32"),
        ((SPEC, "{digit}", "--weights", "none"), "none: no such file"),
        ((SPEC, "{digit}", "--weights", "other.safetensors"), "of attention_digits, not of"),
    ],
)
def test_what_cannot_be_drawn_is_told_and_nothing_written(
    digit: Path, arguments: tuple[str, ...], message: str
) -> None:
    spec = SPEC
    if "other.safetensors" in arguments:
        other = ["weights", SPEC, "-o", "other.safetensors"]
        assert CliRunner().invoke(app, other).exit_code == 0
        spec = "attention56_cifar"
    filled = [argument.replace("{digit}", str(digit)) for argument in arguments]
    result = ranspec(*(spec if argument == SPEC else argument for argument in filled), "-o", "out")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("out").exists()


def test_numbers_that_are_too_large_are_told(digit: Path) -> None:
    loaded = load_spec(SPEC)
    initial = initial_weights(loaded, compile_spec(loaded)).arrays
    large = {name: array * 1e12 if array.ndim == 4 else array for name, array in initial.items()}
    save(Path("large.safetensors"), large, Manifest(SPEC, step=1, seed=0, batch_size=1))
    result = ranspec(SPEC, digit, "--weights", "large.safetensors", "-o", "out")
    assert result.exit_code == 2
    assert "stage1.1 has infinite numbers or NaN in channel" in result.stderr
    assert not Path("out").exists()


def test_a_folder_of_code_is_not_replaced(digit: Path) -> None:
    built = CliRunner().invoke(app, ["build", SPEC, "--backend", "torch", "-o", "code"])
    assert built.exit_code == 0
    result = ranspec(SPEC, digit, "-o", "code", "--force")
    assert result.exit_code == 2
    assert "code holds generated code" in result.stderr
    assert Path("code/train.py").is_file()


def test_colours_go_evenly_from_the_least_to_the_largest() -> None:
    values = np.array([[-1.0, 0.0], [0.5, 3.0]])
    assert levels(values, (-1.0, 3.0)).tolist() == [[0, 64], [96, 255]]
    assert levels(np.full((2, 2), 0.5), (0.5, 0.5)).tolist() == [[128, 128], [128, 128]]
    shown = np.asarray(colored(values, (-1.0, 3.0)).convert("RGB"))
    colors = np.frombuffer(palette(), dtype=np.uint8).reshape(-1, 3)
    assert shown[0, 0].tolist() == colors[0].tolist()
    assert shown[1, 1].tolist() == colors[255].tolist()
    lightness = colors @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -0.5).all()


def test_files_have_names_that_are_portable_and_their_own() -> None:
    names = ["a/b c.png", "é.png", "x.png", "X.jpg", "..png"]
    assert file_names(names) == ["a_b_c", "2_image", "3_x", "4_X", "5_image"]


def test_what_is_drawn_of_a_channel_is_that_of_its_image(sample: Sample) -> None:
    names = tuple(map(str, range(len(sample.images))))
    images = Images(names, np.zeros((len(names), *sample.graph.input), dtype=np.float32))
    channels = {"stage1.1": (5, 2, None)}
    found = list(masked_images(sample.graph, sample.weights, images, sample.images, channels))
    assert [item.name for item in found] == list(names)
    expected = next(iter(fusions(sample.graph, sample.weights, sample.images)))
    for index, item in enumerate(found):
        assert [drawn.channel for drawn in item.maps["stage1.1"]] == [5, 2, None]
        for drawn in item.maps["stage1.1"]:
            for name in ("trunk", "mask", "gated"):
                every = getattr(expected, name)[index]
                whole = every.mean(0) if drawn.channel is None else every[drawn.channel]
                assert np.allclose(getattr(drawn, name), whole, rtol=1e-4, atol=1e-5)
