"""Timelines, maps of tiles and rooflines add up to the report, in pictures and in the page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import small
from browsing import Visit, chromium
from conftest import Cli
from hypothesis import given
from hypothesis import strategies as st

import cimsim
from cimsim.costs.memory import access_energy_J
from cimsim.ir import save_workload
from cimsim.simulation import Simulation
from cimsim.views import timeline as of_page
from cimsim.views.pages.charts import Charts
from cimsim.views.pages.run import run_page
from cimsim.views.pages.working import timeline
from cimsim.views.part import RunPart, part_of
from cimsim.views.roofline import MEMORIES, roofline_of
from cimsim.views.slices import ENERGY
from cimsim.views.tiles import OTHERS, columns_of, tile_maps
from cimsim.views.timeline import LANES, Timeline, shares, timeline_of


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return cimsim.simulate(small.decoder(rank=2, steps=3), small.machine(), pipeline="token")


def test_shares_over_the_run_are_the_busy_times_of_the_report(simulation: Simulation) -> None:
    report = simulation.report
    found = shares(simulation)
    for unit, times in report.unit_times.items():
        busy = float(found[unit].mean()) * report.latency_s
        assert busy == pytest.approx(times.busy_s, rel=1e-6)
        assert found[unit].max() <= 1.0 + 1e-9


def test_pieces_tell_all_energy_and_never_overlap(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_page, "MOST", 10**6)
    found = timeline_of(simulation)
    work = [piece for piece in found.pieces if piece.lane]
    assert len(work) == found.of
    energy = math.fsum(float(piece.told[ENERGY]) for piece in work) * 1e-12
    report = simulation.report
    assert energy == pytest.approx(report.energy_J - report.energy_by_unit_J["leakage"], rel=1e-9)
    path = [piece for piece in found.pieces if not piece.lane]
    ends = simulation.run.makespan_ps
    assert sum(piece.end_ps - piece.start_ps for piece in path) == ends
    for lane in range(len(found.lanes)):
        spans = sorted((p.start_ps, p.end_ps) for p in found.pieces if p.lane == lane)
        assert all(b[0] >= a[1] for a, b in pairwise(spans))


def test_long_runs_show_a_window_and_say_which(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_page, "MOST", 20)
    found = timeline_of(simulation)
    step = part_of(simulation, step=2)
    assert found.part.start_ps == step.start_ps
    assert found.part.end_ps < step.end_ps
    work = [piece for piece in found.pieces if piece.lane]
    assert 0 < len(work) <= 20
    assert all(piece.start_ps < found.part.end_ps for piece in work)
    assert "decode step 2 of 3" in found.title
    assert f"{found.of:,} in the whole run" in found.title
    assert timeline_of(simulation, part_of(simulation, step=1)).part.name.endswith("step 1 of 3")


@pytest.mark.parametrize("most", [10**6, 7])
def test_tiles_hold_what_the_mapping_says(simulation: Simulation, most: int) -> None:
    mapping = simulation.mapping
    found = {one.unit: one for one in tile_maps(mapping, simulation.architecture, most)}
    assert found.keys() == {unit for unit, used in mapping.units_used.items() if used}
    for unit, one in found.items():
        assert one.used == mapping.used(unit)
        assert one.length <= most
        held = {name for tile in one.tiles for name, _ in tile.held}
        placed = {name for name, p in mapping.placements.items() if p.unit == unit}
        assert held == placed | {name for name, s in mapping.kv.items() if s.unit == unit}
        for tile in one.tiles:
            assert sum(share for _, share in tile.held) == pytest.approx(1.0)
        assert OTHERS not in one.groups[:-1]
    assert found["rram"].filled == pytest.approx(mapping.cell_utilisation)
    assert [columns_of(n) for n in (1, 2, 100)] == [1, 2, 20]


def test_no_phase_is_above_a_roof(simulation: Simulation) -> None:
    found, report = roofline_of(simulation), simulation.report
    machine = simulation.architecture
    total = sum(found.operations.values())
    assert total == 2 * simulation.job.workload.macs
    for phase, rate in found.rates.items():
        assert rate * report.phases[phase].latency_s == pytest.approx(found.operations[phase])
        for memory in MEMORIES:
            moved = found.bytes_moved[memory][phase] / report.phases[phase].latency_s
            assert moved <= found.bandwidths[memory]
    assert total / report.latency_s <= sum(found.roofs.values()) * (1 + 1e-9)
    for memory in MEMORIES:
        energy = access_energy_J(
            getattr(machine, memory), 8 * sum(found.bytes_moved[memory].values())
        )
        assert energy == pytest.approx(report.energy_by_unit_J.get(memory, 0.0))


@pytest.fixture(scope="module")
def html(simulation: Simulation) -> str:
    return run_page(simulation.report, simulation)


@pytest.fixture(scope="module")
def visit(html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(html, encoding="utf-8")
    for browser in chromium():
        yield Visit(browser, path, 390, "dark")


def scene(html: str) -> dict[str, Any]:
    found = re.search(r'id="scene">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_shows_work_and_tiles_and_tells_them(
    visit: Visit, html: str, simulation: Simulation
) -> None:
    told = visit.told_at(5, ".trace .point path")
    assert told["phase"] in simulation.plan.phases
    assert told["from"].endswith(" ps")
    assert {"layer", "bytes", ENERGY} <= told.keys()
    values = list(told.values())[1:]
    assert values in [point["values"] for point in scene(html)["points"].values()]
    share = visit.told_at(4, ".heatmaplayer image")["share at work"]
    assert share in {repr(float(v)) for found in shares(simulation).values() for v in found}
    assert visit.told_at(6, ".heatmaplayer image")["share of cells in use"]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.said == []
    assert visit.asked == [visit.url]


def test_a_report_is_drawn_again_or_refused(cimsim: Cli, tmp_path: Path) -> None:
    save_workload(small.decoder(), tmp_path / "w.json")
    machine = tmp_path / "m.json"
    machine.write_text(small.machine().model_dump_json(exclude_none=True))
    run = ("run", machine, tmp_path / "w.json", "--pipeline", "token", "--no-band")
    setting = ("--set", "rram.integration_ns=77", "--replicate", "*=2")
    assert cimsim(*run, *setting, "-o", tmp_path / "out")[0] == 0
    plot = ("plot", tmp_path / "out" / "report.json")
    files = ("--machine", machine, "--workload", tmp_path / "w.json")
    for kind in ("gantt", "roofline", "tilemap"):
        path = tmp_path / f"{kind}.svg"
        code, _, err = cimsim(*plot, *files, "-o", path, "--kind", kind, "--width", "column")
        assert (code, err) == (0, "")
        assert path.stat().st_size > 5000
    picture = ("-o", tmp_path / "a.png")
    (tmp_path / "other.json").write_text(machine.read_text() + "\n")
    for options, words in (
        (("--kind", "gantt"), "does not come with cimsim: give the file, --machine FILE"),
        (("--kind", "tilemap", "--machine", tmp_path / "other.json"), "not the architecture of"),
        (("--kind", "time", *files), "had no effect with --kind time"),
        (("--kind", "tilemap", "--step", 1), "had no effect without --kind gantt"),
    ):
        code, _, err = cimsim(*plot, *picture, *options)
        assert code == 2
        assert words in err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    report["inputs"]["mapping_sha256"] = "0" * 64
    (tmp_path / "out" / "report.json").write_text(json.dumps(report))
    code, _, err = cimsim(*plot, *picture, *files, "--kind", "gantt")
    assert code == 2
    assert "cannot be made again from its report" in err


@given(st.lists(st.integers(1, 150), min_size=1, max_size=30))
def test_every_lane_is_in_one_view(sizes: list[int]) -> None:
    """Lanes are leafed through in order, and a unit is cut only where it is larger than a view."""
    lanes = tuple(name for size in sizes for name in ("unit", *[""] * (size - 1)))
    views = Timeline(RunPart(0, 1, "", None), lanes, (), len(sizes), 0).views
    assert views[0][0] == 0
    assert views[-1][1] == len(lanes)
    assert all(one[1] == other[0] for one, other in pairwise(views))
    assert all(0 < behind - first <= LANES for first, behind in views)
    ends = list(accumulate(sizes))
    for first, _ in views[1:]:
        inside = next(size for size, end in zip(sizes, ends, strict=True) if end > first)
        assert lanes[first] or inside > LANES


def test_lanes_beyond_those_in_sight_are_leafed_to(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_page, "LANES", 7)
    found = timeline_of(simulation)
    charts = Charts()
    list(timeline(simulation, None, charts))
    layout = charts.charts[1]["layout"]
    (menu,) = layout["updatemenus"]
    ranges = [button["args"][0]["yaxis.range"] for button in menu["buttons"]]
    assert ranges[0] == layout["yaxis"]["range"]
    seen = [lane for low, high in ranges for lane in range(len(found.lanes)) if low < -lane < high]
    assert seen == list(range(len(found.lanes)))
    assert len(ranges) > 1
    monkeypatch.setattr(of_page, "LANES", 10**6)
    whole = Charts()
    list(timeline(simulation, None, whole))
    assert "updatemenus" not in whole.charts[1]["layout"]
