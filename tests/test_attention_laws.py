"""Attention products on SRAM units by hand: every interval in picoseconds, every charge in joules.

No two bandwidths, widths or energies of the machine are equal. Its buffer takes 2 ns and 2.5 ps a
bit, its tile link 4 ns and 12.5 ps a bit; a cycle of an SRAM unit is 4 ns. A unit has 8 rows of 4
weights of 5 bits; inputs have 7 bits, 3 of them a cycle, results 12, activations 6.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import small
from small import close
from timed import charged_J, ends_ps, occupied, starts_ps, takes_ps

from cimsim.errors import CapacityError, MappingError
from cimsim.ir import Embedding, Linear, MatMul, Op, Phase, Softmax, Workload
from cimsim.mappers import OneBlockPerTile
from cimsim.schedule.pipelines.copies import CopyingMapper
from cimsim.simulation import Simulation, simulate
from cimsim.spec import Architecture

MACHINE = small.machine(**small.UNEQUAL, attention_on="sram", rram={"rows": 64, "columns": 64})
Q_SHARE_PS = 1875
"""A look-up of `q` has 120 bytes, which take both channels of DRAM; the first of `k` waits."""
MAC_J, WRITE_J, LINK_J, BUFFER_J = 91e-15, 12e-15, 0.4e-12, 0.067e-12
"""A multiply-accumulate, a bit written, a bit through the link, a bit in or out of the buffer."""

ADD_J, REGISTER_J = 0.03e-12, 0.02e-12 / 8
"""An addition of partial sums, a bit of one in its register."""

both_engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def table(name: str, tokens: int, columns: int) -> Embedding:
    return Embedding(
        name=name, inputs=(), tokens=tokens, weight=f"{name}.weight", rows=tokens, columns=columns
    )


def scores(tokens: int, **changes: Any) -> MatMul:
    """Q.K^T of 6 query heads of 10 values on 2 K heads."""
    fields: dict[str, Any] = {
        "name": "scores", "inputs": ("q", "k"), "tokens": tokens, "batch": 6, "m": tokens, "k": 10,
        "n": tokens, "stationary_batch": 2, "stationary_token_axis": "n",
    }  # fmt: skip
    return MatMul(**(fields | changes))


def values(tokens: int, **changes: Any) -> MatMul:
    """P.V of 4 query heads on 2 V heads of 6 values."""
    fields: dict[str, Any] = {
        "name": "values", "inputs": ("q", "k"), "tokens": tokens, "batch": 4, "m": tokens,
        "k": tokens, "n": 6, "stationary_batch": 2, "stationary_token_axis": "k",
    }  # fmt: skip
    return MatMul(**(fields | changes))


def run(
    *ops: Op, decode: tuple[Op, ...] = (), steps: int = 1, engine: Any = "compiled",
    pipeline: Any = "layer:block_tokens=1", machine: Architecture = MACHINE, mapper: Any = None,
) -> Simulation:  # fmt: skip
    """`ops` simulated after look-ups of 60 values of `q` and 20 of `k` a token."""

    def phase(name: Any, body: tuple[Op, ...], steps: int) -> Phase:
        tokens = body[0].tokens
        start = (table("q", tokens, 60), table("k", tokens, 20))
        return Phase(name=name, tokens=tokens, steps=steps, ops=(*start, *body))

    phases = [phase("prefill", ops, 1)]
    if decode:
        phases.append(phase("decode", decode, steps))
    workload: Workload = small.workload_of("attention", tuple(phases))
    return simulate(workload, machine, pipeline=pipeline, engine=engine, mapper=mapper)


@both_engines
def test_scores_of_grouped_queries(engine: Any) -> None:
    """Three queries share a K head; a head of 10 values takes 2 units, a unit 3 columns.

    Their vectors follow each other over the link. K has its tokens as columns, so that each of 8
    rows takes a write. The partial sums of two row blocks meet in one level of adders.
    """
    done = run(scores(3), engine=engine)
    # read: 6 x 10 values of 6 bits from the buffer, 3 x 8 inputs of 7 bits over the link
    assert takes_ps(done, "scores:read") == [[2000 + 900] * 3, [4000 + 2100] * 3]
    # 3 cycles for each of 3 queries and 4 for the pipeline
    assert takes_ps(done, "scores:compute") == [[13 * 4000] * 3]
    # a level of adders, 3 x 3 results of 12 bits over the link, 6 x 3 of them into the buffer
    assert takes_ps(done, "scores:send") == [[4000 + 4000 + 1350] * 3, [2000 + 540] * 3]
    # 2 x 10 values of 6 bits, 8 of them to a unit; a weight of 5 bits a row is a cycle
    assert takes_ps(done, "scores:write") == [[2000 + 300] * 3, [4000 + 600] * 3, [8 * 4000] * 3]
    assert occupied(done, "scores:read") == (("buffer", 1), ("link", 4))
    assert occupied(done, "scores:compute") == (("sram", 4),)
    assert occupied(done, "scores:send") == (("link", 4), ("buffer", 1))
    assert occupied(done, "scores:write") == (("buffer", 1), ("link", 4), ("sram", 4))
    moved = 3 * (360 + 216 + 120)
    assert charged_J(done, "scores") == {
        "sram.attention": close([3 * 6 * 10 * 3 * MAC_J]),
        "sram.accumulate": close([3 * 6 * 3 * ADD_J]),
        "sram.registers": close([3 * 2 * 6 * 3 * 12 * REGISTER_J]),
        "sram.kv_write": close([3 * 2 * 10 * 5 * WRITE_J]),
        "link.tile_link": close([moved * LINK_J]),
        "buffer.access": close([moved * BUFFER_J]),
    }
    # look-ups of K rows of 320 bits end the wait: 100 ns and 3.90625 ps a bit, then the buffer
    rows = Q_SHARE_PS + 3 * (100_000 + 1250 + 2000 + 800)
    assert done.run.makespan_ps == rows + 2300 + 36_600 + 3 * 52_000 + 9350 + 2540
    times = done.report.unit_times
    assert (times["sram"].units, times["link"].units) == (4, 8)
    assert times["sram"].busy_s == close((3 * 52_000 + 3 * 32_000) * 1e-12)
    assert times["link"].busy_s == close(3 * (6100 + 9350 + 4600) * 1e-12 / 2)
    # 120 and 40 bytes of the look-ups, 15, 45 and 27 of the product, at 800 GB/s
    assert times["buffer"].busy_s == close(3 * (150 + 50 + 19 + 57 + 34) * 1e-12)


@both_engines
def test_values_over_several_row_blocks(engine: Any) -> None:
    """Ten rows of V take two units, and two columns of units each; two queries share a head.

    The partial sums of the two row blocks meet in a level of adders.
    """
    done = run(values(10), engine=engine)
    # 4 x 10 values of 6 bits; 2 x 8 inputs of 7 bits
    assert takes_ps(done, "values:read") == [[2000 + 600] * 10, [4000 + 1400] * 10]
    assert takes_ps(done, "values:compute") == [[(2 * 3 + 4) * 4000] * 10]
    # a level of adders, 2 x 4 results of 12 bits of a unit; 4 x 6 of them in all
    assert takes_ps(done, "values:send") == [[4000 + 4000 + 1200] * 10, [2000 + 720] * 10]
    # 2 x 6 values of 6 bits, 4 to a unit: a row of 4 weights of 5 bits is 3 cycles of 9 bits
    written = [[2000 + 180] * 10, [4000 + 300] * 10, [3 * 4000] * 10]
    assert takes_ps(done, "values:write") == written
    assert occupied(done, "values:read") == (("buffer", 1), ("link", 8))
    assert occupied(done, "values:compute") == (("sram", 8),)
    assert occupied(done, "values:send") == (("link", 8), ("buffer", 1))
    assert occupied(done, "values:write") == (("buffer", 1), ("link", 4), ("sram", 4))
    moved = 10 * (240 + 288 + 72)
    assert charged_J(done, "values") == {
        "sram.attention": close([10 * 4 * 10 * 6 * MAC_J]),
        "sram.accumulate": close([10 * 4 * 6 * ADD_J]),
        "sram.registers": close([10 * 2 * 4 * 6 * 12 * REGISTER_J]),
        "sram.kv_write": close([10 * 2 * 6 * 5 * WRITE_J]),
        "link.tile_link": close([moved * LINK_J]),
        "buffer.access": close([moved * BUFFER_J]),
    }
    assert done.report.sram_units_used == 8


@pytest.mark.parametrize(("queries", "time_ns"), [(1, 12), (4, 36), (16, 132)])
def test_the_link_carries_every_query_of_a_head(queries: int, time_ns: int) -> None:
    """64 inputs of 8 bits are 8 ns at 8 GB/s, 4 ns of hops before all of them."""
    machine = small.machine(
        attention_on="sram", adaptation="none", sram={"rows": 64, "columns": 64}
    )
    ops = (
        table("q", 1, 64 * queries), table("k", 1, 64),
        scores(1, batch=queries, k=64, stationary_batch=1),
    )  # fmt: skip
    phase = Phase(name="prefill", tokens=1, ops=ops)
    done = simulate(small.workload_of("queries", (phase,)), machine, pipeline="token")
    assert takes_ps(done, "scores:read")[1] == [time_ns * 1000]


@pytest.mark.parametrize(("rows", "levels"), [(8, 0), (9, 1), (17, 2), (33, 3)])
def test_partial_sums_of_row_blocks_meet_in_a_tree(rows: int, levels: int) -> None:
    """A level, and a cycle, for every doubling of the blocks of 8 rows; as with weights."""
    done = run(values(1, k=rows))
    assert takes_ps(done, "values:send")[0] == [levels * 4000 + 4000 + 1200]
    blocks, spent = -(-rows // 8), charged_J(done, "values")
    if blocks == 1:
        assert not {"sram.accumulate", "sram.registers"} & set(spent)
    else:
        assert spent["sram.accumulate"] == close([(blocks - 1) * 24 * ADD_J])
        assert spent["sram.registers"] == close([blocks * 24 * 12 * REGISTER_J])
    done = run(scores(1, k=rows))
    assert takes_ps(done, "scores:send")[0] == [levels * 4000 + 4000 + 450]


def test_adders_of_values_are_those_that_the_context_fills() -> None:
    """Contexts of 7, 8, 9 and 10 rows: the first two fill one unit of 8, the others two."""
    cached = values(1, k=7, growth={"k": 1}, inputs=("q", "k", "cache:k"))
    spent = charged_J(run(values(6), decode=(cached,), steps=4), "values")
    assert spent["sram.accumulate"] == close([0.0, 2 * 24 * ADD_J])
    assert spent["sram.registers"] == close([0.0, 2 * 2 * 24 * 12 * REGISTER_J])


def test_small_heads_fill_part_of_a_unit() -> None:
    done = run(scores(2, k=5))
    assert takes_ps(done, "scores:read") == [[2000 + 450] * 2, [4000 + 1312] * 2]  # 1312.5 to even
    assert takes_ps(done, "scores:send") == [[4000 + 900] * 2, [2000 + 360] * 2]
    assert takes_ps(done, "scores:write") == [[2000 + 150] * 2, [4000 + 375] * 2, [5 * 4000] * 2]
    assert occupied(done, "scores:write") == (("buffer", 1), ("link", 2), ("sram", 2))
    done = run(values(3, n=3))
    assert takes_ps(done, "values:read")[1] == [4000 + 525] * 3
    assert takes_ps(done, "values:send") == [[4000 + 900] * 3, [2000 + 360] * 3]
    assert takes_ps(done, "values:write") == [[2000 + 90] * 3, [4000 + 225] * 3, [2 * 4000] * 3]
    assert occupied(done, "values:compute") == occupied(done, "values:write")[2:] == (("sram", 2),)


def test_several_vectors_and_several_rows_a_token() -> None:
    """Two vectors a query token follow each other; a key token brings two rows of K.

    The link carries all six vectors of a head, after one head of the transfer.
    """
    done = run(scores(3, m=6, n=6))
    # 90 bytes, 64 of them in a bank
    assert takes_ps(done, "scores:read") == [[2000 + 1280] * 3, [4000 + 4200] * 3]
    assert takes_ps(done, "scores:compute") == [[(6 * 3 + 4) * 4000] * 3]
    assert takes_ps(done, "scores:send") == [[8000 + 3600] * 3, [2000 + 1280] * 3]  # 108 bytes
    written = [[2000 + 600] * 3, [4000 + 1200] * 3, [2 * 8 * 4000] * 3]
    assert takes_ps(done, "scores:write") == written
    moved = 3 * (720 + 864 + 240)
    assert charged_J(done, "scores") == {
        "sram.attention": close([3 * 12 * 10 * 6 * MAC_J]),
        "sram.accumulate": close([3 * 12 * 6 * ADD_J]),
        "sram.registers": close([3 * 2 * 12 * 6 * 12 * REGISTER_J]),
        "sram.kv_write": close([6 * 2 * 10 * 5 * WRITE_J]),
        "link.tile_link": close([moved * LINK_J]),
        "buffer.access": close([moved * BUFFER_J]),
    }


@both_engines
def test_scores_grow_with_the_context(engine: Any) -> None:
    """Prompt of 2, then 3 steps over 3, 4 and 5 rows: bits and MACs grow, compute does not."""
    cached = scores(1, n=3, growth={"n": 1}, inputs=("q", "k", "cache:k"))
    done = run(scores(2), decode=(cached,), steps=3, engine=engine)
    assert takes_ps(done, "scores:read") == [[2900] * 5, [6100] * 5]
    assert takes_ps(done, "scores:compute") == [[52_000] * 5]
    # a level of adders, and up to 4 results of a unit for 3 queries;
    # 6 heads of 2, 2, 3, 4 and 5 results
    stored = [2000 + 180 * n for n in (2, 2, 3, 4, 5)]
    results = [8000 + 450 * n for n in (2, 2, 3, 4, 4)]
    assert takes_ps(done, "scores:send") == [results, stored]
    assert takes_ps(done, "scores:write") == [[2300] * 5, [4600] * 5, [32_000] * 5]
    prompt, steps = 2 * (360 + 144 + 120), 3 * (360 + 120) + (3 + 4 + 5) * 72
    assert charged_J(done, "scores") == {
        "sram.attention": close([2 * 60 * 2 * MAC_J, 60 * (3 + 4 + 5) * MAC_J]),
        "sram.accumulate": close([2 * 6 * 2 * ADD_J, 6 * (3 + 4 + 5) * ADD_J]),
        "sram.registers": close([24 * 2 * 12 * REGISTER_J, 72 * 2 * 12 * REGISTER_J]),
        "sram.kv_write": close([2 * 100 * WRITE_J, 3 * 100 * WRITE_J]),
        "link.tile_link": close([prompt * LINK_J, steps * LINK_J]),
        "buffer.access": close([prompt * BUFFER_J, steps * BUFFER_J]),
    }


def test_values_grow_with_the_context() -> None:
    """Growth of 1 that ends after 2 further steps: contexts of 3, 4, 5 and 5 rows."""
    cached = values(1, k=3, growth={"k": 1}, growth_steps=2, inputs=("q", "k", "cache:k"))
    done = run(values(2), decode=(cached,), steps=4)
    read = [2000 + 60 * k for k in (2, 2, 3, 4, 5, 5)]
    assert takes_ps(done, "values:read") == [read, [4000 + 175 * k for k in (2, 2, 3, 4, 5, 5)]]
    assert takes_ps(done, "values:send") == [[5200] * 6, [2720] * 6]
    assert charged_J(done, "values")["sram.attention"] == close(
        [2 * 24 * 2 * MAC_J, 24 * (3 + 4 + 5 + 5) * MAC_J]
    )
    assert charged_J(done, "values")["sram.kv_write"] == close([2 * 60 * WRITE_J, 4 * 60 * WRITE_J])


@both_engines
def test_rows_that_share_multipliers_take_passes(engine: Any) -> None:
    """Units of 8 rows of which 2 are multiplied at once; a pass is 3 cycles, the pipeline 4.

    K has 10 values, 8 in the fuller unit: 4 passes for each of 3 queries of a head. V has a row
    more with every step, 2 to 9, of which a unit holds 8: 1 to 4 passes for each of 2 queries.
    Writes take what they took.
    """
    sram = {"rows_per_multiplier": 4, "sources": {"rows_per_multiplier": "assumed: for tests"}}
    shared = small.changed(MACHINE, sram=sram)
    done = run(scores(3), machine=shared, engine=engine)
    assert takes_ps(done, "scores:compute") == [[(3 * 4 * 3 + 4) * 4000] * 3]
    assert takes_ps(done, "scores:write")[2] == [8 * 4000] * 3
    cached = values(1, k=3, growth={"k": 1}, inputs=("q", "k", "cache:k"))
    done = run(values(2), decode=(cached,), steps=7, machine=shared, engine=engine)
    passes = [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert takes_ps(done, "values:compute") == [[(2 * n * 3 + 4) * 4000 for n in passes]]
    assert takes_ps(done, "values:write")[2] == [3 * 4000] * 9


@both_engines
def test_a_matrix_that_uses_few_rows_of_a_unit_takes_more_units_and_fewer_passes(
    engine: Any,
) -> None:
    """Two rows of each unit, as many as are multiplied at once: the 10 values of a K head are in 5.

    A pass for each of 3 queries, a row of a token is written in 2 turns instead of 8, three
    levels of adders meet 5 partial sums. The products are as many.
    """
    sram = {"rows_per_multiplier": 4, "sources": {"rows_per_multiplier": "assumed: for tests"}}
    shared = small.changed(MACHINE, sram=sram)
    spread = "one-per-tile:sram_rows_used=2"
    done = run(scores(3), machine=shared, mapper=spread, engine=engine)
    assert done.report.mapper == done.report.inputs["mapper"] == spread
    assert done.report.sram_units_used == 2 * 5
    assert takes_ps(done, "scores:read")[1] == [4000 + 3 * 2 * 7 * 12.5] * 3
    assert takes_ps(done, "scores:compute") == [[(3 * 3 + 4) * 4000] * 3]
    assert takes_ps(done, "scores:write")[2] == [2 * 4000] * 3
    assert takes_ps(done, "scores:send")[0] == [3 * 4000 + 4000 + 1350] * 3
    spent = charged_J(done, "scores")
    assert spent["sram.attention"] == close([3 * 6 * 10 * 3 * MAC_J])
    assert spent["sram.accumulate"] == close([4 * 3 * 6 * 3 * ADD_J])
    assert spent["sram.registers"] == close([5 * 3 * 6 * 3 * 12 * REGISTER_J])


def test_rows_used_are_some_of_those_of_a_unit() -> None:
    """All of them is what is done anyway; tiles keep theirs."""
    whole, said = run(scores(3)), run(scores(3), mapper="one-per-tile:sram_rows_used=8")
    assert said.mapping.digest() == whole.mapping.digest()
    with pytest.raises(MappingError, match="sram_rows_used is 9, but an SRAM unit has 8 rows"):
        run(scores(3), mapper="one-per-tile:sram_rows_used=9")
    with pytest.raises(MappingError, match="sram_rows_used is 1 or more, got 0"):
        OneBlockPerTile(sram_rows_used=0)
    mapper = OneBlockPerTile(sram_rows_used=2)
    assert (mapper.rows_used("rram", 64), mapper.rows_used("sram", 64)) == (64, 2)
    few = small.changed(MACHINE, sram={"unit_count": 9})
    with pytest.raises(CapacityError, match="let a matrix use more rows of a unit"):
        run(scores(3), machine=few, mapper=mapper)


def test_copies_of_layers_keep_the_rows_that_are_used() -> None:
    """Whoever copies weights asks the mapper that was given, and is refused what it refuses."""
    found = {}
    for rows in (None, 2):
        mapper = CopyingMapper(OneBlockPerTile(sram_rows_used=rows), (("other", 2),))
        found[rows] = run(scores(3), mapper=mapper).report.sram_units_used
    assert found == {None: 2 * 2, 2: 2 * 5}
    with pytest.raises(MappingError, match="sram_rows_used is 9, but an SRAM unit has 8 rows"):
        run(scores(3), mapper=CopyingMapper(OneBlockPerTile(sram_rows_used=9), ()))
    with pytest.raises(MappingError, match="sram_rows_used is 9"):
        run(scores(3), mapper="one-per-tile:sram_rows_used=9", pipeline="auto")


MASKS: list[tuple[dict[str, Any], list[int]]] = [
    ({"causal": True}, [1, 2, 3, 4, 5, 6]),
    ({"causal": True, "window": 3}, [1, 2, 3, 3, 3, 3]),
    ({"window": 3}, [3, 4, 5, 5, 4, 3]),
    ({"causal": True, "n": 8}, [3, 4, 5, 6, 7, 8]),
    ({"causal": True, "n": 8, "window": 4}, [3, 4, 4, 4, 4, 4]),
]


@pytest.mark.parametrize(("mask", "seen"), MASKS, ids=str)
def test_a_masked_query_meets_the_rows_it_sees(mask: dict[str, Any], seen: list[int]) -> None:
    done = run(scores(6, **mask))
    assert takes_ps(done, "scores:send")[1] == [2000 + min(180 * n, 1280) for n in seen]
    assert takes_ps(done, "scores:read")[0] == [2900] * 6
    assert charged_J(done, "scores")["sram.attention"] == close([60 * sum(seen) * MAC_J])
    renamed = {"k" if key == "n" else key: value for key, value in mask.items()}
    done = run(values(6, **renamed))
    assert takes_ps(done, "values:read")[0] == [2000 + 60 * n for n in seen]
    assert takes_ps(done, "values:send")[1] == [2720] * 6
    assert charged_J(done, "values")["sram.attention"] == close([24 * sum(seen) * MAC_J])


@both_engines
def test_a_causal_query_waits_for_its_own_row(engine: Any) -> None:
    """Rows arrive every 104.05 ns, a query computes for 52 ns: the last row sets the end."""
    rows = [Q_SHARE_PS + 104_050 * (i + 1) + 38_900 for i in range(4)]
    free, causal = (run(scores(4, causal=c), engine=engine) for c in (False, True))
    assert ends_ps(causal, "scores:write") == ends_ps(free, "scores:write") == rows
    # the query itself is there after 107.15 ns a token, read in 9 ns
    asked = [(100_000 + 3750 + 2000 + 2400) * (i + 1) + 9000 for i in range(4)]
    assert starts_ps(causal, "scores:compute") == [
        [max(a, row) for a, row in zip(asked, rows, strict=True)]
    ]
    assert starts_ps(free, "scores:compute") == [[rows[-1] + 52_000 * i for i in range(4)]]


@both_engines
@pytest.mark.parametrize(
    ("pipeline", "first", "second"),
    [("layer:block_tokens=1", 104_050, 104_050), ("sequential", 832_400, 38_900)],
)
def test_a_window_is_a_ring_of_rows(pipeline: str, first: int, second: int, engine: Any) -> None:
    """Rows come fast and queries slowly: from the third on a row waits for a query to start.

    The query of row r takes row r as it starts; row r + 1 waits finished, row r + 2 in its unit.
    Rows are written as they are looked up, 104.05 ns each, or once all of them are; then the 450
    bytes of a query may be before them at the banks.
    """
    done = run(scores(8, batch=60, causal=True, window=3), pipeline=pipeline, engine=engine)
    each = (30 * 3 + 4) * 4000
    begun = starts_ps(done, "scores:write")[0]
    assert begun[0] == Q_SHARE_PS + first
    assert 0 <= begun[1] - begun[0] - second <= (563 if pipeline == "sequential" else 0)
    (start,) = starts_ps(done, "scores:compute")
    assert takes_ps(done, "scores:compute") == [[each] * 8]
    assert [b - a for a, b in pairwise(start)] == [each] * 7
    assert ends_ps(done, "scores:write")[2:] == [start[r - 1] for r in range(2, 8)]


@pytest.mark.parametrize("tiles", [False, True])
def test_scores_go_to_a_cluster_beside_them_without_the_buffer(tiles: bool) -> None:
    """A cluster at home takes them over the link; a reader on tiles too brings them to the buffer.

    The look-up of K passes through the buffer in either case.
    """
    soft = Softmax(name="soft", inputs=("scores",), tokens=3, rows=18, columns=3)
    layer = Linear(
        name="layer", inputs=("scores",), tokens=3, weight="layer.weight", rows=3, in_features=18,
        out_features=2,
    )  # fmt: skip
    done = run(scores(3), soft, *((layer,) if tiles else ()))
    assert occupied(done, "scores:send") == (("link", 4), ("buffer", 1))[: 1 + tiles]
    stored = 3 * (360 + 216 * tiles + 120)
    assert charged_J(done, "scores")["buffer.access"] == close([stored * BUFFER_J])
    assert charged_J(done, "scores")["link.tile_link"] == close([3 * 696 * LINK_J])


@both_engines
def test_scores_for_a_cluster_beside_take_the_near_way(engine: Any) -> None:
    """One hop of 1 ns for four and 0.1 pJ a bit for 0.4; queries and K come from the buffer."""
    soft = Softmax(name="soft", inputs=("scores",), tokens=3, rows=18, columns=3)
    link = {"near_hops": 1, "near_energy_pJ_per_bit": 0.1}
    changes: dict[str, Any] = small.merged(
        small.UNEQUAL,
        {"attention_on": "sram", "rram": {"rows": 64, "columns": 64}, "tile_link": link},
    )
    near, far = (run(scores(3), soft, engine=engine, machine=m)
                 for m in (small.machine(**changes), MACHINE))  # fmt: skip
    (sent,), (was,) = (takes_ps(done, "scores:send") for done in (near, far))
    assert [b - a for a, b in zip(sent, was, strict=True)] == [3000] * 3
    for actor in ("scores:read", "scores:write"):
        assert takes_ps(near, actor) == takes_ps(far, actor)
    energy = 3 * ((696 - 216) * LINK_J + 216 * 0.1e-12)
    assert charged_J(near, "scores")["link.tile_link"] == close([energy])
