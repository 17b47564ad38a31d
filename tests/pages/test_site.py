"""A site: its pages lead to one another and nowhere else, find networks and compare them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner, Result

from ranspec.cli.app import app
from ranspec.pages.site import site
from tests.browser import Browser, needs_browser
from tests.rendering import loaded

SPECS = (
    "attention56_cifar",
    "attention92_cifar",
    "attention452_cifar",
    "lzlz2020/attention56_noise10_cifar",
    "lzlz2020/attention56_noise30_cifar",
    "yeah2020/attention56_nal_cifar",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    for name, text in site({spec: loaded(spec) for spec in SPECS}).items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def links(text: str) -> set[str]:
    body = re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)
    return set(re.findall(r'(?:href|src|action)="([^"]*)"', body))


def test_every_link_leads_to_a_page_of_the_site_and_every_page_is_reached(folder: Path) -> None:
    reached = {"index.html"}
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8")
        for link in links(text):
            parts = urlsplit(link)
            assert not parts.scheme and not parts.netloc, link
            target = parts.path or file.name
            assert (folder / target).is_file(), f"{file.name}: {link}"
            if parts.fragment.startswith("a="):
                assert unquote(parts.fragment.removeprefix("a=")) in SPECS
            elif parts.fragment:
                assert f'id="{parts.fragment}"' in (folder / target).read_text(encoding="utf-8")
            reached.add(target)
    assert reached == {file.name for file in folder.iterdir()}


def test_the_index_is_a_whole_table_without_javascript(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    body = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert all(f'data-name="{spec}"' in body for spec in SPECS)
    for figure in ("8,745,850", "printed 8.6 M", "936.8 M", "3.90 %", "452"):
        assert figure in body


def visible(page: Browser) -> list[str]:
    names: list[str] = page.value(
        "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).map(r => r.dataset.name)"
    )
    return names


def search(page: Browser, text: str) -> list[str]:
    page.value(
        f"(() => {{const box = document.getElementById('search'); box.value = {text!r};"
        "box.dispatchEvent(new Event('input'))})()"
    )
    return visible(page)


@needs_browser
def test_networks_are_found_by_name_source_and_figures(page: Browser, folder: Path) -> None:
    page.open(folder / "index.html")
    assert visible(page) == list(SPECS)
    assert search(page, "noise10") == ["lzlz2020/attention56_noise10_cifar"]
    assert search(page, "WANG 92") == ["attention92_cifar"]
    assert search(page, "parameters > 8 M macs < 1 G wang") == ["attention452_cifar"]
    assert search(page, "depth>100") == ["attention452_cifar"]
    assert search(page, "error < 4") == search(page, "< 4 %") == ["attention452_cifar"]
    assert search(page, "nothing such") == []
    assert page.value("document.getElementById('found').textContent") == "0 of 6 networks"
    assert page.complaints() == []


@needs_browser
def test_networks_are_sorted_by_a_column_and_chosen_for_a_comparison(
    page: Browser, folder: Path
) -> None:
    page.open(folder / "index.html")
    page.value("document.querySelectorAll('thead button')[3].click()")
    assert visible(page)[0] == "yeah2020/attention56_nal_cifar"
    page.value("document.querySelectorAll('thead button')[3].click()")
    assert visible(page)[0].startswith("lzlz2020/")
    for name in ("attention56_cifar", "attention92_cifar"):
        page.value(f"document.querySelector('[data-name=\"{name}\"] input').click()")
    link = page.value("document.getElementById('compare').getAttribute('href')")
    assert link == "compare.html#a=attention56_cifar&b=attention92_cifar"


def compared(page: Browser, folder: Path, first: str, second: str) -> dict[str, str]:
    page.open(folder / "compare.html", f"#a={first}&b={second}")
    parts = ("figures", "specs", "blocks", "summary")
    return {name: page.value(f"document.getElementById('{name}').innerText") for name in parts}


@needs_browser
def test_two_networks_are_compared_by_figures_spec_and_blocks(page: Browser, folder: Path) -> None:
    said = compared(page, folder, "attention56_cifar", "attention92_cifar")
    assert "1,030,394\t1,841,274\t+78.7 %" in said["figures"]
    assert "stages.stage1.modules\t1\t2" in said["specs"]
    assert "unit.kind" not in said["specs"]
    assert "equal: stem" in said["blocks"]
    only = page.value(
        "[...document.querySelectorAll('.only-b')].map(line => line.innerText.split('\\n').at(-2))"
    )
    assert only == [f"AttentionModuleDepth{depth}" for depth in (3, 2, 1)]
    assert page.complaints() == []


@needs_browser
def test_networks_that_differ_in_their_recipe_have_equal_blocks(
    page: Browser, folder: Path
) -> None:
    said = compared(page, folder, *(f"lzlz2020/attention56_noise{n}_cifar" for n in (10, 30)))
    assert "train.clean_labels" in said["specs"]
    assert said["blocks"] == ""
    assert said["summary"].startswith("All blocks are equal")


@needs_browser
@pytest.mark.parametrize("width", [360, 1024])
@pytest.mark.parametrize("name", ["index.html", "compare.html"])
def test_pages_fit_every_width(page: Browser, folder: Path, name: str, width: int) -> None:
    page.resize(width, 800)
    page.open(folder / name, "#a=attention452_cifar&b=yeah2020/attention56_nal_cifar")
    assert page.value("document.documentElement.scrollWidth") == width
    assert page.complaints() == []


def ranspec(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["site", *arguments])


def test_a_site_is_written_among_files_of_others_and_over_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine.html").write_text("mine")
    result = ranspec("attention_digits", "attention56_cifar")
    assert result.exit_code == 0, result.stderr
    names = {path.name for path in (tmp_path / "site").iterdir()}
    cards = {"attention_digits.html", "attention56_cifar.html"}
    assert names == {"index.html", "compare.html", ".ranspec.json", "mine.html"} | cards
    assert ranspec("attention_digits").exit_code == 0
    assert not (tmp_path / "site" / "attention56_cifar.html").exists()
    (tmp_path / "site" / "index.html").write_text("edited")
    refused = ranspec("attention_digits")
    assert refused.exit_code == 2
    assert "index.html was edited since it was built" in refused.stderr
    assert (tmp_path / "site" / "mine.html").read_text() == "mine"


def test_a_spec_with_a_mistake_is_told_of_before_anything_is_written(tmp_path: Path) -> None:
    result = ranspec("attention_digit", "-o", str(tmp_path / "site"))
    assert result.exit_code == 2
    assert "attention_digits" in result.stderr
    assert not (tmp_path / "site").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "site"
    file.write_text("mine")
    result = ranspec("attention_digits", "-o", str(file))
    assert result.exit_code == 2
    assert "is a file" in " ".join(result.stderr.split())
    assert file.read_text() == "mine"


def test_specs_of_one_name_have_a_card_each() -> None:
    spec = loaded("attention_digits")
    pages = site({"a/b": spec, "a__b": spec, "index": spec})
    assert set(pages) == {"a__b.html", "a__b_2.html", "index_2.html", "index.html", "compare.html"}
