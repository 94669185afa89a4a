"""The site of the documentation: built strictly, whole, and all of it in the folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import published
import pytest
import small
from browsing import chromium

import cimsim

VISITED = ("index", "bounds", "fields", "api", "cli", "gallery", "tutorials/study")
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "srcset"}
"""What a page loads by itself, and where it says from where."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="a development tool")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=small.ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads by itself."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in LOADING and named.get("rel") not in ("canonical", "next", "prev"):
            self.found += [text for text in [named.get(LOADING[tag])] if text]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        for target in Loaded(page).found:
            assert not re.match(r"(https?:)?//", target), f"{page.name} loads {target}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", text), sheet


def test_every_verb_is_on_the_page_of_the_command_line(site: Path) -> None:
    from cimsim.cli import app

    page = (site / "cli.html").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"cimsim-{command.name}" in page
    assert "Names: auto" in page


def test_every_name_is_on_the_page_of_the_api(site: Path) -> None:
    source = (small.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: cimsim\.(\w+)$", source, re.MULTILINE)
    assert sorted(shown) == sorted(set(cimsim.__all__) - {"__version__"})
    page = (site / "api.html").read_text(encoding="utf-8")
    assert "from time 0 to the last end of any work" in page


def test_every_picture_is_in_the_gallery_below_a_command() -> None:
    page = (small.ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    folders = (small.ROOT / "docs", small.ROOT / "benchmarks")
    pictures = [path for folder in folders for path in folder.rglob("*.png")]
    assert len(pictures) > 15
    for path in pictures:
        name = path.relative_to(small.ROOT).as_posix()
        link = name.removeprefix("docs/") if name.startswith("docs/") else f"../{name}"
        above, found, _ = page.partition(f"]({link})")
        assert found, f"{name} is not in docs/gallery.md"
        assert "```bash" in above
    for script in re.findall(r"^python (\S+)$", page, re.MULTILINE):
        assert (small.ROOT / script).is_file(), script


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_a_browser_shows_it_and_asks_for_nothing(
    site: Path, browser: Any, scheme: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda problem: said.append(str(problem)))
    page.on("request", lambda request: asked.append(request.url))
    for name in VISITED:
        page.goto((site / f"{name}.html").as_uri())
        assert page.locator("article h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    body = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, re.findall(r"\d+", body)[:3])) < 300
    assert dark == (scheme == "dark")
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []
    page.close()


def test_the_search_finds_without_a_server(site: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    page.locator("input.md-search__input").fill("recalibrate")
    page.wait_for_selector(".md-search-result__link", state="attached")
    assert "language-models.html" in page.locator(".md-search-result__link").first.get_attribute(
        "href"
    )
    page.close()


def test_the_readme_has_the_published_figures_of_the_validation_page() -> None:
    readme, page = (path.read_text(encoding="utf-8") for path in (published.README, published.PAGE))
    assert published.renewed(readme, page) == readme, "run python tests/published.py"
    figure = "ISAAC-CE: power without off-chip links"
    row = published.published(page)["machines", figure, "W"]
    *_, ours, error, _ = published.cells(row)
    before, after = f"{ours} | {error}", "1 W | -98.2 %"
    assert row in readme
    moved = published.renewed(readme, page.replace(before, after))
    assert moved == readme.replace(before, after) != readme
    with pytest.raises(KeyError, match=figure):
        published.renewed(readme, page.replace(figure, "ISAAC-CE: power"))
