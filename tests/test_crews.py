"""Crews and banks against the single actors and buffers that they stand for."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_path import slow_critical_path

from cimsim.engines import run, run_for_ends
from cimsim.engines.critical import critical_path
from cimsim.engines.program import (
    Actor,
    Crew,
    Get,
    Hold,
    IntArray,
    Program,
    ProgramBuilder,
    Put,
    Resource,
    Use,
    unlimited,
)
from cimsim.engines.record import Kept, Part, name_of, timed_verbs
from cimsim.errors import SimulationError


def amounts(rng: random.Random, sizes: IntArray, most: int) -> int | IntArray:
    """The same for all iterations, or one each; also 0."""
    if rng.random() < 0.4:
        return rng.randint(0, most)
    return np.array([rng.randint(0, most) for _ in range(int(sizes.sum()))], np.int64)


def lanes(rng: random.Random) -> Program:
    """Blocks dealt to crews of one or three actors a member, which share resources with others."""
    builder = ProgramBuilder()
    iterations, count = rng.randint(1, 8), rng.randint(2, 5)
    mask = np.array([[rng.randint(0, 1) for _ in range(iterations)] for _ in range(count)])
    mask[:, 0] |= mask.sum(axis=1) == 0
    if rng.random() < 0.2:
        mask[:] = 1
    policy: Any = rng.choice(["fifo", "round_robin"])
    pools = [builder.resource(f"pool{n}", rng.randint(1, 2), policy) for n in range(3)]
    shared = builder.resource("buffer", 1, policy)
    source = builder.buffer("source", 3)
    entry = builder.bank("deal", range(count), iterations)
    done = builder.bank("collect", range(count), iterations)
    own = np.array([rng.choice(pools[1:]) for _ in range(count)])
    sizes = mask.sum(axis=1)

    def crew(first: int, end: int) -> None:
        here, numbers = sizes[first:end], range(first, end)
        elsewhere = {int(own[first]): own[first:end]}

        def actor(name: str, *steps: Any) -> Actor:
            return Actor(name, int(here.sum()), steps)

        def work(most: int = 4) -> list[Any]:
            return [
                Use(shared, amounts(rng, here, most)),
                Hold(amounts(rng, here, most)),
                Use(int(own[first]), amounts(rng, here, most)),
            ]

        if rng.random() < 0.5:
            steps = actor("block", Get(entry + first), *work(), *work(), Put(done + first))
            builder.crew(Crew((steps,), here, numbers, elsewhere))
            return
        tokens = rng.choice([1, 2, rng.randint(1, 2) * np.ones(int(here.sum()), np.int64)])
        free = builder.bank("free", numbers, 4, 4)
        ready = builder.bank("ready", numbers, 4)
        three = (
            actor("fetch", Get(free, tokens), Get(entry + first), *work(), Put(ready, tokens)),
            actor("drain", Get(ready, tokens), *work(), Put(free, tokens), Put(done + first)),
        )
        builder.crew(Crew(three, here, numbers, elsewhere))

    builder.actor("source", iterations, Hold(rng.randint(0, 3)), Put(source))
    cut = rng.choice([count, *range(2, count - 1)])
    crew(0, cut)
    if cut < count:
        crew(cut, count)
    builder.actor("deal", iterations, Get(source), Put(entry, mask))
    builder.actor("beside", rng.randint(1, 9), Use(pools[1], 2), Use(shared, rng.randint(1, 3)))
    builder.actor("collect", iterations, Get(done, mask), Hold(1))
    return builder.build()


def some_kept(program: Program, rng: random.Random) -> Kept:
    """Marks of some iterations, and parts of intervals in three cells of two groups."""
    marks: list[IntArray | None] = []
    parts: list[tuple[tuple[Part, ...], ...]] = []
    for actor, (_, sizes) in zip(program.roles, program.cast, strict=True):
        chosen = {i for i in range(actor.iterations) if rng.random() < 0.3}
        chosen |= set((np.cumsum(sizes) - 1).tolist())
        marks.append(None if rng.random() < 0.3 else np.array(sorted(chosen), np.int64))
        rows: list[tuple[Part, ...]] = []
        for at in timed_verbs(actor.steps):
            verb = actor.steps[at]
            assert isinstance(verb, Hold | Use)
            half = verb.duration // 2
            both: tuple[Part, ...] = ((rng.randint(0, 2), half), (rng.randint(0, 2), None))
            rows.append(rng.choice([(), both[1:], both]))
        parts.append(tuple(rows))
    return Kept(marks, parts, (0, 1, 1), ("a", "b"))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_crew_is_its_members(seed: int) -> None:
    rng = random.Random(seed)
    program = lanes(rng)
    assert not any(isinstance(group, Crew) for group in program.single.groups)
    assert program.verb_count == program.single.verb_count
    assert program.describe(99) == program.single.describe(99)
    right = run(program, "simpy")
    for found in (run(program), run(program.single)):
        assert found.layout.interval_offset == right.layout.interval_offset
        assert found.start_ps.tolist() == right.start_ps.tolist()
        assert found.end_ps.tolist() == right.end_ps.tolist()
        assert found.iteration_end_ps.tolist() == right.iteration_end_ps.tolist()
    kept = some_kept(program, rng)
    whole, ends = right.ends(kept), run_for_ends(program, kept)
    assert ends.end_ps.tolist() == whole.end_ps.tolist()
    assert ends.working_ps == whole.working_ps
    for role, marks in enumerate(kept.marks):
        assert ends.ends_ps(role, marks).tolist() == right.ends_ps(role, marks).tolist()
    free, singly = run(unlimited(program)), run(unlimited(program.single), "simpy")
    assert free.end_ps.tolist() == singly.end_ps.tolist()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_roles_have_the_ends_of_their_actors(seed: int) -> None:
    program = lanes(random.Random(seed))
    done = run(program)
    for role, (numbers, sizes) in enumerate(program.cast):
        each = [done.finish_ps(number) for number in numbers.tolist()]
        assert [ends.size for ends in each] == sizes.tolist()
        assert done.ends_ps(role).tolist() == np.concatenate(each).tolist()
    found, slow = critical_path(done), slow_critical_path(done)
    for column in ("actor", "iteration", "step", "start_ps", "end_ps", "wait"):
        np.testing.assert_array_equal(getattr(found, column), getattr(slow, column), column)


def pair(sizes: Any = (1, 2), iterations: int = 3, **more: Any) -> Crew:
    actor = Actor("a", iterations, (Use(0, 2),))
    return Crew((actor,), np.array(sizes), range(4, 6), **more)


def test_members_by_hand() -> None:
    times = np.array([5, 6, 7])
    actors = (Actor("a", 3, (Use(0, times),)), Actor("b", 3, (Hold(1),)))
    crew = Crew(actors, np.array([1, 2]), range(4, 6), {0: np.array([0, 1])})
    program = Program((crew,), (), (Resource("x"), Resource("y")))
    assert [(a.name, a.iterations) for a in program.actors] == [
        ("a4", 1), ("b4", 1), ("a5", 2), ("b5", 2),
    ]  # fmt: skip
    uses = [program.actors[n].steps[0] for n in (0, 2)]
    assert [(u.resource, u.duration.tolist()) for u in uses] == [(0, [5]), (1, [6, 7])]
    assert [numbers.tolist() for numbers, _ in program.cast] == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: pair((3,)), "two members or more"),
        (lambda: pair((0, 3)), "two members or more, each with iterations"),
        (lambda: pair(iterations=4), "an actor's iterations must be the members', 3"),
        (lambda: pair(elsewhere={0: np.array([0])}), "one entry a member"),
        (
            lambda: Program((pair(elsewhere={0: np.array([0, 1])}),), (), (Resource("x"),)),
            r"within 0\.\.0, got 0 to 1",
        ),
    ],
)
def test_crews_that_cannot_be(make: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        make()


def test_members_have_buffers_of_their_own() -> None:
    def built(behind: int) -> Program:
        builder = ProgramBuilder()
        bank = builder.bank("b", range(2), 1)
        builder.actor("gets", 1, Get(bank, np.ones((2, 1), np.int64)))
        crew = Actor("puts", 2, (Put(bank + behind),))
        builder.crew(Crew((crew,), np.array([1, 1]), range(2)))
        return builder.build()

    assert run(built(0)).makespan_ps == 0
    with pytest.raises(ValueError, match=r"buffer index must be within 0\.\.1, got 2"):
        built(1)


@pytest.mark.parametrize("engine", ["simpy", "compiled"])
def test_a_deadlock_names_members(engine: Any) -> None:
    builder = ProgramBuilder()
    bank = builder.bank("b", range(2), 1)
    waits = Actor("waits", 3, (Get(bank), Hold(1)))
    builder.crew(Crew((waits,), np.array([1, 2]), range(2)))
    builder.actor("puts", 1, Put(bank, np.ones((2, 1), np.int64)))
    program = builder.build()
    with pytest.raises(SimulationError, match=r"1 of 3 actors .* 'waits1' \(iteration 1, step 0\)"):
        run(program, engine)
    with pytest.raises(SimulationError, match="'waits1'"):
        run_for_ends(program, Kept.ends(program, [None] * 2), engine)


def test_every_actor_has_a_name() -> None:
    builder = ProgramBuilder()
    builder.actor("before", 1, Hold(1))
    builder.crew(Crew((Actor("a", 3, (Hold(1),)), Actor("b", 3, (Hold(2),))),
                      np.array([1, 2]), range(7, 9)))  # fmt: skip
    builder.actor("after", 1, Hold(1))
    program = builder.build()
    names = [name_of(program, number) for number in range(program.actor_count)]
    assert names == ["before", "a7", "b7", "a8", "b8", "after"]
    assert names == [actor.name for actor in program.actors]
    with pytest.raises(IndexError, match="actor 6 asked for, the program has 6"):
        name_of(program, 6)
