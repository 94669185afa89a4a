"""The page of a run: what it tells is the report's, nothing from outside becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
from browsing import Elements, Visit, chromium

import cimsim
from cimsim.report import Report
from cimsim.units import quantity
from cimsim.values.plaintext import literal
from cimsim.views.pages.run import run_page

Cli = Callable[..., tuple[int, str, str]]
EVIL = '<img src=x onerror="alert(1)">&amp;\x1b$x$</script>'


@pytest.fixture(scope="module")
def report() -> Report:
    workload = small.decoder(rank=2, steps=2).model_copy(update={"name": "evil"})
    simulation = cimsim.simulate(workload, small.machine(), pipeline="token")
    found = simulation.report.model_copy(update={"bounds": simulation.bottlenecks()})
    gpu = cimsim.gpu("a100_sxm4_80gb")
    beside = cimsim.with_baseline(found, workload, gpu)
    notes = (*beside.notes, EVIL)
    return beside.model_copy(update={"workload": EVIL, "notes": notes})


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return run_page(report)


def scene(html: str) -> dict[str, Any]:
    """What the page draws and tells."""
    found = re.search(r'id="scene">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_bars_tell_the_exact_values_of_the_report(html: str, report: Report) -> None:
    told = scene(html)
    drawn = (
        report.energy_by_unit_J, report.energy_by_kind_J, report.area_used_by_unit_mm2,
        {unit: times.busy_s for unit, times in report.unit_times.items()},
    )  # fmt: skip
    for number, (values, unit) in enumerate(zip(drawn, ("J", "J", "mm2", "s"), strict=True)):
        (trace,) = told["charts"][number]["data"]
        shown = {key: value for key, value in values.items() if value > 0}
        assert dict(zip(trace["y"], trace["x"], strict=True)) == shown
        for name, point in zip(trace["y"], trace["customdata"], strict=True):
            assert told["points"][point]["values"][0] == f"{shown[name]!r} {unit}"
            assert told["points"][point]["name"].endswith(f": {name}")


def test_the_page_says_what_the_report_says(html: str, report: Report) -> None:
    texts = " ".join(Elements(html).texts)
    for wanted in (
        quantity(report.latency_s, "s"), quantity(report.energy_J, "J"), "Beside a GPU",
        *(f"{b.latency_ratio:.4g}" for b in report.baselines.values() if b.latency_ratio),
        *report.phases, *report.assumed, *report.inputs, "Layers that take most energy",
        "What bounds it", "adapter switch",
    ):  # fmt: skip
        assert wanted in texts, wanted


def test_what_a_report_lacks_has_no_section(report: Report) -> None:
    bare = report.model_copy(update={"baselines": {}, "bounds": None, "notes": ()})
    texts = Elements(run_page(bare)).texts
    for title in ("Beside a GPU", "What bounds it", "Accuracy", "What to look out for"):
        assert title not in texts
    assert "Result" in texts


def test_names_are_text(html: str) -> None:
    elements = Elements(html)
    names = [tag for tag, _ in elements.tags]
    assert names.count("script") == 3
    assert not {"img", "iframe", "object", "form"} & set(names)
    assert any(literal(EVIL)[:20] in text for text in elements.texts)


@pytest.fixture(scope="module")
def visit(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(html, encoding="utf-8")
    for browser in chromium():
        yield Visit(browser, path, 1200, "light")


def test_a_browser_shows_it_and_asks_for_nothing(visit: Visit, report: Report) -> None:
    told = visit.told_at(0, ".point path")
    unit = told[""].removeprefix("energy by unit: ")
    assert told["exact"] == f"{report.energy_by_unit_J[unit]!r} J"
    assert len(visit.colours("#chart-0")) > 10
    visit.page.set_viewport_size({"width": 390, "height": 800})
    visit.until("document.querySelector('#chart-0 svg').clientWidth < 390")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.page.locator("img").count() == 0
    assert visit.said == []
    assert visit.asked == [visit.url]


def test_the_command_writes_it(cimsim: Cli, tmp_path: Path) -> None:
    run = ("run", "--pipeline", "token", "ahwa_pcm_pmca", "minilm_sentiment_r8_s32", "--json")
    code, out, _ = cimsim(*run, "--html", tmp_path / "run.html")
    assert code == 0
    found = json.loads(out)
    told = scene((tmp_path / "run.html").read_text())["points"].values()
    values = [point["values"][0] for point in told]
    assert f"{found['energy_by_unit_J']['pmca']!r} J" in values
