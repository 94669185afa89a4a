"""The page of a front, as text and in a real browser: no request, no error, nothing of it runs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Elements, Visit, chromium
from fronts import EVIL, THREE, TWO, WORSE, study

from cimsim.values.plaintext import literal
from cimsim.views.front.chart import charts_of
from cimsim.views.front.page import page, save_page
from cimsim.views.pages.document import NoPlotlyError
from cimsim.views.pages.document import text as as_html

SHOWN = literal(WORSE)
"""How text with control characters is shown."""


@pytest.fixture(scope="module")
def html() -> str:
    return page(study())


@pytest.fixture(scope="module")
def elements(html: str) -> Elements:
    return Elements(html)


def test_the_page_asks_for_nothing_and_holds_no_foreign_element(elements: Elements) -> None:
    names = [tag for tag, _ in elements.tags]
    assert names.count("script") == 3
    assert not {"img", "iframe", "b", "i", "object", "form"} & set(names)
    for tag, given in elements.tags:
        assert not [name for name in given if name.startswith("on")], tag
        assert "src" not in given
        assert given.get("href", "data:,") == "data:,"
    (policy,) = [given["content"] for _, given in elements.tags if "http-equiv" in given]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_text_from_outside_is_text(elements: Elements) -> None:
    assert f"{EVIL} {SHOWN}" in elements.texts  # heading and title
    assert elements.texts.count(SHOWN) + elements.texts.count(EVIL) > 5  # cells of the front
    assert "\x1b" not in "".join(elements.texts)


def test_points_have_every_setting_and_the_stored_values(elements: Elements) -> None:
    data = json.loads(elements.data["scene"])
    keys = ["rram.adc_bits", "pipeline", "rram.rows", "latency_s", "energy_J", "accuracy",
            "area_used_mm2", "bound"]  # fmt: skip
    assert [chart["keys"] for chart in data["charts"]] == [keys, keys]
    assert len(data["points"]) == 36
    seen = study()
    for number, point in data["points"].items():
        values = dict(zip(keys, point["values"], strict=True))
        latency, energy = (column.texts[int(number)] for column in seen.objectives)
        assert values["latency_s"].split(" (")[0] == latency == repr(float(latency))
        assert values["energy_J"].split(" (")[0] == energy
        assert values["bound"] == EVIL
        assert ("on the front" in point["name"]) == (int(number) in seen.front)
    assert f"knee, on the front, bound by {EVIL}" in data["points"][str(seen.knee)]["name"]


def test_charts_are_what_plotly_takes_with_every_text_escaped() -> None:
    from plotly import graph_objects

    for chart in charts_of(study(THREE)):
        graph_objects.Figure(chart)  # raises ValueError for what it does not know
        texts = [axis["title"]["text"] for axis in (chart["layout"]["xaxis"],) if "title" in axis]
        texts += [trace.get("name", "") for trace in chart["data"]]
        texts += [note["text"] for note in chart["layout"].get("annotations", [])]
        for text in texts:
            assert not re.search(r"<(?!br>)", text), text
    assert as_html(EVIL) == "&lt;img src=x onerror=alert(1)&gt;"
    assert as_html("a&lt;\n") == "a&amp;lt;\\n"


def test_charts_have_the_stairs_of_the_picture() -> None:
    for objectives, shape in ((TWO, "hv"), ({"accuracy": True, "latency_s": False}, "vh")):
        seen = study(objectives)
        (line,) = [one for one in charts_of(seen)[0]["data"] if one["mode"] == "lines"]
        assert line["line"]["shape"] == shape
        assert line["x"] == sorted(line["x"])
        assert sorted(line["y"]) == sorted(float(seen.objectives[1].numbers[i]) for i in seen.front)


def test_without_plotly_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(NoPlotlyError, match=r"pip install '\.\[plots\]'"):
        save_page(study(), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from chromium()


@pytest.fixture(scope="module")
def visit(browser: Any, html: str, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    path = tmp_path_factory.mktemp("page") / "front.html"
    path.write_text(html, encoding="utf-8")
    return Visit(browser, path, 1200, "light")


def test_hover_tells_the_stored_values(visit: Visit) -> None:
    seen = study()
    told = visit.told_at(0, ".trace:nth-child(3) .point")  # the first of the front with a reason
    number = int(told[""].split(":")[0].removeprefix("point ")) - 1
    assert number in seen.front
    latency, energy = (column.texts[number] for column in seen.objectives)
    assert told["latency_s"].split(" (")[0] == latency
    assert told["energy_J"].split(" (")[0] == energy
    assert told["pipeline"] == literal(seen.axes[1].texts[number])
    assert told["rram.rows"] == seen.axes[2].texts[number]
    assert told["bound"] == EVIL


def test_parallel_coordinates_tell_the_same(visit: Visit) -> None:
    told = visit.told_at(1, ".trace:last-child .point")
    assert "on the front" in told[""]
    assert set(told) > {"rram.adc_bits", "pipeline", "latency_s", "area_used_mm2"}


def test_a_brush_keeps_what_lies_in_it(visit: Visit) -> None:
    seen = study()
    place = 2  # rram.rows
    column = seen.columns[place]
    where = """([column, height]) => {
      const home = document.querySelector("#chart-1");
      home.scrollIntoView();
      const { xaxis, yaxis, _size: size } = home._fullLayout;
      const box = home.getBoundingClientRect();
      return [box.left + size.l + xaxis.l2p(column), box.top + size.t + yaxis.l2p(height)];
    }"""
    kept = "document.querySelector('#kept').textContent"
    opacities = "document.querySelector('#chart-1').data.map(one => one.opacity ?? 1)"
    before = visit.page.evaluate(opacities)
    for height, move in ((0.6, "down"), (1.02, "up")):
        visit.page.mouse.move(*visit.page.evaluate(where, [place, height]))
        getattr(visit.page.mouse, move)()
    inside = [i for i, height in enumerate(column.heights) if height >= 0.6]
    assert 0 < len(inside) < 36
    visit.until(f"{kept} === '{len(inside)} of 36 drawn points are kept.'")
    for chart, faded in ((0, True), (1, False)):
        data = visit.page.evaluate(f"document.querySelector('#chart-{chart}').data")
        for trace in data:
            points = trace.get("customdata", [])
            if faded and points:
                assert [points[i] for i in trace["selectedpoints"]] == [
                    point for point in points if point in inside
                ]
            elif trace.get("meta") == "ground":
                assert set(points) == {i for i in seen.ground if i in inside}
            elif points:
                assert (trace["opacity"] == 1) == (points[0] in inside)
    told = visit.told_at(0, ".trace:nth-child(3) .point")
    assert told["bound"] == EVIL
    visit.page.mouse.click(*visit.page.evaluate(where, [place, 0.3]))
    visit.until(f"{kept} === ''")
    assert visit.page.evaluate(opacities) == before


def test_the_browser_shows_names_as_text(visit: Visit) -> None:
    texts = visit.page.eval_on_selector_all(
        "svg text", "all => all.map(one => one.textContent.replaceAll('\\u00a0', ' '))"
    )
    assert any(text.startswith("front, bound by <img") for text in texts)
    assert visit.page.locator("img").count() == 0
    assert visit.page.locator("h1").text_content() == f"{EVIL} {SHOWN}"


def test_there_is_something_to_see(visit: Visit) -> None:
    colours = visit.colours("#chart-0")
    for wanted in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0), (0x99, 0x99, 0x99)):  # front, knee, others
        distance = np.abs(colours - np.array(wanted) / 255).max(axis=1)
        assert distance.min() < 0.08, wanted
    assert len(visit.colours("#chart-1")) > 50


def test_dark_mode_turns_ground_and_text(visit: Visit) -> None:
    text = "getComputedStyle(document.querySelector('#chart-0 .xtitle')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    assert visit.page.evaluate(ground) == "rgb(255, 255, 255)"
    light = visit.page.evaluate(text)
    visit.page.emulate_media(color_scheme="dark")
    visit.until(f"{text} !== '{light}'")
    assert visit.page.evaluate(ground) == "rgb(22, 24, 28)"
    assert visit.page.evaluate(text) == "rgb(232, 232, 232)"
    assert visit.colours("#chart-0").mean(axis=0).max() < 0.6


def test_a_phone_scrolls_the_page_only_downwards(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 800})
    visit.until("document.querySelector('#chart-0 svg').clientWidth < 390")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    told = visit.told_at(0, ".trace:nth-child(3) .point")
    box = visit.page.locator("#told").bounding_box()
    assert told["bound"] == EVIL
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_nothing_was_said_and_nothing_asked_for(visit: Visit) -> None:
    assert visit.said == []
    assert visit.asked == [visit.url]
