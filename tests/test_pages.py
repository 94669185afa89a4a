"""Pages of accuracies, strategies, comparisons, switches and sweeps: exact, escaped, offline."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import small
from browsing import Elements, Visit, chromium
from conftest import Cli

import cimsim
from cimsim.cli.sensitivity import energy_bands
from cimsim.comparison import compare
from cimsim.ir import save_workload
from cimsim.report import Accuracy, AccuracyReport, Report
from cimsim.schedule.pipelines import parse_pipeline
from cimsim.serving import Scenario, Switching, switch
from cimsim.studies.pipelines import PipelineRow, Shape, Study
from cimsim.units import quantity
from cimsim.values.plaintext import literal
from cimsim.views.accuracy import time_places
from cimsim.views.pages.compared import comparison_page
from cimsim.views.pages.measured import accuracy_page
from cimsim.views.pages.strategies import pipelines_page
from cimsim.views.pages.switches import switching_page

EVIL = '<img src=x onerror="alert(1)">&amp;\x1b$x$</script>'
GIVEN: dict[str, Any] = {
    "name": "few", "workload": "w.json", "tasks": 3, "pipeline": "token",
    "requests": {"pattern": "round_robin", "count": 6}, "strategies": ["lora-sram", "full"],
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> AccuracyReport:
    folder = small.ROOT / "benchmarks" / "figures" / "accuracy" / "data" / "drift"
    texts = ((folder / f"{name}-s0.json").read_text() for name in ("plain", "ahwa"))
    first, other = (Accuracy.model_validate_json(text) for text in texts)
    results = first.model_copy(update={"adapter": EVIL}), other
    return AccuracyReport(architecture="ahwa_pcm_pmca", workload="minilm", results=results)


@pytest.fixture(scope="module")
def rows() -> list[PipelineRow]:
    study = Study(small.machine())
    shape = Shape(64, 64, 4, 8)
    return [study.layer(shape, parse_pipeline(name)) for name in ("token", "layer")]


@pytest.fixture(scope="module")
def switching(tmp_path_factory: pytest.TempPathFactory) -> Switching:
    folder = tmp_path_factory.mktemp("scenario")
    save_workload(small.decoder(), folder / "w.json")
    asked = Scenario.model_validate(GIVEN)
    found = switch(small.machine(), asked, folder=folder)
    return found.model_copy(update={"notes": (*found.notes, EVIL)})


@cache
def fastest() -> Report:
    """The run of the fastest strategy, with bands and a GPU."""
    done = cimsim.simulate(small.decoder(), small.machine(), pipeline="token")
    report = cimsim.with_baseline(done.report, small.decoder(), cimsim.gpu("a100_sxm4_80gb"))
    return report.model_copy(update={"bands": energy_bands(done, report)})


@pytest.fixture(scope="module")
def pages(
    measured: AccuracyReport, rows: list[PipelineRow], switching: Switching
) -> dict[str, str]:
    machine = small.machine()
    reports = [
        cimsim.simulate(small.decoder(), machine, pipeline=name).report
        for name in ("token", "sequential")
    ]
    reports[0] = cimsim.with_baseline(
        reports[0], small.decoder(), cimsim.gpu("a100_sxm4_80gb")
    ).model_copy(update={"workload": EVIL})
    return {
        "accuracy": accuracy_page(measured, machine),
        "pipelines": pipelines_page(rows, machine, {EVIL: "0" * 64}, fastest()),
        "compare": comparison_page(compare(reports)),
        "switch": switching_page(switching, machine),
    }


def told(html: str) -> set[str]:
    """Every value that hovering tells."""
    found = re.search(r'id="scene">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    scene = json.loads(found[1])
    for chart in scene["charts"]:
        for trace in chart["data"]:
            assert all(
                len(scene["points"][point]["values"]) == len(chart["keys"])
                for point in trace["customdata"]
            )
    return {value for point in scene["points"].values() for value in point["values"]}


def test_hovering_tells_every_exact_value(
    pages: dict[str, str], measured: AccuracyReport, rows: list[PipelineRow], switching: Switching
) -> None:
    points = [p for r in measured.results for n in r.by_noise for p in n.by_time]
    assert {repr(p.mean) for p in points} <= told(pages["accuracy"])
    assert {repr(p.confidence_95) for p in points} <= told(pages["accuracy"])
    wanted = {f"{r.makespan_s!r} s" for r in rows} | {f"{r.energy_J!r} J" for r in rows}
    assert wanted <= told(pages["pipelines"])
    curve = [point for one in switching.strategies for point in one.curve if point.requests]
    assert {f"{point.energy_J!r} J" for point in curve} <= told(pages["switch"])
    parts = {f"{one.inference_energy_J!r} J" for one in switching.strategies}
    assert parts <= told(pages["switch"])


def test_pages_say_what_their_results_say(
    pages: dict[str, str], measured: AccuracyReport, rows: list[PipelineRow], switching: Switching
) -> None:
    texts = {name: " ".join(Elements(html).texts) for name, html in pages.items()}
    machine = small.machine()
    for name in ("accuracy", "pipelines", "switch"):
        assert all(path in texts[name] for path in machine.assumed()), name
        for low, high, _ in machine.ranges.values():
            assert f"{low:g} to {high:g}" in texts[name]
    assert all(quantity(row.makespan_s, "s") in texts["pipelines"] for row in rows)
    bare = fastest().model_copy(update={"baselines": {}, "bands": None})
    (band,) = (band for band in fastest().bands.bands if band.name == "energy_J")
    for wanted in (
        quantity(band.low, "J"), quantity(band.high, "J"), *band.makers[:1],
        *fastest().baselines, quantity(fastest().energy_J, "J"),
    ):  # fmt: skip
        assert wanted in texts["pipelines"], wanted
    assert "No GPU: name one" in pipelines_page(rows, machine, {}, bare)
    assert "A GPU computes the digital model" in texts["accuracy"]
    assert "No GPU stands beside" in texts["switch"]
    assert all(one.strategy in texts["switch"] for one in switching.strategies)
    assert all(str(one.draws) in texts["accuracy"] for one in measured.results)
    for wanted in ("Beside a GPU", "What differs", "pipeline", "A100", "no band"):
        assert wanted in texts["compare"], wanted


def test_names_are_text(pages: dict[str, str]) -> None:
    for name, html in pages.items():
        elements = Elements(html)
        tags = [tag for tag, _ in elements.tags]
        assert tags.count("script") == 3
        assert not {"img", "iframe", "object", "form"} & set(tags)
        assert any(literal(EVIL)[:20] in text for text in elements.texts), name


def test_times_lie_on_a_log_scale() -> None:
    places = time_places([0.0, 3600.0, 36_000.0, 360_000.0])
    steps = sorted(places.values())
    assert [b - a for a, b in pairwise(steps)] == pytest.approx([1, 1, 1])
    assert min(places, key=places.__getitem__) == 0.0
    assert time_places([0.0]) == {0.0: 0.0}


@pytest.fixture(scope="module")
def visits(
    pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Visit]]:
    folder = tmp_path_factory.mktemp("pages")
    for browser in chromium():
        found = {}
        for name, html in pages.items():
            (folder / f"{name}.html").write_text(html, encoding="utf-8")
            found[name] = Visit(browser, folder / f"{name}.html", 390, "dark")
        yield found


def test_a_browser_shows_them_and_asks_for_nothing(
    visits: dict[str, Visit], pages: dict[str, str]
) -> None:
    for name, visit in visits.items():
        bars = name in ("pipelines", "compare")
        shown = visit.told_at(0, ".point path" if bars else ".point")
        assert set(shown.values()) & told(pages[name]), name
        assert len(visit.colours("#chart-0")) > 10
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.page.locator("img").count() == 0
        assert visit.said == []
        assert visit.asked == [visit.url]


def test_the_commands_write_them(cimsim: Cli, tmp_path: Path) -> None:
    machine = tmp_path / "m.json"
    machine.write_text(small.machine().model_dump_json(exclude_none=True))
    gpu = ("--baseline", "a100_sxm4_80gb")
    work = tmp_path / "w.json"
    save_workload(small.decoder(), work)
    (tmp_path / "s.json").write_text(json.dumps(GIVEN))
    run = ("run", machine, work, "--pipeline", "token", "--no-band")
    assert cimsim(*run, "-o", tmp_path / "run", "--html", tmp_path / "run.html")[0] == 0
    layer = ("pipelines", machine, "--layer", "64x64", "--tokens", 8, "--strategy", "token")
    vary = ("--vary", "rram.adc_bits=4,6", "--pipeline", "token", "--workers", 1)
    for name, verb in {
        "compare": ("compare", tmp_path / "run", tmp_path / "run"),
        "pipelines": (*layer, *gpu, "--integration-ns", "64,256"),
        "switch": ("switch", machine, tmp_path / "s.json"),
        "sweep": ("sweep", machine, work, *vary),
    }.items():
        code, _, err = cimsim(*verb, "--html", tmp_path / f"{name}.html")
        assert code == 0, err
        assert "plotly" in (tmp_path / f"{name}.html").read_text()
    found = Elements((tmp_path / "pipelines.html").read_text()).texts
    assert any("A100" in text for text in found)
    assert any(text.startswith("How sure it is: ") and " under token" in text for text in found)
    code, _, err = cimsim(*layer, *gpu, "--no-band")
    assert (code, err) == (
        2, "error: --baseline, --band had no effect without --html: the page has them of the "
        "fastest strategy.\n",
    )  # fmt: skip
    many = "latency_s,energy_J,area_mm2,area_used_mm2,tiles_used"
    code, _, err = cimsim(*("sweep", machine, work, *vary), "--output", many, "--html", "x.html")
    assert code == 2
    assert "at most 4 outputs, the sweep keeps 5" in err
    assert "cimsim front STORE" in err
