"""Sweeps that run no point which is beaten in any case: the same front, rows of their own kind."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

import cimsim as package
from cimsim.errors import CimsimError, SpecError
from cimsim.exploration.evaluate import Evaluator
from cimsim.exploration.objectives import Constraint, parse_objectives
from cimsim.exploration.points import Point
from cimsim.exploration.rivals import SENT, Leaders, broken_by
from cimsim.exploration.rows import Row
from cimsim.exploration.store import read_store
from cimsim.exploration.sweep import Sweep
from cimsim.ir import save_workload

Cli = Callable[..., tuple[int, str, str]]
VALUES: dict[str, list[object]] = {
    "rram.integration_ns": [100.0, 400.0, 900.0],
    "rram.rows": [16, 8],
    "rram.adc_energy_pJ": [1.5, 9.0],
    "pmca.cores": [1, 4, 8],
    "buffer.banks": [4, 1],
    "pipeline": ["token", "layer:block_tokens=2"],
}
SOUGHT = "latency_s,energy_J,area_used_mm2"


def swept(vary: dict[str, object], **given: object) -> Sweep:
    given = {"pipeline": None if "pipeline" in vary else "token", **given}
    return package.sweep(small.encoder(layers=1, tokens=3), small.machine(), vary, **given)  # type: ignore[arg-type]


def in_flight(count: int) -> Callable[[Evaluator], object]:
    """An executor that takes so many points before it gives the first row."""

    class Held:
        def __init__(self, evaluate: Evaluator) -> None:
            self.evaluate = evaluate

        def rows(self, points: Iterable[Point]) -> Iterator[Row]:
            waiting: list[Point] = []
            for point in points:
                waiting.append(point)
                if len(waiting) > count:
                    yield self.evaluate(waiting.pop(0))
            yield from map(self.evaluate, waiting)

    return Held


def saved(folder: Path) -> tuple[Path, Path]:
    machine, layer = folder / "tiny.json", folder / "layer.json"
    content = small.machine().model_dump(mode="json", exclude_none=True)
    machine.write_text(json.dumps(content), encoding="utf-8")
    save_workload(small.encoder(layers=1, tokens=3), layer)
    return machine, layer


def told(row: Row) -> tuple[object, ...]:
    return row.digest, dict(row.values), dict(row.settings)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_the_front_is_that_of_a_sweep_without(data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    vary: dict[str, object] = {axis: data.draw(st.permutations(VALUES[axis])) for axis in axes}
    sought = data.draw(st.sampled_from([SOUGHT, "latency_s", "energy_J,-cell_utilisation"]))
    held = data.draw(st.sampled_from([0, 2]))
    outputs = ["latency_s", "energy_J", "area_used_mm2", "cell_utilisation"]
    whole = swept(vary, outputs=outputs)
    pruned = swept(vary, outputs=outputs, prune=sought, executor=in_flight(held))
    expected, found = whole.front(sought), pruned.front(sought)
    assert [told(row) for row in found.rows] == [told(row) for row in expected.rows]
    assert found.knee == expected.knee
    assert found.points == expected.points
    by_digest = {row.digest: row for row in whole.rows}
    for row in pruned.rows:
        if row.status == "pruned":
            rival, truth = by_digest[row.beaten_by], by_digest[row.digest]
            assert not row.values
            assert "at_least." in str(row.bounds)
            for key, bound in row.bounds.items():
                side, _, name = key.partition(".")
                value, best = truth.values[name], rival.values[name]
                assert isinstance(value, float)
                assert isinstance(best, float)
                sign = 1.0 if side == "at_least" else -1.0
                assert sign * value >= sign * bound >= sign * best


VARY: dict[str, object] = {"rram.rows": [16, 8], "pipeline": ["layer:block_tokens=2", "sequential"]}


def test_pruned_points_are_stored_and_gone_on_from(tmp_path: Path) -> None:
    store = tmp_path / "rows.sqlite"
    first = swept(VARY, prune="latency_s,energy_J", store=store)
    count = first.reached.pruned
    assert count
    assert first.reached.done + count == 4
    rows = first.rows
    first.store.close()
    again = swept(VARY, prune="latency_s,energy_J", store=store)
    assert (again.reached.found, again.reached.pruned, again.reached.done) == (4, 0, 0)
    assert again.rows == rows
    again.store.close()
    whole = swept(VARY, store=store)
    assert (whole.reached.found, whole.reached.done) == (4 - count, count)
    assert [row.status for row in whole.rows] == ["done"] * 4
    whole.store.close()


def test_what_beat_a_point_is_asked_for_as_well(tmp_path: Path) -> None:
    """A stored point that was pruned by a design outside this sweep is not taken as it is."""
    store = tmp_path / "rows.sqlite"
    rows = swept(VARY, prune="latency_s", store=store).rows
    lost = next(row for row in rows if row.status == "pruned")
    alone = {axis: [value] for axis, value in lost.settings.items()}
    found = swept(alone, prune="latency_s", store=store)
    assert [row.status for row in found.rows] == ["done"]


def test_another_front_is_refused_where_a_pruned_point_may_be_on_it() -> None:
    done = swept(VARY, prune="latency_s")
    assert done.reached.pruned
    assert done.front("latency_s").pruned == done.reached.pruned
    with pytest.raises(CimsimError, match="pruned may be on this front"):
        done.front("energy_J")


@pytest.mark.parametrize(
    ("sought", "told"),
    [
        ("accuracy", "no bound"),
        ("-latency_s", "no bound"),
        ("buffer_peak_KiB", "no bound"),
        ("latency", "latency"),
        ("latency_s,latency_s", "twice"),
    ],
)
def test_what_has_no_bound_is_refused_before_anything_runs(sought: str, told: str) -> None:
    with pytest.raises(CimsimError, match=told):
        swept(VARY, prune=sought)


def test_costs_that_change_alone_are_not_planned_anew() -> None:
    """A point whose run is known is folded from it, exact, and is never pruned."""
    vary: dict[str, object] = {"rram.adc_energy_pJ": [1.0, 2.0, 3.0]}
    done = swept(vary, prune="energy_J")
    assert (done.reached.done, done.reached.pruned) == (3, 0)


def test_times_that_change_alone_are_run_which_costs_less_than_bounds() -> None:
    done = swept({"rram.integration_ns": [100.0, 900.0, 1800.0]}, prune="latency_s")
    assert (done.reached.done, done.reached.pruned) == (3, 0)


def test_many_rivals_are_an_even_choice_and_limits_hold() -> None:
    leaders = Leaders(parse_objectives("a,b"), (Constraint.of("c<=5"),))
    for number in range(2 * SENT):
        values = {"a": float(number), "b": -float(number), "c": 5.0}
        leaders.add(Row(str(number), {}, "done", values, "", 0.0))
    leaders.add(Row("beyond", {}, "done", {"a": -1.0, "b": -1e9, "c": 6.0}, "", 0.0))
    now = leaders.now
    assert len(now.digests) == SENT
    assert {"0", str(2 * SENT - 1)} <= set(now.digests)
    assert not now.rule_out({"at_least.a": -2.0, "at_least.b": 0.0})
    assert now.beaten_by({"at_least.a": 0.0, "at_least.b": 1.0}) == "0"
    assert now.beaten_by({"at_least.a": 3.0}) == ""
    assert "limit is c<=5" in broken_by({"at_least.c": 5.5}, leaders.constraints)
    assert not broken_by({"at_most.c": 5.5}, leaders.constraints)
    assert np.isfinite(now.costs).all()


def test_the_command_prunes_tells_and_writes(cimsim: Cli, tmp_path: Path) -> None:
    machine, layer = saved(tmp_path)
    table = tmp_path / "rows.csv"
    command = ["sweep", str(machine), str(layer), "--vary", "rram.rows=16,8", "--workers", "1"]
    command += ["--vary", "pipeline=layer:block_tokens=2,sequential"]
    store = ["--store", str(tmp_path / "rows.sqlite")]
    code, out, _ = cimsim(*command, "--prune", "latency_s,energy_J", *store)
    assert code == 0
    assert "pruned" in out
    assert "beaten by" in out
    assert "row " in out
    code, out, _ = cimsim(*command, "--prune", "latency_s,energy_J", *store, "-o", str(table))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    lost = [row for row in rows if row["status"] == "pruned"]
    assert lost
    assert all(float(row["at_least.latency_s"]) > 0.0 for row in lost)
    assert {row["beaten_by"] for row in lost} <= {row["digest"] for row in rows}
    code, out, _ = cimsim("front", store[1], "--objectives", "latency_s,energy_J", "--json")
    assert code == 0
    assert json.loads(out)["pruned"] == len(lost)
    code, out, _ = cimsim("front", store[1], "--objectives", "latency_s,energy_J")
    assert f"{len(lost)} pruned" in out
    code, _, error = cimsim("front", store[1], "--objectives", "area_used_mm2")
    assert code == 2
    assert "pruned may be on this front" in error
    with read_store(store[1]) as opened:
        assert sum(row.status == "pruned" for row in opened.rows()) == len(lost)


def test_an_empty_list_of_objectives_is_told(cimsim: Cli, tmp_path: Path) -> None:
    machine, layer = saved(tmp_path)
    code, _, error = cimsim("sweep", str(machine), str(layer), "--vary", "pmca.cores=8,1",
                            "--prune", "")  # fmt: skip
    assert code == 2
    assert "objective" in error
    with pytest.raises(SpecError, match="no bound"):
        swept(VARY, prune=["phases.prefill.energy"])
