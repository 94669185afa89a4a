"""The study over ADC bits, rows and node: what is kept is of this code, and moves as it should."""

from __future__ import annotations

import json
import sys
from itertools import pairwise, product
from typing import Any

import pytest
from small import ROOT

FOLDER = ROOT / "benchmarks" / "figures" / "components"
# `run` and `plot` are names of other studies too: these are loaded by their own
sys.path.insert(0, str(FOLDER))
OTHERS = {name: sys.modules.pop(name, None) for name in ("run", "plot")}
import plot  # noqa: E402
import run  # noqa: E402

sys.path.remove(str(FOLDER))
for name, module in OTHERS.items():
    del sys.modules[name]
    if module is not None:
        sys.modules[name] = module

POINTS: plot.Points = json.loads((FOLDER / "costs.json").read_text())
MEASURED: plot.Points = json.loads((FOLDER / "accuracy.json").read_text())
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_point_is_there() -> None:
    there = [(p["bits"], p["rows"], p["node_nm"]) for p in POINTS]
    assert there == list(product(run.BITS, run.ROWS, run.NODES_nm))
    there = [(p["bits"], p["rows"]) for p in MEASURED]
    assert there == list(product(run.MEASURED_BITS, run.MEASURED_ROWS))
    assert {p["sentences"] for p in MEASURED} == {run.SENTENCES}


def test_converters_are_those_of_the_models() -> None:
    for point in POINTS:
        tiles = run.machine(point["bits"], point["rows"], point["node_nm"]).rram
        assert tiles is not None
        assert point["adc_energy_J"] == pytest.approx(tiles.adc_energy_pJ * 1e-12)
        assert point["adc_area_um2"] == pytest.approx(tiles.adc_area_um2)


def test_a_product_takes_its_reads_and_a_clock_a_bit_and_column() -> None:
    """100 ns, then 64 columns of 8 x 0.097656 ns: 150 ns; 4 bits 125 ns."""
    times = {p["bits"]: p["mvm_s"] for p in plot.at(POINTS, 64, 28)}
    assert times[8] == pytest.approx(150e-9, rel=0.02)
    assert times[8] - times[4] == pytest.approx(25e-9, rel=0.02)


def test_costs_rise_with_bits_and_node_and_fall_with_rows() -> None:
    """Area falls to 256 rows alone: 768 inputs fill one and a half tiles of 512."""
    by: dict[tuple[int, int, int], dict[str, Any]] = {
        (p["bits"], p["rows"], p["node_nm"]): p for p in POINTS
    }
    for rows, node in product(run.ROWS, run.NODES_nm):
        for less, more in pairwise(run.BITS):
            cheaper(by[less, rows, node], by[more, rows, node])
    for bits, rows in product(run.BITS, run.ROWS):
        for less, more in pairwise(run.NODES_nm):
            cheaper(by[bits, rows, less], by[bits, rows, more])
    for bits, node in product(run.BITS, run.NODES_nm):
        for less, more in pairwise(run.ROWS):
            cheaper(by[bits, more, node], by[bits, less, node], area=more <= 256)


def cheaper(one: dict[str, Any], other: dict[str, Any], area: bool = True) -> None:
    """Tiles of one take less energy and area than of the other, and give more a joule."""
    assert plot.tiles_J(one) < plot.tiles_J(other)
    assert plot.tops_per_w(one) > plot.tops_per_w(other)
    assert not area or one["tiles_area_used_mm2"] < other["tiles_area_used_mm2"]


def test_fewer_bits_cost_accuracy() -> None:
    score = {(p["bits"], p["rows"]): p["percent"] for p in MEASURED}
    for rows in run.MEASURED_ROWS:
        assert score[4, rows] < score[8, rows]
        assert abs(score[8, rows] - score[10, rows]) < 3.0


def test_the_page_prints_the_table() -> None:
    assert plot.table(POINTS, MEASURED) in README
