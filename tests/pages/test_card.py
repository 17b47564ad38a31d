"""A card in a real browser: it opens at once, asks for nothing, and keys lead through it."""

from __future__ import annotations

import html
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ranspec.analysis.count import count
from ranspec.cli.app import app
from ranspec.compile import compile_spec
from ranspec.pages.card import card
from ranspec.pages.studies import Trained, jobs_by_spec, trained
from ranspec.spec import load_spec
from ranspec.studies.jobs import Job
from ranspec.studies.results import Result, job_folder, write_job, write_result
from tests.browser import Browser, needs_browser
from tests.machine import slowness
from tests.rendering import loaded

LARGE = "attention452_cifar"
HOSTILE = "</script><script>console.log('ran')</script><img src=x onerror=console.log(1)>"


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards")
    for spec in ("attention56_cifar", LARGE):
        (folder / f"{spec}.html").write_text(card(loaded(spec)), encoding="utf-8")
    return folder


def focused(page: Browser) -> str:
    return str(page.value("document.activeElement.querySelector('.name').textContent"))


@needs_browser
@pytest.mark.parametrize("spec", ["attention56_cifar", LARGE])
def test_a_card_opens_at_once_and_asks_for_nothing(page: Browser, cards: Path, spec: str) -> None:
    file = cards / f"{spec}.html"
    assert file.stat().st_size < 400_000
    page.open(file)
    loading = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert page.value(loading) < 1000 * slowness()
    assert page.complaints() == []
    assert page.requests() == [file.resolve().as_uri()]


@needs_browser
def test_all_blocks_of_the_largest_network_open_without_lag(page: Browser, cards: Path) -> None:
    page.open(cards / f"{LARGE}.html")
    script = """(() => {
        const start = performance.now();
        document.getElementById("open-all").click();
        document.getElementById("tree").offsetHeight;
        return performance.now() - start;
    })()"""
    assert page.value(script) < 2000 * slowness()
    counted = count(compile_spec(loaded(LARGE)))
    assert page.value("document.querySelectorAll('.leaf').length") == len(counted.graph.layers)
    page.value("document.getElementById('close-all').click()")
    assert (
        page.value("[...document.querySelectorAll('.row')].filter(r => r.offsetHeight).length") == 6
    )
    assert page.complaints() == []


