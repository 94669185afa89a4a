"""Work on one block shared by several clusters: what meetings cost, what is chosen, how wide.

Closed forms by hand on the machine of `test_cluster_laws`: a cycle is 1250 ps, clusters of a group
are three hops of 1.5 ns apart, a barrier takes 7 cycles.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cluster_laws import CYCLE_PS, HEAD_PS, SLOW_BUFFER, clusters, pointwise, run

from cimsim.costs.memory import access_ps
from cimsim.errors import MappingError
from cimsim.ir import Elementwise, Norm, Op, Phase, Reduce, Softmax, Workload
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.block_choice import StageCosts, StepTime, cuts
from cimsim.schedule.cluster_work import Demand, stage_likeness
from cimsim.schedule.dealing import choices_of, deal, step_ps
from cimsim.schedule.graph import build_graph, build_stream
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import meeting_ps, meetings_ps
from cimsim.simulation import simulate
from cimsim.spec import Architecture

TRIP_PS = 2 * 3 * 1500
"""There and back over the hops of the link."""


def softmax(tokens: int, heads: int, columns: int) -> Softmax:
    return Softmax(name="op", inputs=(), tokens=tokens, rows=heads * tokens, columns=columns)


def norm(columns: int, kind: str = "layer") -> Norm:
    return Norm(
        name="op", inputs=(), tokens=1, norm=kind, rows=1, columns=columns  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("count", "side"), [(2, 1), (3, 2), (8, 2), (9, 3), (18, 3)])
def test_clusters_meet_over_the_hops_between_their_groups(count: int, side: int) -> None:
    """Groups of two in a square: those of g groups are as far apart as the square is wide."""
    machine = clusters(cluster_count=32, pool_clusters=2)
    assert meeting_ps(machine, count) == side * TRIP_PS + 7 * CYCLE_PS
    assert meeting_ps(machine, 1) == 0


def test_values_of_a_shared_row_travel_and_are_folded() -> None:
    """4 values of 2 bytes at 8 GB/s are 1 ns; one row of 4: 4 * 0.5 * 1.25 + 3.5 = 6, 11 to set
    up. A softmax and a layer norm reduce a row twice, an RMS norm and a sum once; whole rows meet
    at the end only."""
    machine = clusters(cluster_count=4, pool_clusters=4)
    end = TRIP_PS + 7 * CYCLE_PS
    shared = TRIP_PS + 1000 + (7 + 11 + 6) * CYCLE_PS
    total = Reduce(
        name="op", inputs=(), tokens=1, elements=1, inputs_per_output=400, function="sum"
    )
    for op, reductions in (
        (norm(400), 2),
        (norm(400, "rms"), 1),
        (total, 1),
        (softmax(1, 1, 400), 2),
    ):
        assert meetings_ps([op], machine, 0, 1, 4) == end + reductions * shared
        assert meetings_ps([op], machine, 0, 1, 1) == 0
    assert meetings_ps([softmax(1, 4, 400)], machine, 0, 1, 4) == end


def test_a_row_of_a_norm_is_shared_where_that_is_faster() -> None:
    """Of 400 values two clusters have 200 each, 67 on the busiest of 3 cores: 67 * 2.5 * 1.25 + 13
    + 2 * 13 = 248.4, 11 to set up. Two reductions travel (2 values, 0.5 ns; 2 * 0.625 + 3.5 = 4.75,
    11 to set up), one barrier ends; 469 cycles on one cluster. 200 bytes are 13 beats, and 40 ps of
    all banks, for which the second cluster waits."""
    found = run(norm(400), machine=clusters(cluster_count=2, pool_clusters=2), pipeline="layer:1")
    meetings = (TRIP_PS + 7 * CYCLE_PS) + 2 * (TRIP_PS + 500 + (7 + 11 + 5) * CYCLE_PS)
    drain = 40 + HEAD_PS + (30 + 13) * CYCLE_PS
    assert found.makespan_ps == (11 + 249) * CYCLE_PS + meetings + drain
    on_s = 2 * ((11 + 249) * 1.25e-9 + meetings * 1e-12)
    assert found.parts_J["shared"] == small.close(5e-12 * on_s * 800e6)
    assert found.parts_J["cores"] == small.close(8e-12 * 2 * (746 + 33))  # 3 * 248.375


def test_a_row_stays_whole_where_meetings_take_longer() -> None:
    """20 values: 72 cycles alone; 56 and two meetings of 26 with travel on two clusters."""
    found = run(norm(20), machine=clusters(cluster_count=2, pool_clusters=2), pipeline="layer:1")
    assert found.makespan_ps == 72 * CYCLE_PS + HEAD_PS + 32 * CYCLE_PS


SHARED_PS = (11 + 230) * CYCLE_PS + 2 * (TRIP_PS + 500 + (7 + 11 + 5) * CYCLE_PS)
"""Half a row of 100: 17 of 50 values on the busiest core, 17 * 11 + 17 + 2 * 13 = 230."""


@pytest.mark.parametrize(
    ("group", "share", "makespan_ps"),
    [
        (4, 4, SHARED_PS + TRIP_PS + 7 * CYCLE_PS + 30 + 34 * CYCLE_PS),
        (2, 4, SHARED_PS + 2 * TRIP_PS + 7 * CYCLE_PS + 30 + 34 * CYCLE_PS),
        (2, 2, (11 + 417) * CYCLE_PS + TRIP_PS + 7 * CYCLE_PS + 20 + 37 * CYCLE_PS),
        (1, 1, 2 * 417 * CYCLE_PS + 11 * CYCLE_PS + 43 * CYCLE_PS),
    ],
)  # fmt: skip
def test_a_softmax_by_the_clusters_that_share_it(group: int, share: int, makespan_ps: int) -> None:
    """Two rows of 100. On four clusters each row is shared by two; groups of two are a side of two
    apart at the end. On two a row each: 34 * 11 + 17 + 26 = 417. On one, cores share both rows.
    50, 100 or 200 bytes are 4, 7 or 13 beats; the last waits for the banks."""
    machine = clusters(cluster_count=4, pool_clusters=group)
    pipeline = f"layer:block_tokens=1,share_clusters={share}"
    found = run(softmax(1, 2, 100), machine=machine, pipeline=pipeline)
    assert found.makespan_ps == makespan_ps + HEAD_PS


def beside_a_tile(tokens: int, tail: bool) -> Workload:
    """A linear layer of 10 x 10, then perhaps 40 divisions of each value."""
    linear = small.chain(tokens=tokens, widths=(10, 10)).ops[0]
    op = Elementwise(
        name="tail", inputs=(linear.name,), tokens=tokens, elements=10 * tokens,
        functions={"div": 40},
    )  # fmt: skip
    phase = Phase(name="prefill", tokens=tokens, ops=(linear, op) if tail else (linear,))
    return small.workload_of("shared", (phase,), None)


def test_clusters_of_other_groups_fetch_what_tiles_send() -> None:
    """A tile sends 10 values a token to its group over its own link; a group is one cluster.

    A single token stays at home, however wide work is shared. Two tokens follow each other there:
    2 * (11 + 4 * 40 * 10.5 * 1.25) cycles. On two clusters results go to the buffer, from where
    both fetch theirs: a head and a beat, as 10 bytes to drain."""
    machine = clusters(cluster_count=2, pool_clusters=1)

    def makespan_ps(tokens: int, share: int, tail: bool = True) -> int:
        pipeline = f"layer:block_tokens=1,share_clusters={share}"
        work = beside_a_tile(tokens, tail)
        return simulate(work, machine, pipeline=pipeline, adaptation="none").run.makespan_ps

    computed, moved = (11 + 2100) * CYCLE_PS, HEAD_PS + 31 * CYCLE_PS
    # the last layer of a workload leaves its results in the buffer
    kept = access_ps(machine.buffer, 10 * machine.arrays("rram").block.output_bits)
    assert makespan_ps(1, 2) == makespan_ps(1, 1)
    assert makespan_ps(1, 1) == makespan_ps(1, 1, tail=False) - kept + computed + moved
    assert makespan_ps(2, 1) == makespan_ps(1, 1) + computed
    assert makespan_ps(2, 2) == makespan_ps(2, 1, tail=False) + moved + computed + moved


# Laws --------------------------------------------------------------------------------------------

OPS = st.one_of(
    st.builds(norm, st.integers(1, 900), st.sampled_from(["layer", "rms"])),
    st.builds(lambda heads, n: softmax(1, heads, n), st.integers(1, 9), st.integers(1, 300)),
    st.builds(lambda n, times: pointwise("op", tokens=1, width=n, div=times),
              st.integers(1, 900), st.integers(1, 3)),
)  # fmt: skip


def least_ps(op: Op, machine: Architecture, share: int, blocks: int) -> int:
    """Closed-form time of a step of `blocks` blocks like `op` as it is dealt."""
    phase = Phase(name="prefill", tokens=1, ops=(op,))
    graph = build_graph(small.workload_of("op", (phase,), None))
    group = min(share, machine.pmca.pool_clusters)
    pools = tuple((n, group) for n in range(share // group))
    stage = Stage("op", "cluster", (graph.nodes["op"],), (0, share), "op", pools)
    stream = build_stream({0: 1}, (1,), 1)
    assembler = Assembler(machine, graph)
    kind = stage_likeness(assembler, stage, [], [], {})
    demand = Demand(stage, stream, [], [], {}, None, False, True, kind)
    choices = choices_of(assembler, stage, 0, blocks)
    times = step_ps(assembler, demand, stream, blocks, choices)
    if blocks == 1:
        assert choices[int(np.argmin(times))] == deal(assembler, demand, 0)
    return int(times.min())


@given(
    op=OPS,
    group=st.sampled_from([1, 2, 4]),
    widths=st.integers(1, 5),
    blocks=st.integers(1, 9),
    hop_ns=st.sampled_from([0.0, 1.5, 40.0]),
    barrier=st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_more_clusters_never_make_a_step_longer(
    op: Op, group: int, widths: int, blocks: int, hop_ns: float, barrier: int
) -> None:
    machine = clusters(
        ports={**SLOW_BUFFER, "cluster_link": {**SLOW_BUFFER["cluster_link"], "hop_ns": hop_ns}},
        cluster_count=64, pool_clusters=group, barrier_cycles=barrier,
    )  # fmt: skip
    found = [least_ps(op, machine, n * group, blocks) for n in range(1, widths + 1)]
    assert found == sorted(found, reverse=True)
    groups = [machine.with_values({"pmca.pool_clusters": n}) for n in range(1, 6)]
    found = [least_ps(op, one, one.pmca.pool_clusters, blocks) for one in groups]
    assert found == sorted(found, reverse=True)


@given(
    tokens=st.integers(2, 70), width=st.integers(1, 300), rows=st.booleans(),
    share=st.sampled_from([2, 8]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_blocks_tried_together_take_what_each_takes_alone(
    tokens: int, width: int, rows: bool, share: int
) -> None:
    machine = clusters(ports=SLOW_BUFFER, cluster_count=8, pool_clusters=2)
    op = softmax(tokens, 3, width) if rows else pointwise("op", tokens=tokens, width=width, div=1)
    graph = build_graph(
        small.workload_of("op", (Phase(name="prefill", tokens=tokens, ops=(op,)),), None)
    )
    pools = tuple((n, 2) for n in range(share // 2))
    stage = Stage("op", "cluster", (graph.nodes["op"],), (0, share), "op", pools)

    def times(blocks: list[int]) -> list[StepTime]:
        return StageCosts.of(Assembler(machine, graph), stage, [], [], {}).steps(blocks)

    assert times(cuts(tokens)) == [times([block])[0] for block in cuts(tokens)]


@pytest.mark.parametrize("pipeline", ["token:share_clusters=8", "layer:1,share_clusters=8"])
@pytest.mark.parametrize("attention", ["pmca", "sram"])
def test_engines_agree_on_shared_work(pipeline: str, attention: str) -> None:
    machine = small.machine(
        attention_on=attention, pmca={"pool_clusters": 2, "core": {"least_part_elements": 4}}
    )
    fast, slow = (
        simulate(small.decoder(prompt=9), machine, pipeline=pipeline, engine=engine)
        for engine in ("compiled", "simpy")
    )
    assert np.array_equal(fast.run.start_ps, slow.run.start_ps)
    assert np.array_equal(fast.run.end_ps, slow.run.end_ps)
    assert fast.report.unit_times["pmca"].units == 8


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (6, "share_clusters=6, which is no multiple of the 4 clusters of a group (pmca.pool_c"),
        (2, "share_clusters=2, which is no multiple of the 4 clusters of a group (pmca.pool_c"),
        (16, "share_clusters=16, but the machine has 8 clusters (pmca.cluster_count)"),
    ],
)
def test_a_width_that_the_machine_lacks_is_refused(share: int, message: str) -> None:
    with pytest.raises(MappingError, match=re.escape(message)):
        simulate(small.decoder(), small.machine(), pipeline=f"token:share_clusters={share}")


def test_all_clusters_may_share_though_they_are_no_whole_groups() -> None:
    machine = small.machine(pmca={"cluster_count": 7})
    done = simulate(small.decoder(prompt=9), machine, pipeline="layer:1,share_clusters=7")
    assert done.report.latency_s > 0
