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

from cimsim.engines import run, run_for_ends, steps
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


def rounds(rng: random.Random) -> Program:
    """A program of rounds: a head deals tokens to lanes, a tail collects them and starts the next.

    Lanes share resources; times are constant, grow from round to round or vary, few of them by
    much, so that the order of requests is mostly the same, and sometimes not.
    """
    builder = ProgramBuilder()
    count = rng.randint(40, 90)
    wild = rng.choice([0, 0, 0, 0, 1, 4])

    def time(turns: int = count) -> Duration:
        least = rng.choice([0, 1, 2, 3, 5, 9, 20])
        if rng.random() < 0.4:
            return least
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
