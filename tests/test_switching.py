"""`cimsim switch`: scenario files and their errors, results side by side, break-even points."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

import cimsim
from cimsim.adaptation import switched, two_tasks
from cimsim.errors import CapacityError, CimsimError, MappingError, SpecError
from cimsim.ir import save_workload
from cimsim.mappers import build_mapping
from cimsim.report.leakage import leakage_W
from cimsim.report.writes import write_costs
from cimsim.serving import Scenario, Switching, load_scenario, load_switching, switch
from cimsim.serving.breakeven import Curve, crossing
from cimsim.shelves import SCENARIOS

GIVEN: dict[str, Any] = {
    "name": "few", "workload": "w.json", "tasks": 3, "pipeline": "token",
    "requests": {"pattern": "round_robin", "count": 6},
}  # fmt: skip
LORA = ("lora-sram", "lora-rram", "full")


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(GIVEN | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario")
    save_workload(small.decoder(), path / "w.json")
    save_workload(small.encoder(), path / "other.json")
    save_workload(small.one_layer(), path / "plain.json")
    (path / "s.json").write_text(json.dumps(GIVEN))
    (path / "m.json").write_text(small.machine().model_dump_json(exclude_none=True))
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> Switching:
    return switch(small.machine(), scenario(strategies=LORA), folder=folder)


def refused(folder: Path, error: type[CimsimError], *words: str, **changes: Any) -> None:
    (folder / "bad.json").write_text(json.dumps(GIVEN | changes))
    with pytest.raises(error) as told:
        switch(small.machine(), folder / "bad.json", strategies=["lora-sram"])
    for word in words:
        assert word in str(told.value), told.value


def test_bad_scenarios_name_the_field_and_the_lever(folder: Path) -> None:
    def bad(*words: str, **changes: Any) -> None:
        refused(folder, SpecError, "bad.json", *words, **changes)

    trace = {"pattern": "trace", "trace": [[0.0, "task-1"], [1.0, "task-9"]]}
    bad("requests.trace.1", "'task-9' has no adapter", "add it", requests=trace)
    late = {"pattern": "trace", "trace": [[1.0, "task-1"], [0.5, "task-2"]]}
    bad("trace.1 arrives at 0.5 s, before", "order of time", requests=late)
    bad("requests.trace.trace", requests={"pattern": "trace", "trace": []})
    bad("requests.round_robin.count", requests={"pattern": "round_robin", "count": 0})
    bad("requests.zipf.exponent", requests={"pattern": "zipf", "count": 3})
    bad("requests", "zipf", requests={"pattern": "uniform", "count": 3})
    bad("requests.round_robin.arrival",
        requests={"pattern": "round_robin", "count": 3, "arrival": 0.0})  # fmt: skip
    rare = {"pattern": "round_robin", "count": 100, "arrival": 1e-6}
    refused(folder, SpecError, "requests.arrival: 100 requests", "lower count", requests=rare)
    bad("endurances.1", "greater than or equal to 1", endurances=[1e4, 0.0])
    bad("tasks: 'a' stands twice", tasks=["a", "a"])
    bad("tasks: 1 to 10000 tasks, got 0", tasks=0)
    bad("start: 'x' has no adapter", start="x")
    bad("residency.pinned.0", residency={"size_KiB": 8.0, "pinned": ["x"]})
    bad("names no task", residency={"size_KiB": 8.0, "policy": "pinned"})
    bad("residency.size_KiB", residency={"size_KiB": 0.0})
    bad("strategies", strategies=[])
    bad("unheard", unheard=1)


def test_a_list_of_refused_items_is_not_called_too_short_as_well(folder: Path) -> None:
    (folder / "bad.json").write_text(json.dumps(GIVEN | {"endurances": [0.0]}))
    with pytest.raises(SpecError) as told:
        switch(small.machine(), folder / "bad.json", strategies=["lora-sram"])
    (line,) = str(told.value).splitlines()
    assert "endurances.0: Input should be greater than or equal to 1 (got 0)" in line
    refused(folder, SpecError, "endurances: ", "at least 1 item", endurances=[])


def test_adapters_that_never_fit_are_refused(folder: Path) -> None:
    small_room = {"size_KiB": 0.5}
    refused(folder, CapacityError, "'task-1' takes 960 bytes", "holds 512",
            "Raise residency.size_KiB", residency=small_room)  # fmt: skip
    refused(folder, CapacityError, "residency.pinned take 2880", "pin fewer",
            residency={"size_KiB": 2.0, "pinned": ["task-1", "task-2", "task-3"]})  # fmt: skip
    refused(folder, CapacityError, "beside those pinned",
            residency={"size_KiB": 1.5, "pinned": ["task-1"]})  # fmt: skip
    refused(folder, CapacityError, "sets aside", "Raise buffer.capacity_KiB",
            residency={"size_KiB": 2048.0})  # fmt: skip
    kept = small.machine(adapters_in="buffer")
    with pytest.raises(SpecError, match="no DRAM behind"):
        switch(kept, scenario(residency={"size_KiB": 8.0}), folder=folder, strategies=["merged"])
    tiny = small.machine(adapters_in="buffer", buffer={"capacity_KiB": 2.0})
    with pytest.raises(CapacityError, match="3 tasks take 2880 bytes"):
        switch(tiny, scenario(), folder=folder, strategies=["lora-sram"])


def test_a_crowded_buffer_is_said(folder: Path) -> None:
    def notes(size_KiB: float) -> tuple[str, ...]:
        asked = scenario(residency={"size_KiB": size_KiB}, strategies=["lora-sram"])
        return switch(small.machine(), asked, folder=folder).notes

    assert notes(512.0) == ()
    assert len(full := notes(1024.0)) == 1
    assert "lower residency.size_KiB" in full[0]


def test_strategies_that_cannot_serve(folder: Path) -> None:
    machine = small.machine(sram=None)
    found = switch(machine, scenario(), folder=folder)
    assert "needs a `sram` block" in found.left_out["lora-sram"]
    assert {"merged", "lora-rram"} <= {result.strategy for result in found.strategies}
    with pytest.raises(MappingError, match="needs a `sram` block"):
        switch(machine, scenario(strategies=["lora-sram"]), folder=folder)
    with pytest.raises(MappingError, match="unknown adaptation 'lora-tape'"):
        switch(machine, scenario(strategies=["lora-tape"]), folder=folder)
    with pytest.raises(MappingError, match="serves no task"):
        switch(machine, scenario(strategies=["none"]), folder=folder)
    with pytest.raises(MappingError, match="no adapter that this strategy runs"):
        switch(small.machine(), scenario(workload="plain.json"), folder=folder,
               strategies=["lora-sram"])  # fmt: skip
    with pytest.raises(SpecError, match="the list is empty"):
        switch(machine, scenario(), folder=folder, strategies=[])


def test_tasks_are_of_one_model(folder: Path) -> None:
    tasks = ["a", {"name": "b", "workload": "other.json"}]
    with pytest.raises(MappingError, match="workloads of one model"):
        switch(small.machine(), scenario(tasks=tasks), folder=folder, strategies=["lora-sram"])
    ranks = [{"name": "a"}, {"name": "b", "rank": 4}]
    two = switch(small.machine(), scenario(tasks=ranks), folder=folder, strategies=["lora-sram"])
    assert two.strategies[0].switches == 6
    assert len(two.workloads) == 2


def test_results_by_hand(found: Switching) -> None:
    machine = small.machine()
    for result in found.strategies:
        simulation = cimsim.simulate(
            small.decoder(), machine, adaptation=result.strategy, pipeline="token"
        )
        report = simulation.report
        one = report.reprogramming.adapter_switch
        assert result.inference_energy_J == small.close(6 * report.energy_J)
        assert result.switch_energy_J == small.close(6 * one.energy_J)
        assert result.load_energy_J == small.close(6 * one.load_energy_J)
        assert result.dram_bytes_loaded == 6 * one.loaded_bytes
        assert result.task_bits == 8 * one.loaded_bytes
        assert result.written["cells_written"] == 6 * one.cells_written
        assert result.written["sram_bits_written"] == 6 * one.sram_bits_written
        power_W = sum(leakage_W(machine, simulation.plan.unit_counts).values())
        assert result.switching_leakage_J == small.close(power_W * result.switching_s)
        assert result.idle_leakage_J == 0.0
        assert result.setup_energy_J == 0.0
        assert result.inference_s == small.close(report.latency_s)
        spans = 6 * report.latency_s + result.switching_s
        assert result.makespan_s == small.close(spans)
        assert result.latency_overhead_ratio == small.close(report.latency_s / found.base.latency_s)
        assert result.curve[0].energy_J == 0.0
        assert result.curve[-1].energy_J == small.close(result.energy_J)
        assert [point.switches for point in result.curve] == list(range(7))


def test_wear_and_lifetimes_by_hand(found: Switching) -> None:
    """A LoRA branch is written whole by each of six switches, its cells by chance each time."""
    cells, nothing = found.of("lora-rram"), found.of("lora-sram")
    machine, model = small.machine(), small.decoder()
    mapping = build_mapping(model, machine, "lora-rram")
    (cost,) = write_costs(machine, switched(mapping, *two_tasks(model)))["rram"]
    assert cost.cells is not None
    once = cost.cells.counts.shares
    six = once
    for _ in range(5):
        six = np.convolve(six, once)
    beyond = 1.0 - np.cumsum(six)
    pulses = float((1.0 - (1.0 - beyond.clip(0.0)) ** cost.cells.cells).sum())
    assert pulses > 6 * cost.cells.counts.mean
    assert cells.hottest_pulses == pytest.approx(pulses, rel=1e-4)
    assert cells.hottest_wear == small.close(cells.hottest_pulses / 1e6)
    pulses = cells.hottest_pulses
    assert [life.endurance_cycles for life in cells.lifetimes] == [10.0**n for n in range(4, 13)]
    for life in cells.lifetimes:
        seconds = life.endurance_cycles / pulses * cells.makespan_s
        assert life.years == small.close(seconds / (365.25 * 86400))
    assert nothing.hottest_pulses == 0.0
    assert {life.years for life in nothing.lifetimes} == {None}


def test_an_idle_machine_leaks(folder: Path) -> None:
    requests = {"pattern": "trace", "trace": [[1.0, "task-1"], [2.0, "task-1"]]}
    found = switch(small.machine(), scenario(requests=requests), folder=folder,
                   strategies=["lora-sram"])  # fmt: skip
    result = found.strategies[0]
    busy = 2 * result.inference_s + result.switching_s
    assert result.makespan_s - busy == pytest.approx(2.0, rel=1e-4)
    power_W = result.idle_leakage_J / (result.makespan_s - busy)
    assert result.switching_leakage_J == small.close(power_W * result.switching_s)
    assert result.latency.max_s < 1e-3


def test_results_are_kept_whole(found: Switching, tmp_path: Path) -> None:
    found.save(tmp_path / "switch.json")
    assert load_switching(tmp_path / "switch.json") == found
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    assert [row["strategy"] for row in rows] == list(LORA)
    assert float(rows[1]["lifetime.1e+06_years"]) > 0.0
    assert rows[0]["lifetime.1e+06_years"] == ""
    with pytest.raises(SpecError, match="no strategy 'x' was compared"):
        found.of("x")


def straight(name: str, setup: float, each: float, requests: int) -> Curve:
    steps = np.arange(requests + 1)
    return Curve(name, setup + each * steps, steps)


def test_break_even_of_straight_lines_by_hand() -> None:
    """A setup of 20 switches' energy pays off after 20 switches: multitask.md's pool."""
    pool, rewritten = straight("pool", 20.0, 0.0, 100), straight("rewritten", 0.0, 1.0, 100)
    for found in (crossing(pool, rewritten), crossing(rewritten, pool)):
        assert found is not None
        assert (found.first, found.second) == ("rewritten", "pool")
        assert (found.requests, found.switches, found.energy_J) == (20.0, 20.0, 20.0)
        assert not found.extrapolated
    beyond = crossing(straight("pool", 20.0, 0.0, 5), straight("rewritten", 0.0, 1.0, 5))
    assert beyond is not None
    assert (beyond.requests, beyond.first, beyond.extrapolated) == (20.0, "rewritten", True)
    assert crossing(straight("a", 0.0, 1.0, 9), straight("b", 0.0, 2.0, 9)) is None
    assert crossing(straight("a", 0.0, 1.0, 9), straight("b", 3.0, 1.0, 9)) is None


def test_break_even_is_the_last_crossing() -> None:
    steps = np.arange(5)
    one = Curve("one", np.array([0.0, 3.0, 3.0, 3.0, 9.0]), steps)
    other = Curve("other", np.array([1.0, 1.0, 4.0, 5.0, 6.0]), steps)
    found = crossing(one, other)
    assert found is not None
    assert found.requests == pytest.approx(3.0 + 2 / 5)
    assert (found.first, found.second) == ("one", "other")


def test_curves_cross_where_energies_are_equal(folder: Path) -> None:
    found = switch(small.machine(), scenario(), folder=folder)
    for point in found.break_even:
        for name in (point.first, point.second):
            curve = found.of(name).curve
            if not point.extrapolated:
                at = np.interp(point.requests, [p.requests for p in curve],
                               [p.energy_J for p in curve])  # fmt: skip
                assert at == pytest.approx(point.energy_J, rel=1e-9)
    total = [math.fsum((r.inference_energy_J, r.switch_energy_J, r.switching_leakage_J))
             for r in found.strategies]  # fmt: skip
    assert total == [small.close(r.energy_J) for r in found.strategies]


def test_shipped_scenarios_are_read() -> None:
    for name in SCENARIOS.names():
        shipped = load_scenario(SCENARIOS.find(name))
        assert shipped.name == name
        assert len(shipped.tasks) >= 5
        assert shipped.workloads()
        assert shipped.stream().count > 0


def test_python_takes_paths_and_the_engines_agree(folder: Path) -> None:
    one = cimsim.switch(small.machine(), folder / "s.json", strategies=["lora-sram"])
    other = switch(small.machine(), folder / "s.json", strategies=["lora-sram"], engine="simpy")
    assert one == other


def test_the_command_prints_and_writes(
    folder: Path, tmp_path: Path, cimsim: Callable[..., tuple[int, str, str]]
) -> None:
    machine, asked = folder / "m.json", folder / "s.json"
    strategies = [word for name in LORA for word in ("--strategy", name)]
    code, out, err = cimsim("switch", machine, asked, *strategies, "-o", tmp_path)
    assert code == 0, err
    assert "few on tiny: 3 tasks, 6 requests" in out
    assert "lifetime by endurance" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "rows.csv", "switch.json", "switch.png",
    ]  # fmt: skip
    setting = ("--set", "rram.write.pulse_energy_pJ=2")
    code, out, _ = cimsim("switch", machine, asked, "--strategy", "merged", "--json", *setting)
    assert code == 0
    assert json.loads(out)["inputs"]["set rram.write.pulse_energy_pJ"] == "2.0"
    code, _, err = cimsim("switch", machine, asked, "--strategy", "lora-tape")
    assert code == 2
    assert "unknown adaptation 'lora-tape'" in err
