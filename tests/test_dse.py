"""benchmarks/dse: the tables are of the present model, and a search on one is counted right."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import small

import cimsim

FOLDER = small.ROOT / "benchmarks" / "dse"


@pytest.fixture(scope="module", autouse=True)
def _folder() -> None:
    sys.path.insert(0, str(FOLDER))


@pytest.mark.parametrize("name", ["ahwa", "halora"])
def test_a_table_is_complete_and_has_the_figures_of_the_present_model(name: str) -> None:
    from table import OBJECTIVES, Table

    from cimsim.exploration.plan import load_sweep

    table = Table.load(name)
    assert len(table.values) == table.space.size
    assert table.reached(table.values) == 1.0
    designs = list(table.space.grid())
    chosen = [designs[i] for i in (len(designs) // 3, len(designs) - 2)]
    given = load_sweep(FOLDER / f"{name}.json").arguments()
    done = cimsim.sweep(given["workload"], given["architecture"], points=chosen)
    for row in done.rows:
        values = table.values[table.place(row.settings)]
        assert [row.values[key] for key in OBJECTIVES] == pytest.approx(values, rel=1e-9)


def test_a_search_on_a_table_covers_more_and_more() -> None:
    from compare import EVERY, search
    from table import Table

    table = Table.load("halora")
    curve, _ = search(table, "model", 60, 0)
    assert len(curve) == 60 // EVERY
    assert curve == sorted(curve)
    drawn = [search(table, "random", 60, seed)[0][-1] for seed in range(5)]
    assert curve[-1] > np.mean(drawn)
