"""Pages as a browser has them: their elements as text, and Debian's Chromium."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("script", "style", "scene"):
            self.data[inside] = self.data.get(inside, "") + data
        else:
            self.texts.append(data)


def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    options = ["--disable-gpu", *["--no-sandbox"] * (os.geteuid() == 0)]
    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


class Visit:
    """A page in the browser, with everything it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(
            viewport={"width": width, "height": 700}, color_scheme=scheme, has_touch=width < 500
        )
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda problem: self.said.append(str(problem)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector("#chart-0 .point", state="attached")

    def until(self, condition: str) -> None:
        """Wait for it here: what polls within the page is a script that the page refuses."""
        for _ in range(100):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"never became true: {condition}")

    def told_at(self, chart: int, selector: str) -> dict[str, str]:
        """What the page tells where the pointer is on the first mark of a chart."""
        mark = self.page.locator(f"#chart-{chart} {selector}").first
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.wait_for_selector("#told", state="visible")
        rows = self.page.eval_on_selector_all(
            "#told tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        name = self.page.locator("#told caption").text_content()
        return {"": name, **dict(rows)}

    def colours(self, selector: str) -> np.ndarray[Any, Any]:
        """Distinct colours of an element's screenshot, red, green, blue from 0 to 1."""
        shot = matplotlib.image.imread(io.BytesIO(self.page.locator(selector).screenshot()))
        bytes_ = (shot[:, :, :3] * 255).round().astype(np.int64)
        codes = np.unique(bytes_ @ np.array([65536, 256, 1]))
        return np.stack([codes // 65536, codes // 256 % 256, codes % 256], axis=1) / 255
