"""The compiled walk along the critical path gives what the plain one in Python gives."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from programs import random_program
from slow_path import slow_critical_path

from cimsim.engines import Run, run
from cimsim.engines.critical import WAITS, critical_path
from cimsim.engines.program import Get, Hold, Program, ProgramBuilder, Put, Use
from cimsim.errors import SimulationError
from cimsim.simulation import simulate

BOTH = pytest.mark.parametrize("engine", ["simpy", "compiled"])
COLUMNS = ("actor", "iteration", "step", "start_ps", "end_ps", "wait")


def same(result: Run) -> int:
    """The intervals on the path of `result`, once both walks agree on all of them."""
    fast, slow = critical_path(result), slow_critical_path(result)
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(fast, column), getattr(slow, column), column)
    return fast.actor.size


def completed(program: Program, engine: Any) -> Run:
    try:
        return run(program, engine)
    except SimulationError:
        assume(False)
        raise


@BOTH
@settings(max_examples=150)
@given(rng=st.randoms(use_true_random=False))
def test_random_programs(rng: random.Random, engine: Any) -> None:
    same(completed(random_program(rng, actors=10, iterations=12), engine))


@BOTH
@pytest.mark.parametrize("attention_on", ["sram", "pmca"])
def test_a_model(attention_on: Any, engine: Any) -> None:
    machine = small.machine(attention_on=attention_on, adaptation="lora-pmca")
    assert same(simulate(small.decoder(), machine, engine=engine, pipeline="token").run) > 100


def test_a_long_path() -> None:
    builder = ProgramBuilder()
    builder.actor("alone", 5000, Hold(3), Hold(4))
    assert same(run(builder.build())) == 10_000


@BOTH
def test_many_moves_at_one_instant(engine: Any) -> None:
    # the last actor waits for the first through 300 others that take no time
    builder = ProgramBuilder()
    buffers = [builder.buffer(f"b{i}", 1) for i in range(301)]
    builder.actor("first", 1, Hold(5), Put(buffers[0]))
    for i in range(300):
        builder.actor(f"between {i}", 1, Get(buffers[i]), Put(buffers[i + 1]))
    builder.actor("last", 1, Get(buffers[300]), Hold(3))
    assert same(run(builder.build(), engine)) == 2


@BOTH
def test_many_tokens_at_one_instant(engine: Any) -> None:
    # the causes of all 300 GETs are looked at; that of the first one is the last of them
    builder = ProgramBuilder()
    buffers = [builder.buffer(f"b{i}", 1) for i in range(300)]
    builder.actor("late", 1, Hold(5), Put(buffers[0]))
    for i in range(1, 300):
        builder.actor(f"early {i}", 1, Hold(1), Put(buffers[i]))
    builder.actor("last", 1, *(Get(buffer) for buffer in buffers), Hold(3))
    assert same(run(builder.build(), engine)) == 2


def test_more_tokens_than_fit_a_number() -> None:
    # groups of 2**61 tokens, 2**64 of them in all
    group = 2**61
    builder = ProgramBuilder()
    between = builder.buffer("b", 3 * group + 7, 2 * group)
    varying = np.array([0, 2, 0, 2, 1, 1, 0, 2]) * group
    builder.actor("producer", 8, Hold(9), Put(between, group))
    builder.actor("consumer", 8, Get(between, varying), Hold(3))
    assert same(run(builder.build())) == 8


def test_users_of_a_resource_in_the_order_of_their_steps() -> None:
    # at 4 the services of "a" and "b" end together: the first actor's is taken
    builder = ProgramBuilder()
    unit = builder.resource("unit", 2)
    builder.actor("b", 2, Use(unit, np.array([4, 0])))
    builder.actor("a", 1, Use(unit, 0), Use(unit, 4))
    builder.actor("waits", 1, Hold(1), Use(unit, 5))
    result = run(builder.build())
    assert same(result) == 2
    assert critical_path(result).actor.tolist() == [0, 2]


@BOTH
@pytest.mark.parametrize("seed", range(30))
def test_several_moves_at_one_end(seed: int, engine: Any) -> None:
    # one buffer, moved at by two or three verbs of either actor, of the same or other counts
    rng = np.random.default_rng(seed)
    builder = ProgramBuilder()
    between, turns = builder.buffer("b", 40, int(rng.integers(0, 3))), 6
    puts: list[Any] = [rng.integers(0, 4, turns), 2, rng.integers(0, 2, turns)]
    gets: list[Any] = [*puts[: seed % 3][::-1], *puts[seed % 3 :]]
    work = [Hold(rng.integers(0, 9, turns)) for _ in range(6)]
    builder.actor("from", turns, *(v for p, w in zip(puts, work[:3], strict=True)
                                   for v in (w, Put(between, p))))  # fmt: skip
    builder.actor("to", turns, *(v for g, w in zip(gets, work[3:], strict=True)
                                 for v in (Get(between, g), w)))  # fmt: skip
    assert same(run(builder.build(), engine)) > 5


def test_records_of_no_run_are_refused() -> None:
    builder = ProgramBuilder()
    builder.actor("a", 2, Hold(3), Hold(4))
    result = run(builder.build())
    with pytest.raises(ValueError, match="actor 'a' goes on to step 1 at 10 ps: nothing ends"):
        critical_path(replace(result, end_ps=np.array([3, 9, 7, 14])))


@BOTH
def test_many_users_of_a_shared_unit(engine: Any) -> None:
    # every grant waits for another user; some take no time, and some end at one instant
    builder = ProgramBuilder()
    units = [builder.resource(f"unit {i}", 1 + i) for i in range(3)]
    for i in range(40):
        steps = [Use(units[j], (i * 7 + j) % 4) for j in range(3)]
        builder.actor(f"a{i}", 9, *steps, Hold(i % 3))
    found = critical_path(run(builder.build(), engine))
    assert (found.wait == WAITS.index("shared")).sum() > 100
    same(run(builder.build(), engine))
