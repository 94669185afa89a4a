"""Timelines: tracks are hardware, and what slices and counters say sums to the report."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import small

import cimsim
from cimsim.costs.memory import access_energy_J
from cimsim.simulation import Simulation
from cimsim.views.part import part_of
from cimsim.views.perfetto import BINS, save_timeline

Cli = Callable[..., tuple[int, str, str]]
Events = list[dict[str, Any]]
ALL = 10**6


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return cimsim.simulate(small.decoder(rank=2, steps=3), small.machine(), pipeline="token")


@pytest.fixture(scope="module")
def trace(simulation: Simulation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return written(simulation, tmp_path_factory.mktemp("trace") / "all.json.gz")


def written(simulation: Simulation, path: Path, most: int = ALL, **part: Any) -> dict[str, Any]:
    """A timeline as it is read again."""
    shown = part_of(simulation, **part) if part else None
    kept, total = save_timeline(simulation, path, most, shown)
    data: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    assert kept == len(slices(data["traceEvents"])) <= total
    return data


def slices(events: Events) -> Events:
    """Work on units."""
    return [event for event in events if event["ph"] == "X" and event["cat"] != "run"]


def test_energies_of_slices_sum_to_the_dynamic_energy(
    trace: dict[str, Any], simulation: Simulation
) -> None:
    report = simulation.report
    found = math.fsum(event["args"]["energy (pJ)"] for event in slices(trace["traceEvents"]))
    dynamic = report.energy_J - report.energy_by_unit_J["leakage"]
    assert found * 1e-12 == pytest.approx(dynamic, rel=1e-9)
    by_phase: dict[str, float] = defaultdict(float)
    for event in slices(trace["traceEvents"]):
        by_phase[event["args"]["phase"]] += event["args"]["energy (pJ)"] * 1e-12
    charges = simulation.plan.charges(simulation.architecture)
    for number, name in enumerate(simulation.plan.phases):
        spent = math.fsum(charge.energy_J[number] for charge in charges)
        assert by_phase[name] == pytest.approx(spent, rel=1e-9)


def test_bytes_of_slices_are_what_memories_are_paid_for(
    trace: dict[str, Any], simulation: Simulation
) -> None:
    """Bytes x energy a bit, summed over the slices of a memory, is its energy in the report."""
    machine, report = simulation.architecture, simulation.report
    moved: dict[str, float] = defaultdict(float)
    for event in slices(trace["traceEvents"]):
        moved[event["cat"]] += event["args"].get("bytes", 0.0)
    assert moved.keys() >= {"buffer", "dma"}
    for unit in ("buffer", "dram"):
        energy = access_energy_J(getattr(machine, unit), 8 * moved[unit])
        assert energy == pytest.approx(report.energy_by_unit_J.get(unit, 0.0), rel=1e-9), unit
    assert 0.0 < moved["dma"] <= moved["buffer"]


@pytest.mark.parametrize("case", ["lock-step", "packed", "stored K and V", "dies"])
def test_bytes_of_slices_on_links_are_what_links_are_paid_for(case: str, tmp_path: Path) -> None:
    """Bytes x energy a bit over the slices of a kind of link is its energy: every value once."""
    machine = small.machine()
    if case == "stored K and V":
        machine = small.machine(attention_on="sram")
    elif case == "dies":
        package = {
            "dies": 4, "bandwidth_GBps": 8.0, "crossing_ns": 2.0, "energy_pJ_per_bit": 0.5,
            "port_area_mm2": 0.25,
        }  # fmt: skip
        pmca = {"weights_per_cluster": 1024, "pool_clusters": 2, "cluster_count": 8}
        machine = small.machine(package=small.sourced(package), pmca=pmca)
    mapper = cimsim.DensePacking() if case == "packed" else None
    done = cimsim.simulate(small.decoder(rank=2, steps=3), machine, pipeline="token", mapper=mapper)
    names = {resource.name.partition(" of ")[0] for resource in done.plan.program.resources}
    assert ("port in" in names) == (case == "packed")
    assert bool(done.mapping.kv) == (case == "stored K and V")
    paid: dict[str, float] = defaultdict(float)
    for charge in done.plan.charges(machine):
        paid[charge.component] += math.fsum(charge.energy_J)
    moved: dict[str, float] = defaultdict(float)
    for event in slices(written(done, tmp_path / "t.json.gz")["traceEvents"]):
        moved[event["cat"]] += event["args"].get("bytes", 0.0)
    assert machine.tile_link.near is machine.tile_link
    energy_pJ = 8 * moved["link"] * machine.tile_link.energy_pJ_per_bit
    assert energy_pJ * 1e-12 == pytest.approx(paid["tile_link"], rel=1e-9) != 0.0
    if machine.package is not None:
        energy_pJ = 8 * moved["die_to_die"] * machine.package.energy_pJ_per_bit
        assert energy_pJ * 1e-12 == pytest.approx(paid["links"], rel=1e-9) != 0.0


def test_work_on_a_track_never_overlaps(trace: dict[str, Any]) -> None:
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in slices(trace["traceEvents"]):
        tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in tracks.values():
        spans.sort()
        assert all(b[0] >= a[1] - 1e-7 for a, b in pairwise(spans))
    named = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert tracks.keys() <= named


def test_busy_units_are_those_of_the_report(trace: dict[str, Any], simulation: Simulation) -> None:
    """The mean of the counter of units at work is busy time x units / makespan."""
    report = simulation.report
    for unit, times in report.unit_times.items():
        at = counter(trace, f"{unit}: units at work")
        mean = sum(at) / BINS * report.latency_s
        assert mean == pytest.approx(times.busy_s * times.units, rel=1e-6)


def counter(trace: dict[str, Any], name: str) -> list[float]:
    """The value of a counter in each of the bins; a value stands until the next."""
    events = [
        {**event, "args": {"value": value}}
        for event in trace["traceEvents"]
        if event["ph"] == "C"
        for series, value in event["args"].items()
        if f"{event['name']} {series}" == name
    ]
    end_us = max(e["ts"] + e["dur"] for e in trace["traceEvents"] if e["ph"] == "X")
    found, value, pending = [], 0.0, events
    for number in range(BINS):
        while pending and pending[0]["ts"] <= end_us / BINS * number * (1 + 1e-12) + 1e-9:
            value, pending = pending[0]["args"]["value"], pending[1:]
        found.append(value)
    return found


def test_power_times_time_is_the_energy(trace: dict[str, Any], simulation: Simulation) -> None:
    report = simulation.report
    counters = (event for event in trace["traceEvents"] if event["ph"] == "C")
    names = {f"{event['name']} {series}" for event in counters for series in event["args"]}
    powers = [name for name in names if name.endswith("power (W)")]
    total = sum(sum(counter(trace, name)) for name in powers) / BINS * report.latency_s
    dynamic = report.energy_J - report.energy_by_unit_J["leakage"]
    assert total == pytest.approx(dynamic, rel=1e-6)
    peak = max(counter(trace, "global buffer (KiB)"))
    assert 0.0 < peak <= report.buffer_peak_KiB * (1 + 1e-9)


def test_tokens_and_steps_are_those_of_the_phases(
    trace: dict[str, Any], simulation: Simulation
) -> None:
    phases = {phase.name: phase for phase in simulation.workload.phases}
    seen: dict[str, set[int]] = defaultdict(set)
    for event in slices(trace["traceEvents"]):
        told = event["args"]
        assert (phases[told["phase"]].steps > 1) == ("step" in told) or "step" not in told
        if "tokens" in told:
            first, _, last = told["tokens"].partition(" to ")
            seen[told["phase"]] |= set(range(int(first), int(last or first) + 1))
    for name, phase in phases.items():
        assert seen[name] == set(range(1, phase.tokens * phase.steps + 1))
    steps = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["name"].startswith("step ")]
    assert len(steps) == max(phase.steps for phase in phases.values())


def test_arrows_follow_the_critical_path(trace: dict[str, Any], simulation: Simulation) -> None:
    arrows = [event for event in trace["traceEvents"] if event["ph"] in "stf"]
    assert [arrows[0]["ph"], arrows[-1]["ph"]] == ["s", "f"]
    assert {event["ph"] for event in arrows[1:-1]} == {"t"}
    starts = {(e["pid"], e["tid"], e["ts"]) for e in slices(trace["traceEvents"])}
    assert all((a["pid"], a["tid"], a["ts"]) in starts for a in arrows)
    assert [a["ts"] for a in arrows] == sorted(a["ts"] for a in arrows)
    assert len(arrows) <= simulation.critical_path.actor.size


def test_a_part_holds_what_runs_in_it(simulation: Simulation, tmp_path: Path) -> None:
    whole = slices(written(simulation, tmp_path / "w.gz")["traceEvents"])
    shown = part_of(simulation, step=2)
    part = slices(written(simulation, tmp_path / "p.gz", step=2)["traceEvents"])
    low, high = shown.start_ps / 1e6, shown.end_ps / 1e6
    inside = [e for e in whole if e["ts"] < high - 1e-9 and e["ts"] + e["dur"] > low + 1e-9]
    assert len(part) == len(inside) < len(whole)
    first = slices(written(simulation, tmp_path / "f.gz", most=7)["traceEvents"])
    assert sorted(e["ts"] for e in first) == sorted(e["ts"] for e in whole)[:7]


def test_the_trace_says_what_it_is_of(trace: dict[str, Any], simulation: Simulation) -> None:
    told = trace["otherData"]
    assert told["machine"] == simulation.architecture.name
    assert told["architecture_content_sha256"] == simulation.architecture.digest()
    assert told["part"].endswith("the whole run: prefill, decode")


def test_a_window_needs_somewhere_to_go(cimsim: Cli, tmp_path: Path) -> None:
    run = ("run", "--pipeline", "token", "ahwa_pcm_pmca", "minilm_sentiment_r8_s32")
    code, _, err = cimsim(*run, "--window", "1us:2us")
    assert code == 2
    assert "without -o, --html or --timeline" in err
    code, _, _ = cimsim(*run, "--window", "1us:2us", "--timeline", tmp_path / "t.gz", "--json")
    assert code == 0
    assert (tmp_path / "t.gz").is_file()
