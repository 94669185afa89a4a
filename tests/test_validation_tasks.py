"""Rows of `cimsim validate tasks`."""

from __future__ import annotations

import json
from itertools import pairwise
from statistics import fmean

import pytest
import small

from cimsim import shelves, shipped
from cimsim.ir import Linear
from cimsim.validation import tasks


@pytest.fixture(scope="module")
def rows() -> dict[str, tasks.Judged]:
    return {row.quantity: row for row in tasks.rows()}


def test_every_row_is_met(rows: dict[str, tasks.Judged]) -> None:
    assert len(rows) == 27
    assert [row.quantity for row in rows.values() if not row.passed] == []
    assert {row.group for row in rows.values()} == {"tasks"}


def test_counts_are_those_of_the_layers_by_hand(rows: dict[str, tasks.Judged]) -> None:
    # FLAN-T5-large: 144 modules of 1024 x 1024, rank 16; 48 blocks, 20 adapters
    lora = 144 * 2 * 16 * 1024
    assert rows["LoRA, values of a task"].simulated == lora
    assert rows["LoRAFusion, values of a task"].simulated == 144 * 1024 + 20 * 48
    assert rows["pool of 20, values"].simulated == 20 * lora
    # VGG-16: 3x3 kernels over these channels
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    weights = sum(9 * a * b for a, b in pairwise(channels))
    assert rows["VGG-16, weights of convolutions"].simulated == weights


def test_what_cannot_be_checked_is_shown_and_not_judged(rows: dict[str, tasks.Judged]) -> None:
    for name in ("xbm", "xma"):
        row = rows[f"{name}: energy of a switch saved over piggyback"]
        assert row.tolerance is None
        assert "not checkable" in row.source
        assert 0.0 < row.simulated < 1.0


def test_areas_of_deltas_by_hand(rows: dict[str, tasks.Judged]) -> None:
    # each of 12 layers: four weights of 768 x 768, up of 768 x 3072, down of 3072 x 768; arrays of
    # 128 rows with 16 whole weights or 114 elements of 1.12 cells
    whole = 12 * (4 * 6 * 48 + 6 * 192 + 24 * 48)
    delta = 12 * (4 * 6 * 7 + 6 * 27 + 24 * 7)
    for count, published in ((2, 0.62), (4, 0.37), (8, 0.26)):
        row = rows[f"delta: area of {count} tasks over as many models"]
        assert row.published == published
        assert row.simulated == pytest.approx(1 / count + delta / whole, rel=2e-3)  # and the head


def test_accuracies_beside_claims_are_those_of_the_benchmark(rows: dict[str, tasks.Judged]) -> None:
    path = small.ROOT / "benchmarks" / "tasks" / "results.json"
    digital: dict[str, dict[str, float]] = json.loads(path.read_text())["digital"]
    for name, percent in tasks.MEASURED_percent.items():
        own = {"lora": "lora-sram"}.get(name, name)
        found = [v["percent"] for key, v in digital.items() if key.split("/")[0] == own]
        assert len(found) == 12, "four tasks, three seeds"
        assert fmean(found) == pytest.approx(percent)
    for what in ("xma over piggyback", "lora-fusion over lora", "delta over full"):
        row = rows[f"accuracy, {what}"]
        assert row.tolerance is None
        assert "not checkable" in row.source
    assert rows["accuracy, xma over piggyback"].simulated == pytest.approx(1.146, abs=1e-3)


@pytest.mark.parametrize("name", shelves.SCENARIOS.names())
def test_shipped_scenarios_name_shipped_workloads(name: str) -> None:
    from cimsim.serving import load_scenario

    scenario = load_scenario(shelves.SCENARIOS.find(name))
    assert any(isinstance(op, Linear) for _, op in shipped.workload(scenario.workload).ops())
