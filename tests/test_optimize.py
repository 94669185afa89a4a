"""cimsim sweep --optimize and cimsim.optimize: what is refused, and a small search to its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small

import cimsim as package
from cimsim.errors import CimsimError, LimitError, SpecError
from cimsim.exploration.front import front_of
from cimsim.exploration.objectives import Objective, parse_objectives
from cimsim.exploration.optimize import FrontSearch
from cimsim.exploration.points import Base
from cimsim.exploration.rows import Row
from cimsim.exploration.scoring import Scoring
from cimsim.exploration.stages import AT_LEAST, AT_MOST, SPREAD, stages_of
from cimsim.ir import save_workload

Cli = Callable[..., tuple[int, str, str]]
AXES = {"rram.integration_ns": [64, 128, 256], "rram.adc_area_um2": [100, 200, 400]}


def search(objectives: str = "latency_s,area_used_mm2", **more: Any) -> FrontSearch:
    given: dict[str, Any] = {"trials": 9, "pipeline": "token", **more}
    return package.optimize(small.one_layer(), small.machine(), AXES, objectives, **given)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A tiny machine and workload."""
    machine, layer = tmp_path / "tiny.json", tmp_path / "layer.json"
    content = small.machine().model_dump(mode="json", exclude_none=True)
    machine.write_text(json.dumps(content), encoding="utf-8")
    save_workload(small.one_layer(), layer)
    return str(machine), str(layer)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"objectives": "latency"}, "latency_s"),
        ({"objectives": "latency_s,latency_s"}, "stands twice"),
        ({"objectives": "bound,"}, "is no objective"),
        ({"require": ["area_used_mm2<4"]}, "is no constraint"),
        ({"require": ["area_use<=4"]}, "area_used_mm2"),
        ({"sampler": "nsga"}, "take nsga"),
        ({"sampler": "nsga2", "trials": 5}, "it needs 20"),
        ({"objectives": "accuracy"}, "--accuracy"),
        ({"trials": 0}, "trials"),
    ],
)
def test_what_cannot_be_sought_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(CimsimError, match=told):
        search(**more)


def test_a_small_search_finds_the_front_and_goes_on_from_its_store(tmp_path: Path) -> None:
    store = tmp_path / "rows.sqlite"
    first = search(store=store, trials=5)
    assert (first.reached.done + first.reached.pruned, first.reached.found) == (5, 0)
    first.store.close()
    found = search(store=store, trials=20)
    assert found.reached.found == 5
    assert found.reached.done + found.reached.pruned == 4
    grid = package.sweep(small.one_layer(), small.machine(), AXES, pipeline="token")
    best = front_of(grid.rows, "latency_s,area_used_mm2")
    front = found.front
    assert [dict(row.settings) for row in front.rows] == [dict(row.settings) for row in best.rows]
    assert all(front.why)
    assert "no more than 9 settings" in found.told
    with pytest.raises(SpecError, match="another study"):
        search("area_used_mm2", store=store)


def test_designs_that_are_beaten_in_any_case_are_rows_and_run_where_limits_widen(
    tmp_path: Path,
) -> None:
    store = tmp_path / "rows.sqlite"
    first = search("latency_s", store=store, require=["area_used_mm2<=1e-9"])
    assert (first.reached.pruned, first.reached.beyond) == (1, 8)  # then the layout is known
    (lost,) = (row for row in first.rows if row.status == "pruned")
    assert "the limit is area_used_mm2<=1e-09" in lost.shortage
    first.store.close()
    again = search("latency_s", store=store, require=["area_used_mm2<=1e-9"])
    assert (again.reached.found, again.reached.pruned) == (9, 0)
    again.store.close()
    wider = search("latency_s", store=store, require=["area_used_mm2<=1e9"])
    assert wider.reached.points == 9
    grid = package.sweep(small.one_layer(), small.machine(), AXES, pipeline="token")
    best = front_of(grid.rows, "latency_s")
    assert {r.digest for r in wider.front.rows} == {r.digest for r in best.rows}


def test_one_objective_has_one_best_design_and_a_limit_that_none_keeps_is_told() -> None:
    found = search("latency_s")
    assert len(found.front.rows) >= 1
    assert {row.settings["rram.integration_ns"] for row in found.front.rows} == {64}
    none = search("latency_s", require=["area_used_mm2<=1e-9"])
    assert none.reached.pruned + none.reached.beyond == 9
    with pytest.raises(LimitError, match="none of 9 designs keeps to area_used_mm2<=1e-09"):
        _ = none.front


def test_the_command_prints_the_front_with_its_knee(cimsim: Cli, files: tuple[str, str]) -> None:
    vary = [f"--vary={name}={','.join(map(str, values))}" for name, values in AXES.items()]
    command = ["sweep", *files, *vary, "--pipeline", "token", "--optimize",
               "latency_s,area_used_mm2", "--workers", "1"]  # fmt: skip
    code, out, err = cimsim(*command, "--trials", "9")
    assert code == 0, err
    assert "knee" in out
    assert "9 of 9 designs by model" in out
    code, out, _ = cimsim(*command, "--trials", "9", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["objectives"] == ["latency_s", "area_used_mm2"]
    assert 0 <= told["knee"] < len(told["front"])
    assert all(row["bound"] for row in told["front"])
    code, _, err = cimsim(*command)
    assert (code, "--trials 200" in err) == (2, True)
    code, _, err = cimsim(*command, "--trials", "9", "--sample", "lhs:4")
    assert (code, "--sample" in err) == (2, True)
    code, _, err = cimsim(*command[:-4], "--workers", "1", "--trials", "9")
    assert (code, "--trials" in err) == (2, True)
    code, _, err = cimsim(*command, "--trials", "9", "--require", "area_used_mm2<=1e-9")
    assert (code, "none of 9 designs" in err) == (1, True)


def row(values: dict[str, float | str | None], status: str = "done") -> Row:
    return Row("d", {}, status, values, "", 0.0)  # type: ignore[arg-type]


def test_stages_of_an_accuracy_bound_it_from_the_side_that_is_sought() -> None:
    base = Base(small.one_layer(), small.machine(), scoring=Scoring(task="sentiment", seeds=10))
    high = stages_of(base, parse_objectives("latency_s,accuracy"), ())
    assert len(high) == 3
    assert high[0].at_best(row({"latency_s": 1.0, "accuracy": None}))["accuracy"] == float("inf")
    kept = high[1].kept(row({"latency_s": 1.0, "accuracy": 80.0, SPREAD: 3.0**0.5}))
    assert kept.values["accuracy"] is None
    # Student's 95 % interval of three: 4.303 standard errors, here of 1
    assert kept.values[AT_MOST] == pytest.approx(84.303, abs=1e-3)
    assert kept.values[AT_LEAST] == pytest.approx(75.697, abs=1e-3)
    assert high[1].at_best(kept)["accuracy"] == kept.values[AT_MOST]
    low = stages_of(base, [Objective("accuracy", maximise=False)], ())
    assert low[1].at_best(kept)["accuracy"] == kept.values[AT_LEAST]
    infeasible = row({}, "infeasible")
    assert high[1].kept(infeasible) is infeasible
    few = Base(small.one_layer(), small.machine(), scoring=Scoring(task="sentiment", seeds=3))
    assert len(stages_of(few, parse_objectives("accuracy"), ())) == 2
    assert len(stages_of(Base(None, None), parse_objectives("latency_s"), ())) == 1
    digests = {stage.point({}).digest for stage in high}
    assert len(digests) == 3
