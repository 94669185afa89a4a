"""Laws of programs that are encoded once: with other times they run as if made with these."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cimsim.engines import Kept, TimeTable, prepared, run_for_ends
from cimsim.engines.program import Duration, Get, Hold, Program, ProgramBuilder, Put, Use
from cimsim.engines.times import retimed

ITERATIONS = 6


def contended(policy: str) -> Program:
    """Three pairs of actors with a token between them; all six use one of two servers."""
    builder = ProgramBuilder()
    shared = builder.resource("shared", 2, "fifo" if policy == "fifo" else "round_robin")
    for number in range(3):
        entry = builder.buffer(f"entry{number}", 2)
        first = Hold(1), Use(shared, 2), Put(entry)
        builder.actor(f"first{number}", ITERATIONS, *first)
        builder.actor(f"second{number}", ITERATIONS, Get(entry), Use(shared, 3), Hold(4))
    return builder.build()


def times() -> st.SearchStrategy[Duration]:
    many = st.lists(st.integers(0, 9), min_size=ITERATIONS, max_size=ITERATIONS)
    return st.one_of(st.integers(0, 9), many.map(lambda found: np.array(found, np.int64)))


@settings(max_examples=60, deadline=None)
@given(policy=st.sampled_from(["fifo", "round_robin"]), data=st.data())
def test_other_times_give_the_run_of_a_program_made_with_them(
    policy: str, data: st.DataObject
) -> None:
    program = contended(policy)
    roles = len(program.roles)
    kept = Kept.ends(program, [None] * roles)
    numbers = [(2 * role, 2 * role + 1) for role in range(roles)]
    first = TimeTable(numbers, data.draw(st.lists(times(), min_size=12, max_size=12)))
    once = prepared(program, kept, first)
    for _ in range(2):
        other = TimeTable(numbers, data.draw(st.lists(times(), min_size=12, max_size=12)))
        found = once.run(other).end_ps
        made = retimed(program, other)
        for engine in ("compiled", "simpy"):
            expected = run_for_ends(made, Kept.ends(made, [None] * roles), engine)
            assert np.array_equal(found, expected.end_ps)
    assert np.array_equal(once.run(first).end_ps, once.run(first).end_ps)


def test_times_that_no_program_can_have_are_refused() -> None:
    program = contended("fifo")
    numbers = [(0, 0)] * len(program.roles)
    kept = Kept.ends(program, [None] * len(program.roles))
    for value, problem in ((-1, "within 0"), (2**63, "within 0")):
        with pytest.raises(ValueError, match=problem):
            TimeTable(numbers, [value])
    with pytest.raises(ValueError, match="6 entries wanted"):
        prepared(program, kept, TimeTable(numbers, [np.arange(5)]))


def test_its_own_times_change_no_program() -> None:
    program = contended("fifo")
    assert retimed(program, TimeTable.of(program)) is program