@needs_browser
def test_keys_lead_through_the_tree(page: Browser, cards: Path) -> None:
    page.open(cards / "attention56_cifar.html")
    page.value("document.getElementById('close-all').click()")
    page.value("document.getElementById('tree').focus()")
    assert focused(page) == "attention56_cifar"
    page.press("ArrowDown", "ArrowDown")
    assert focused(page) == "stage1"
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.press("ArrowRight")
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.press("ArrowRight", "ArrowDown")
    assert focused(page) == "1"
    page.press("Enter", "ArrowDown")
    assert focused(page) == "before"
    page.press("ArrowLeft", "ArrowLeft")
    assert page.value("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.press("ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft")
    assert focused(page) == "attention56_cifar"
    page.press("End")
    assert focused(page) == "head"
    page.press("Home", "ArrowDown", "*", "End")
    assert focused(page) == "classifier"
    assert page.value("document.querySelectorAll('#tree [tabindex=\"0\"]').length") == 1
    assert page.complaints() == []


@needs_browser
def test_the_tree_says_what_it_is_to_readers_that_do_not_see_it(page: Browser, cards: Path) -> None:
    page.open(cards / "attention56_cifar.html")
    stage = "document.querySelectorAll('[role=treeitem][aria-level=\"2\"]')[1]"
    wanted = {"aria-posinset": "2", "aria-setsize": "5", "aria-level": "2"}
    for name, value in wanted.items():
        assert page.value(f"{stage}.getAttribute('{name}')") == value
    label = page.value(f"{stage}.getAttribute('aria-label')").replace("\xa0", " ")
    assert label.startswith("stage1, ProjectionBottleneck, AttentionModuleDepth3")
    assert "output 32 by 32 by 64, 72,224 parameters, 7.0 %" in label
    assert page.value("document.querySelector('#tree').getAttribute('role')") == "tree"


@needs_browser
def test_the_chosen_block_is_marked_in_every_framework(page: Browser, cards: Path) -> None:
    page.open(cards / "attention56_cifar.html")
    page.value("document.getElementById('tree').focus()")
    page.press("End", "ArrowRight", "End")
    assert focused(page) == "classifier"
    marked = page.value(
        "[...document.querySelectorAll('.column')].map("
        "column => [...column.querySelectorAll('.mark')].map(line => line.textContent).join(''))"
    )
    assert len(marked) == 3
    for code in marked:
        assert "self.classifier = " in code
        assert "return self.classifier(" in code
    details = page.value("document.getElementById('details').textContent")
    assert details.count("self.classifier = ") == 3
    assert "weight" in details and "10x256" in details
    visible = """[...document.querySelectorAll(".column")].every((column) => {
        const pane = column.querySelector("pre").getBoundingClientRect();
        const line = column.querySelector(".mark").getBoundingClientRect();
        return line.top >= pane.top && line.bottom <= pane.bottom;
    })"""
    assert page.value(visible)


@needs_browser
def test_the_block_under_the_pointer_is_marked_while_it_is_there(
    page: Browser, cards: Path
) -> None:
    page.open(cards / "attention56_cifar.html")
    page.point("[role=treeitem][aria-level='2'] .row")
    count_marks = (
        "[...document.querySelectorAll('.column')].map(c => c.querySelectorAll('.mark').length)"
    )
    assert page.value(count_marks) == [2, 2, 2]
    page.point("h1")
    assert page.value(count_marks) == [0, 0, 0]
    page.point("#code-1 .l:nth-child(20)")
    assert page.value("[...document.querySelectorAll('.column .region')].length") > 20


@needs_browser
def test_the_first_key_skips_to_the_network(page: Browser, cards: Path) -> None:
    page.open(cards / "attention56_cifar.html")
    page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Skip to the network"
    assert page.value("document.activeElement.getBoundingClientRect().left") == 0
    page.value("document.activeElement.click()")
    assert focused(page) == "attention56_cifar"


CONTRASTS = """(theme, texts, grounds) => {
    document.documentElement.dataset.theme = theme;
    const luminance = (name) => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${name})`;
        const channels = getComputedStyle(probe).color.match(/[0-9.]+/g).slice(0, 3);
        const linear = channels.map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    return texts.flatMap((text) => grounds.map((ground) => {
        const [one, other] = [luminance(text), luminance(ground)];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        return [`${text} on ${ground}`, ratio];
    }));
}"""
"""Relative luminances and their ratio as WCAG 2 defines them."""


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_every_ground(page: Browser, cards: Path, theme: str) -> None:
    page.open(cards / "attention56_cifar.html")
    texts = ["ink", "muted", "accent", "good", "bad", "keyword", "string", "number", "name"]
    grounds = ["page", "surface", "raised", "region", "mark"]
    found = page.value(f"({CONTRASTS})({theme!r}, {texts}, {grounds})")
    assert len(found) == 45
    assert [name for name, ratio in found if ratio < 4.5] == []


@needs_browser
def test_without_javascript_the_stages_and_the_code_are_there(page: Browser, cards: Path) -> None:
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(cards / "attention56_cifar.html")
        text = page.text()
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert "Without JavaScript only the stages are shown" in text
    assert "self.stage1 = nn.Sequential(" in text
    assert "39,706,624" in text


@needs_browser
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_card_fits_every_width_in_light_and_dark(
    page: Browser, cards: Path, colours: str
) -> None:
    page.prefer(colours)
    page.resize(360, 800)
    page.open(cards / f"{LARGE}.html")
    for width in (360, 768, 1024, 1440, 2200):
        page.resize(width, 800)
        assert page.value("document.documentElement.scrollWidth") == width
    red = page.value("Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])")
    assert red > 200 if colours == "light" else red < 60


@needs_browser
def test_colours_can_be_chosen_whatever_the_system_has(page: Browser, cards: Path) -> None:
    page.open(cards / "attention56_cifar.html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.value(background)
    page.value("document.getElementById('theme').click()")
    assert page.value(background) == light
    page.value("document.getElementById('theme').click()")
    assert page.value(background) != light
    page.value("document.getElementById('theme').click()")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    spec = tmp_path_factory.mktemp("hostile") / "hostile.yaml"
    text = json.dumps(HOSTILE)
    spec.write_text(
        f"extends: attention_digits\nname: hostile\nsource: {text}\nnotes: [{text}]\n"
        f"paper: {{source: {text}, parameters: 1e6, comment: {text}}}\n"
    )
    result = Trained(HOSTILE, HOSTILE, HOSTILE, 0, False, "failed", HOSTILE, None, None, None)
    return card(load_spec(spec), results=[result])


def test_text_of_a_spec_stays_text(hostile: str) -> None:
    assert "<img" not in hostile
    assert len(re.findall("<script", hostile)) == len(re.findall("</script>", hostile)) == 2
    assert html.escape(HOSTILE, quote=False).replace("'", "&#39;") in hostile


@needs_browser
def test_text_of_a_spec_does_not_run(page: Browser, hostile: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    file.write_text(hostile, encoding="utf-8")
    page.open(file)
    assert page.complaints() == []
    assert page.requests() == [file.resolve().as_uri()]
    assert page.value("document.querySelector('.source').textContent") == HOSTILE
    assert page.value("document.querySelectorAll('main img').length") == 0


@needs_browser
def test_a_script_that_came_into_a_page_would_be_refused(page: Browser, tmp_path: Path) -> None:
    file = tmp_path / "injected.html"
    text = card(loaded("attention_digits"))
    injected = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title='ran'\">"
    file.write_text(text.replace("</main>", f"{injected}</main>"), encoding="utf-8")
    page.open(file)
    assert page.value("document.title") == "attention_digits"
    assert any("Content Security Policy" in said for said in page.complaints())


def shown(spec: str, **settings: Any) -> str:
    """Return the text of a card without its code and data."""
    page = card(loaded(spec), **settings)
    body = re.sub(r"<(script|style|pre)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def test_a_card_holds_what_count_tells_beside_what_the_paper_prints() -> None:
    text = shown("attention56_imagenet")
    assert "Parameters 31.9 M 31,810,728 -0.3 %" in text
    assert "MACs 6.2 G 6,270,836,736 +1.1 %" in text
    assert "with batch-norm statistics 31,883,432, which rounds to it" in text
    assert "Test error 21.76 % not trained here" in text


def test_a_card_shows_results_and_whether_they_are_comparable() -> None:
    def run(seed: int, whole: bool, error: float) -> Trained:
        return Trained("cifar", "row", "torch", seed, whole, "finished", "", error, None, 0.1)

    results = [run(0, True, 5.4), run(1, True, 5.6), run(0, False, 40.0)]
    text = shown("attention56_cifar", results=results)
    assert "Test error 5.52 % 5.50 % mean of 2 runs -0.02" in text
    assert "finished, shortened 40.00 %" in text


def test_results_are_found_in_the_folders_of_studies(tmp_path: Path) -> None:
    def job(spec: str, seed: int, scale: str, *overrides: str) -> Job:
        return Job(f"job{seed}", "row", spec, overrides, "torch", seed, Fraction(scale))

    jobs = [
        job("attention_digits", 0, "1"),
        job("attention_digits", 1, "1/50"),
        job("attention_digits", 2, "1", "attention.activation=spatial"),
        job("attention_digits", 3, "1"),
    ]
    for item in jobs:
        folder = job_folder(tmp_path / "digits", item)
        folder.mkdir(parents=True)
        write_job(folder, item)
    for item in jobs[:3]:
        measures = {"loss": 0.5, "accuracy": 0.9, "top5_accuracy": 0.99}
        write_result(job_folder(tmp_path / "digits", item), Result("finished", measures))
    own = load_spec("attention_digits")
    for root in (tmp_path, tmp_path / "digits"):
        found = trained(own, jobs_by_spec(root))
        assert [(item.study, item.seed, item.whole) for item in found] == [
            ("digits", 0, True),
            ("digits", 1, False),
        ]
        assert found[0].error == pytest.approx(10)
        assert found[0].top5_error == pytest.approx(1)
    assert jobs_by_spec(tmp_path / "none") == {}


def test_a_framework_that_cannot_write_a_network_is_said_to(tmp_path: Path) -> None:
    spec = tmp_path / "reserved.yaml"
    text = "extends: attention_digits\nname: reserved\n"
    stages = "stages: {stage1: null, build: {channels: 32, modules: 1, mask_depth: 1}}\n"
    spec.write_text(text + stages)
    page = card(load_spec(spec))
    assert "TensorFlow: &#39;build&#39; means something in TensorFlow" in page
    assert page.count('id="code-') == 2


def test_what_is_not_verified_is_not_said_to_be() -> None:
    spec = load_spec("attention56_cifar", ["attention.activation=spatial"])
    text = re.sub(r"<[^>]+>", "", card(spec))
    assert "Not verified yet with these changes" in text
    assert "ranspec verify attention56_cifar --set attention.activation=spatial" in text


def ranspec(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_card_is_made_again_but_never_over_what_a_person_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ranspec("card", "attention_digits").exit_code == 0
    file = tmp_path / "attention_digits.html"
    made = file.read_bytes()
    assert ranspec("card", "attention_digits").exit_code == 0
    edited = made.replace(b"</h1>", b"!</h1>", 1)
    file.write_bytes(edited)
    refused = ranspec("card", "attention_digits")
    assert refused.exit_code == 2
    assert "--force overwrites it" in " ".join(refused.stderr.split())
    assert file.read_bytes() == edited
    assert ranspec("card", "attention_digits", "--force").exit_code == 0
    assert file.read_bytes() == made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["card", "attention_digit"], "attention_digits"),
        (["card", "attention_digits", "-o", "card.pdf"], "does not end in .html"),
        (["card", "attention_digits", "--studies", "none"], "'none' does not exist"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments: list[str], expected: str) -> None:
    result = ranspec(*arguments)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.split())
