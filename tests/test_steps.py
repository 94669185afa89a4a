"""Steps that are run many at once end every interval at the picosecond of the SimPy reference."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import some_parts

from cimsim.engines import Kept, TimeTable, compiled, loop, run, run_for_ends, stepping, steps
from cimsim.engines.program import (
    Duration,
    Get,
    Hold,
    Policy,
    Program,
    ProgramBuilder,
    Put,
    Use,
    Verb,
)


class Counted:
    """Counts the steps that are run at once."""

    def __init__(self) -> None:
        self.steps = 0
        self._replay = steps.replay

    def __call__(self, *arguments: object) -> tuple[int, int]:
        done, end = self._replay(*arguments)
        self.steps += done
        return done, end


@pytest.fixture(scope="module")
def counted() -> Iterator[Counted]:
    """All steps of this module that were run at once."""
    counted = Counted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "replay", counted)
        yield counted


def rounds(rng: random.Random, *, stretches: bool = False) -> Program:
    """A program of rounds: a head deals tokens to lanes, a tail collects them and starts the next.
    For some there may be a lane apart, for which nobody waits.

    Lanes share resources; times are constant, grow from round to round or vary, few of them by
    much, so that the order of requests is mostly the same, and sometimes not. In `stretches` they
    are the same for many rounds, and change once or twice.
    """
    builder = ProgramBuilder()
    count = rng.randint(40, 90)
    wild = rng.choice([0, 0, 0, 0, 1, 4])

    def time(turns: int = count) -> Duration:
        least = rng.choice([0, 1, 2, 3, 5, 9, 20])
        if rng.random() < 0.4:
            return least
        if stretches:
            cuts = sorted(rng.choices(range(turns), k=rng.randint(1, 2)))
            sizes = np.diff([0, *cuts, turns])
            return np.repeat([rng.choice([0, 1, 2, 5, 9, 20]) for _ in sizes], sizes)
        growth = rng.choice([0, 1, 1, 2]) * np.arange(turns) // rng.choice([1, 3, 10])
        noise = np.array([rng.randint(0, wild) for _ in range(turns)], np.int64)
        return least + growth + noise * (rng.random() < 0.3)

    def policy() -> Policy:
        return rng.choice(["fifo", "round_robin"])

    resources = [
        builder.resource(f"r{i}", rng.choice([1, 1, 2, 3]), policy())
        for i in range(rng.randint(1, 3))
    ]

    def verbs(turns: int = count) -> list[Verb]:
        found: list[Verb] = []
        for _ in range(rng.randint(1, 3)):
            use = rng.random() < 0.6
            found.append(Use(rng.choice(resources), time(turns)) if use else Hold(time(turns)))
        return found

    again = builder.buffer("again", 1, 1)
    head: list[Verb] = [Get(again), Use(resources[0], rng.randint(1, 9)), *verbs()]
    tail: list[Verb] = []
    for lane in range(rng.randint(1, 4)):
        tokens, room = rng.choice([1, 1, 2, 3]), rng.choice([3, 4, 7])
        into, out = builder.buffer(f"in{lane}", room), builder.buffer(f"out{lane}", room)
        head.append(Put(into, tokens))
        steps_of_lane = verbs(count * tokens)
        if rng.random() < 0.5:
            builder.actor(f"lane{lane}", count * tokens, Get(into), *steps_of_lane, Put(out))
        else:
            free, middle = builder.buffer(f"free{lane}", 2, 2), builder.buffer(f"mid{lane}", 2)
            builder.actor(
                f"fetch{lane}", count * tokens, Get(free), Get(into), *steps_of_lane, Put(middle)
            )
            builder.actor(
                f"drain{lane}", count * tokens, Get(middle), *verbs(count * tokens), Put(free),
                Put(out),
            )  # fmt: skip
        tail.append(Get(out, tokens))
    if rng.random() < 0.3:
        mask = np.array([rng.randint(0, 1) for _ in range(count)], np.int64)
        side = builder.buffer("side", 2)
        head.append(Put(side, mask))
        tail.append(Get(side, mask))
    if rng.random() < 0.3:
        masks = np.array([[rng.random() < 0.9 for _ in range(count)] for _ in range(3)], np.int64)
        bank = builder.bank("some", range(3), 2)
        head.append(Put(bank, masks))
        tail.append(Get(bank, masks))
    if rng.random() < 0.3:
        apart = builder.buffer("apart", count)
        head.append(Put(apart))
        builder.actor("apart", count, Get(apart), *verbs())
    builder.actor("head", count, *head)
    last = np.append(np.ones(count - 1, np.int64), 0)
    builder.actor("tail", count, *tail, *verbs(), Put(again, last))
    return builder.build()


ROUNDS = st.randoms(use_true_random=False)


@given(rng=ROUNDS)
@settings(max_examples=120)
def test_every_interval_ends_as_in_the_reference(counted: Counted, rng: random.Random) -> None:
    program = rounds(rng)
    slow, fast = run(program, "simpy"), run(program, "compiled")
    assert np.array_equal(slow.start_ps, fast.start_ps)
    assert np.array_equal(slow.end_ps, fast.end_ps)
    assert np.array_equal(slow.iteration_end_ps, fast.iteration_end_ps)


@given(rng=ROUNDS, looks=st.sampled_from([1, 16]))
@settings(max_examples=80)
def test_stretches_end_as_in_the_reference_and_as_without_steps(
    counted: Counted, rng: random.Random, looks: int
) -> None:
    program = rounds(rng, stretches=True)
    slow = run(program, "simpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stepping, "_ACTORS_A_GRANT", looks)
        fast = run(program, "compiled")
    before = counted.steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ANYBODY", loop.NOBODY)
        plain = run(program, "compiled")
    assert counted.steps == before
    for name in ("start_ps", "end_ps", "iteration_end_ps"):
        expected = getattr(slow, name)
        assert np.array_equal(expected, getattr(fast, name))
        assert np.array_equal(expected, getattr(plain, name))


def stored(room: int, *, kept: bool) -> Program:
    """40 rounds, each of which leaves a token in a store of `room`, or takes it out again.

    Where it is `kept`, the store is emptied when there are 40 tokens in it or it is full.
    """
    builder = ProgramBuilder()
    resource = builder.resource("r")
    again, store = builder.buffer("again", 1, 1), builder.buffer("store", room)
    done = builder.buffer("done", 1)
    last = np.append(np.ones(39, np.int64), 0)
    builder.actor("head", 40, Get(again), Use(resource, 3), Put(store), Put(done))
    builder.actor("tail", 40, Get(done), Use(resource, 2), Put(again, last))
    if kept:
        builder.actor("late", 1, Get(store, 40), Hold(1))
    else:
        builder.actor("soon", 40, Get(store), Hold(1))
    return builder.build()


@pytest.mark.parametrize(("room", "kept"), [(64, True), (24, True), (1, True), (64, False)])
def test_steps_are_skipped_only_where_all_of_the_state_is_as_it_was(room: int, kept: bool) -> None:
    program = stored(room, kept=kept)
    marks = Kept.ends(program, [None] * len(program.actors))
    prepared = compiled.Prepared(program, marks, TimeTable.of(program))
    found = prepared.run_once()
    assert np.array_equal(found.end_ps, run_for_ends(program, marks, "simpy").end_ps)
    # a token more after every round, or one less to come, is another state, and all else the same
    assert prepared.steps == 0 if kept else prepared.steps >= steps.BATCH


@given(rng=ROUNDS)
@settings(max_examples=80)
def test_what_is_kept_is_kept_of_all_steps(counted: Counted, rng: random.Random) -> None:
    program = rounds(rng)
    marks = [
        np.unique([*rng.sample(range(actor.iterations), 2), actor.iterations - 1])
        if rng.random() < 0.7
        else None
        for actor in program.actors
    ]
    kept = replace(some_parts(program, rng), marks=marks)
    slow, fast = run_for_ends(program, kept, "simpy"), run_for_ends(program, kept, "compiled")
    assert np.array_equal(slow.end_ps, fast.end_ps)
    assert slow.working_ps == fast.working_ps


def test_steps_were_run_at_once(counted: Counted) -> None:
    rng = random.Random(1)
    for _ in range(20):
        run(rounds(rng))
    assert counted.steps > 20 * steps.BATCH
