"""Tiles of several stacked arrays by hand: one works at a time, tiles side by side.

The machine is that of test_array_laws: tiles of 8 rows by 4 columns, inputs of 9 bits and results
of 14.
"""

from __future__ import annotations

from typing import Any

import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from small import close
from timed import starts_ps, takes_ps

from cimsim.adaptation import adaptation_named
from cimsim.errors import CapacityError
from cimsim.ir import Linear, Phase, Workload
from cimsim.mappers import build_mapping
from cimsim.mapping import Mapping
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture

LOAD = 4000 + 450 + 1000
"""4 inputs of 9 bits over the link, and the registers (ps)."""
SEND = 1500 + 4000 + 350
"""2 results of 14 bits after one round of scaling (ps)."""
CONVERT = 2 * 750 + 2000
"""2 columns and shift-and-add (ps)."""


def machine(tiles: int, tiers: int | None, **changes: Any) -> Architecture:
    rram = {"rows": 8, "columns": 4, "input_bits": 9, "dac_bits": 9, "output_bits": 14}
    built: dict[str, Any] = {"tile_count": tiles} | ({} if tiers is None else {"tiers": tiers})
    return small.machine(**(small.UNEQUAL | {"rram": rram | built | changes}))


def layers(*sizes: tuple[int, int], tokens: int = 1) -> Workload:
    """Layers of these inputs and outputs, none of which reads another."""
    ops = tuple(
        Linear(name=f"l{i}", inputs=(), tokens=tokens, weight=f"l{i}.weight", rows=tokens,
               in_features=m, out_features=n)
        for i, (m, n) in enumerate(sizes)
    )  # fmt: skip
    return small.workload_of("tiers", (Phase(name="prefill", tokens=tokens, ops=ops),))


def run(workload: Workload, built: Architecture, **options: Any) -> Simulation:
    return simulate(workload, built, **({"pipeline": "layer:1"} | options))


def mapped(workload: Workload, built: Architecture) -> Mapping:
    return build_mapping(workload, built, adaptation_named("none"))


TWO = layers((4, 2), (4, 2))


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_two_matrices_on_the_tiers_of_one_tile_take_turns(engine: Any) -> None:
    done = run(TWO, machine(1, 2), engine=engine)
    assert done.report.tiles_used == 1
    assert starts_ps(done, "l0:compute0.0") == [[2060], [2060 + LOAD]]
    assert starts_ps(done, "l1:compute0.0") == [[2060 + LOAD], [102_060 + LOAD]]
    assert takes_ps(done, "l1:convert0.0") == [[CONVERT], [SEND]]
    end = 202_060 + LOAD + CONVERT + SEND
    assert done.run.makespan_ps == end + 2000 + 70


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_two_matrices_on_two_tiles_run_side_by_side(engine: Any) -> None:
    done = run(TWO, machine(2, 2), engine=engine)
    assert done.report.tiles_used == 2
    first, second = (starts_ps(done, f"l{i}:compute0.0")[-1][0] for i in range(2))
    assert second - first == 4  # 24 bits over 16 banks, 2.5 ps a bit: reads share the buffer
    assert done.run.makespan_ps == run(TWO, machine(2, None)).run.makespan_ps


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_tiers_share_the_converters_of_their_tile(engine: Any) -> None:
    """Conversions as long as two integrations: the second waits for the converters."""
    slow = machine(1, 2, adc_time_ns=100.0)
    done = run(TWO, slow, engine=engine)
    convert = 200_000 + 2000
    ends = 2060 + LOAD + 100_000 + convert
    assert starts_ps(done, "l1:convert0.0")[0] == [ends]
    assert done.run.makespan_ps == ends + convert + SEND + 2000 + 70


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_blocks_of_one_matrix_take_turns_where_they_share_a_tile(engine: Any) -> None:
    """4 row blocks on 1, 2 and 4 tiles: 4, 2 and 1 integrations of 100 ns each."""
    workload = layers((32, 4))
    # read, load of 8 inputs; 4 conversions; scaling, 2 levels of adders, 4 results; write
    around = 2000 + 480 + 5900 + 4 * 750 + 2000 + 1500 + 2000 + 4000 + 700 + 2000 + 140
    for tiles, turns in ((1, 4), (2, 2), (4, 1)):
        done = run(workload, machine(tiles, 4), engine=engine)
        assert done.run.makespan_ps == around + turns * 100_000


def test_a_tier_of_every_tile_is_filled_before_the_next() -> None:
    mapping = mapped(layers((16, 12), (8, 4)), machine(3, 3))
    first, second = mapping.placements["l0.weight"], mapping.placements["l1.weight"]
    assert first.units.ravel().tolist() == [0, 1, 2, 0, 1, 2]
    assert first.tier is not None
    assert second.tier is not None
    assert first.tier.ravel().tolist() == [0, 0, 0, 1, 1, 1]
    assert (second.units.item(), second.tier.item()) == (0, 2)
    assert mapping.used("rram") == 3
    assert mapping.cell_utilisation == close(1.0)
    assert mapped(layers((8, 2)), machine(3, 3)).cell_utilisation == close(0.5)


def test_arrays_that_are_missing_are_counted() -> None:
    mapped(layers((16, 12)), machine(2, 3))
    with pytest.raises(CapacityError, match=r"needs 6 arrays, rram\.tile_count x rram\.tiers is 4"):
        mapped(layers((16, 12)), machine(2, 2))


def test_area_leakage_and_energy_are_those_of_tiles_at_work() -> None:
    """Another tier has no footprint of its own, and an array that rests takes nothing."""
    flat, stacked = machine(4, None), machine(4, 8)
    assert flat.area_mm2() == stacked.area_mm2()
    assert flat.units_of("rram").leakage_W(4) == stacked.units_of("rram").leakage_W(4)
    one, both = (run(TWO, built).report for built in (flat, stacked))
    assert one.energy_J == both.energy_J
    assert one.latency_s == both.latency_s


@settings(deadline=None, max_examples=8)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=3),
    tiles=st.integers(1, 4),
    tokens=st.integers(1, 3),
)
def test_more_tiers_are_never_slower_and_engines_agree(
    sizes: list[tuple[int, int]], tiles: int, tokens: int
) -> None:
    workload = layers(*sizes, tokens=tokens)
    demand = sum(-(-m // 8) * -(-n // 4) for m, n in sizes)
    least = -(-demand // tiles)
    ends = [
        run(workload, machine(tiles, tiers), engine=engine).run.makespan_ps
        for tiers in (max(2, least), 2 * least + 1)
        for engine in ("simpy", "compiled")
    ]
    assert len(set(ends)) == 1
    alone = run(workload, machine(demand, None)).run.makespan_ps
    assert ends[0] >= alone
