"""Laws of times that no run beats: of a program, and of what a design comes to at best."""

from __future__ import annotations

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import programs
from test_crews import lanes

from cimsim.adaptation import adaptation_for
from cimsim.engines import run
from cimsim.engines.floor import floor_ps
from cimsim.engines.program import Get, Hold, Program, ProgramBuilder, Put, Use
from cimsim.errors import SimulationError
from cimsim.exploration.outputs import values_of
from cimsim.mappers import mapper_named
from cimsim.report.least import Bounds, is_bounded
from cimsim.schedule.pipelines import pipeline_named
from cimsim.search.memory import Memory
from cimsim.simulation import figures


@settings(max_examples=150, deadline=None)
@given(program=st.one_of(programs(), st.randoms(use_true_random=False).map(lanes)))
def test_no_run_beats_the_floor(program: Program) -> None:
    try:
        makespan = run(program).makespan_ps
    except SimulationError:
        return  # a deadlock has no time
    assert floor_ps(program) <= makespan


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("blocks", "make", "take"), [(1, 5, 3), (4, 5, 3), (4, 3, 5)])
def test_a_chain_of_two_is_exact(whole: bool, blocks: int, make: int, take: int) -> None:
    """One after the other: all of one, or its first block, and then the slower of both."""
    builder = ProgramBuilder()
    between = builder.buffer("between", blocks)
    counts = np.zeros(blocks, np.int64)
    counts[0] = blocks
    builder.actor("maker", blocks, Hold(make), Put(between))
    builder.actor("taker", blocks, Get(between, counts if whole else 1), Hold(take))
    program = builder.build()
    alone = blocks * make + blocks * take if whole else max(make, take) * (blocks - 1) + make + take
    assert floor_ps(program) == run(program).makespan_ps == alone


def test_a_shared_unit_is_no_sooner_through_than_its_work_over_its_servers() -> None:
    builder = ProgramBuilder()
    unit = builder.resource("unit", 2)
    for number in range(3):
        builder.actor(f"user{number}", 4, Use(unit, 5))
    assert floor_ps(builder.build()) == 3 * 4 * 5 / 2


CHANGES = {
    "rram.integration_ns": [100.0, 900.0], "rram.leakage_uW": [0.5, 300.0],
    "pmca.pool_clusters": [4, 1], "pmca.cores": [8, 1], "buffer.banks": [4, 1],
    "rram.rows": [16, 8],
}  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_report_is_never_better_than_its_bounds(data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True))
    machine = small.machine().with_values(
        {field: data.draw(st.sampled_from(CHANGES[field])) for field in fields}
    )
    workload = data.draw(
        st.sampled_from([small.encoder(layers=2, tokens=3), small.decoder(layers=1, prompt=3)])
    )
    pipeline = data.draw(st.sampled_from(["token", "layer:block_tokens=2", "sequential"]))
    seen: list[Bounds] = []

    def worth(bounds: Bounds) -> bool:
        seen.append(bounds)
        return True

    done = figures(
        workload, machine, pipeline_named(pipeline), adaptation_for(machine), mapper_named(None),
        Memory(), worth=worth,
    )  # fmt: skip
    assert done is not None
    (found,) = seen
    assert found.at_least["latency_s"] > 0.0
    assert found.at_least["energy_J"] > 0.0
    for above, bounds in ((False, found.at_least), (True, found.at_most)):
        values = values_of(done.report, list(bounds), None)
        for key, bound in bounds.items():
            value = values[key]
            assert isinstance(value, float | int)
            assert value <= bound if above else value >= bound, key
            assert is_bounded(key, above=above), key
