"""Every clause of the proof by which steps are run at once (`cimsim.engines.steps`), one by one.

Each program has rounds alike but for one, which breaks one clause alone. That one is every round in
turn: one before those that are looked at, the one that is noted, one of those run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from cimsim.engines import Kept, TimeTable, compiled, run, stepping, steps
from cimsim.engines.program import (
    Count,
    Duration,
    Get,
    Hold,
    IntArray,
    Program,
    ProgramBuilder,
    Put,
    Use,
    Verb,
)
from cimsim.errors import SimulationError

ROUNDS = 40
"""Enough for two looks, a step that is noted and several times BATCH."""
LAST = np.append(np.ones(ROUNDS - 1, np.int64), 0)
"""A token to go round again, but for the last round."""


@contextmanager
def counted() -> Iterator[list[int]]:
    """How many steps are run at once, time by time; no clock goes back in them."""
    replay, found = steps.replay, list[int]()

    def counting(*arguments: Any) -> tuple[int, int]:
        done, end = replay(*arguments)
        assert end >= arguments[2]
        found.append(done)
        return done, end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "replay", counting)
        yield found


def at_once(program: Program) -> int:
    """How many steps are run at once; every interval ends as in the reference."""
    with counted() as found:
        fast = run(program, "compiled")
    slow = run(program, "simpy")
    for name in ("start_ps", "end_ps", "iteration_end_ps"):
        assert np.array_equal(getattr(slow, name), getattr(fast, name)), name
    return sum(found)


def in_any_round(made: Callable[[int], Program]) -> None:
    """Times are those of the reference whichever round is the odd one, and steps are skipped."""
    assert max(at_once(made(odd)) for odd in range(ROUNDS)) >= 2 * steps.BATCH


def but(odd: int, value: int, otherwise: int) -> IntArray:
    """`otherwise` in all rounds but one."""
    values = np.full(ROUNDS, otherwise)
    values[odd] = value
    return values


def ring(
    builder: ProgramBuilder, resource: int, *lanes: tuple[Verb, ...], time: Duration = 3,
    head: tuple[Verb, ...] = (), place: int = 0,
) -> Program:  # fmt: skip
    """A head uses a resource, then every lane does its verbs, and a tail uses it and goes round.

    The head comes behind `place` of the lanes.
    """
    again = builder.buffer("again", 1, 1)
    into = [builder.buffer(f"in{n}", 1) for n in range(len(lanes))]
    out = [builder.buffer(f"out{n}", 1) for n in range(len(lanes))]
    for n in range(len(lanes) + 1):
        if n == place:
            deal = [Put(each) for each in into]
            builder.actor("head", ROUNDS, Get(again), Use(resource, time), *deal, *head)
        if n < len(lanes):
            builder.actor(f"lane{n}", ROUNDS, Get(into[n]), *lanes[n], Put(out[n]))
    collect = [Get(each) for each in out]
    builder.actor("tail", ROUNDS, *collect, Use(resource, 2), Put(again, LAST))
    return builder.build()


def test_what_an_actor_runs_next_is_part_of_the_state() -> None:
    """A token a round, of which an actor does two different things in turn."""
    builder = ProgramBuilder()
    resource, side = builder.resource("r"), builder.buffer("side", 2)
    builder.actor("side", ROUNDS // 2, Get(side), Hold(1), Get(side), Hold(2))
    assert at_once(ring(builder, resource, (Hold(1),), head=(Put(side),))) == 0


def test_what_the_pending_actor_runs_next_is_part_of_the_state() -> None:
    """The same actor waits for the same resource in the middle of a round and between two."""
    builder = ProgramBuilder()
    resource, again = builder.resource("r"), builder.buffer("again", 1, 1)
    builder.actor("one", ROUNDS, Get(again), Use(resource, 3), Use(resource, 5), Put(again))
    builder.actor("other", 1, Use(resource, 1))
    assert at_once(builder.build()) == 0


@pytest.mark.parametrize("verb", [Get, Put])
def test_buffers_that_a_move_still_has_to_do_with_are_part_of_the_state(
    verb: type[Get | Put],
) -> None:
    """From the odd round on a move is half done as ever, but goes on at another buffer."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        resource = builder.resource("r")
        again, done = builder.buffer("again", 1, 1), builder.buffer("done", 1)
        rooms = [(9, 1), (9, 0), (99, 0), (99, 50)]
        if verb is Put:
            rooms = [(1, 0), (1, 1), (50, 50), (99, 0)]
        bank, *_ = [builder.buffer(f"b{n}", *room) for n, room in enumerate(rooms)]
        other = Put if verb is Get else Get
        rows = np.ones((4, ROUNDS), np.int64)
        rows[2, odd:] = rows[3, :odd] = 0
        builder.actor(
            "head", ROUNDS, Get(again), Use(resource, 3), other(bank + 1), Hold(7),
            other(bank + 2), other(bank), Put(done),
        )  # fmt: skip
        builder.actor("some", ROUNDS, verb(bank, rows), Hold(1))
        builder.actor("end", 0, other(bank + 3))
        builder.actor("tail", ROUNDS, Get(done), Use(resource, 2), Put(again, LAST))
        return builder.build()

    in_any_round(program)


def test_whose_turn_it_is_is_part_of_the_state() -> None:
    """Two ask at once, then two one by one, in the odd round the other way round."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        turns = builder.resource("turns", policy="round_robin")
        return ring(
            builder, builder.resource("r"), (Use(turns, 5),), (Hold(30), Use(turns, 1)),
            (Use(turns, 7),), (Hold(but(odd, 20, 40)), Use(turns, 1)),
        )  # fmt: skip

    in_any_round(program)


def test_no_clock_is_beyond_the_end_of_a_step() -> None:
    """What an actor does in the odd round takes many rounds of the others."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        resource, side = builder.resource("r"), builder.buffer("side", ROUNDS)
        builder.actor("side", ROUNDS, Get(side), Hold(but(odd, 100, 1)))
        return ring(builder, resource, (Hold(1),), head=(Put(side),))

    in_any_round(program)


def test_nobody_comes_to_its_end_in_a_step() -> None:
    """An actor has enough after some rounds, and the others go on."""

    def program(rounds: int) -> Program:
        builder = ProgramBuilder()
        resource, side = builder.resource("r"), builder.buffer("side", ROUNDS)
        builder.actor("side", rounds, Get(side), Hold(1))
        return ring(builder, resource, (Hold(1),), head=(Put(side),))

    in_any_round(program)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("time", [1, 5])
def test_nobody_else_asks_when_a_step_begins(shared: bool, time: int) -> None:
    """Two rings in step, of servers of their own or the same, until the odd round."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        resources = [builder.resource("r", 3)] * 2
        if not shared:
            resources = [builder.resource("a"), builder.resource("b")]
        for n, resource in enumerate(resources):
            again, done = builder.buffer(f"again{n}", 1, 1), builder.buffer(f"done{n}", 1)
            used = Use(resource, but(odd, time, 3) if n else 3)
            builder.actor(f"head{n}", ROUNDS, Get(again), used, Put(done))
            builder.actor(f"tail{n}", ROUNDS, Get(done), Use(resource, 2), Put(again, LAST))
        if shared:
            builder.actor("third", 1, Use(resources[0], 1))
        return builder.build()

    for odd in range(ROUNDS):
        at_once(program(odd))


def test_nobody_waits_for_a_turn_when_a_step_begins() -> None:
    """One asks again, alone, when it was served, and the other has waited for its turn by then."""
    for odd in range(ROUNDS):
        builder = ProgramBuilder()
        turns = builder.resource("turns", policy="round_robin")
        builder.actor("one", ROUNDS, Use(turns, 5))
        builder.actor("other", ROUNDS, Use(turns, 5), Hold(but(odd, 3, 0)))
        at_once(builder.build())


@pytest.mark.parametrize("verb", [Get, Put])
@pytest.mark.parametrize("some", [False, True])
def test_as_many_tokens_are_moved_in_every_step(verb: type[Get | Put], some: bool) -> None:
    """In the odd round a move has one token less or more, or is at another buffer."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        resource, side = builder.resource("r"), builder.buffer("side", 99)
        counts: Count = but(odd, 1, 2)
        if some:
            counts = np.stack([but(odd, 0, 1), but(odd, 1, 0)])
            spare = builder.buffer("spare", 1, int(verb is Get))
            builder.actor("spare", int(verb is Put), Put(spare) if verb is Get else Get(spare))
        if verb is Get:
            builder.actor("side", ROUNDS, Get(side, counts), Hold(1))
            return ring(builder, resource, (Hold(9),), head=(Put(side), Hold(4), Put(side)))
        builder.actor("side", int(np.sum(counts)) - int(some), Get(side), Hold(1))
        return ring(builder, resource, (Hold(9),), head=(Put(side, counts),))

    in_any_round(program)


@pytest.mark.parametrize(("odd_time", "time"), [(0, 2), (2, 0)])
def test_a_use_takes_time_in_every_step_or_in_none(odd_time: int, time: int) -> None:
    """One that takes none asks for no server, so that it does not wait for the other lane."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        shared = builder.resource("shared")
        lanes = (Use(shared, 5),), (Hold(1), Use(shared, but(odd, odd_time, time)))
        return ring(builder, builder.resource("r"), *lanes)

    in_any_round(program)


def test_the_use_that_opens_the_step_after_the_last_takes_time() -> None:
    """One that takes none has no turn, and the lane that comes next is the other one."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        turns = builder.resource("turns", policy="round_robin")
        lanes = (Use(turns, 5),), (Use(turns, 7),)
        return ring(builder, turns, *lanes, time=but(odd, 0, 4), place=1)

    in_any_round(program)


@pytest.mark.parametrize(("odd_ps", "ps"), [(0, 6), (3, 1)])
def test_first_come_is_first_served_in_every_step(odd_ps: int, ps: int) -> None:
    """In the odd round the second lane comes first, or the first one at the time of the second."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        shared = builder.resource("shared")
        lanes = (Hold(3), Use(shared, 5)), (Hold(but(odd, odd_ps, ps)), Use(shared, 4))
        return ring(builder, builder.resource("r"), *lanes)

    in_any_round(program)


@pytest.mark.parametrize(("odd_ps", "ps"), [(2, 8), (6, 8), (8, 2)])
def test_all_grants_by_turns_choose_among_the_same_in_every_step(odd_ps: int, ps: int) -> None:
    """A server is free at 6 ps: the second lane asks before, just then or later."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        turns = builder.resource("turns", policy="round_robin")
        return ring(
            builder, builder.resource("r"), (Hold(1), Use(turns, 5)),
            (Hold(but(odd, odd_ps, ps)), Use(turns, 5)), (Hold(2), Use(turns, 6)),
        )  # fmt: skip

    in_any_round(program)


def skipped(program: Program) -> int:
    """How many steps are run at once, of a program whose actors all come to their end."""
    prepared = compiled.Prepared(
        program, Kept.ends(program, [None] * program.actor_count), TimeTable.of(program)
    )
    prepared.run_once()
    return prepared.steps


@pytest.mark.parametrize("varying", [False, True])
def test_steps_with_long_times_are_left_to_the_loop(varying: bool) -> None:
    def program(time: int) -> Program:
        builder = ProgramBuilder()
        each = np.arange(ROUNDS) % 2
        return ring(builder, builder.resource("r"), (Hold(time - each if varying else time),))

    assert skipped(program(steps.TIME_MAX_PS)) > 0
    assert skipped(program(steps.TIME_MAX_PS + 2)) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_clock_that_overflows_in_a_step_that_could_be_skipped_is_an_error(whole: bool) -> None:
    """Times that add up to 2**64 ps in the odd round, or to 2**63 ps and a little over all."""

    def program(odd: int) -> Program:
        builder = ProgramBuilder()
        lane: tuple[Verb, ...] = (Hold(but(odd, 2**62, 1)),) * 4
        if not whole:
            lane = Hold(but(0, 2**63 - 10 * odd - 10, 1)), Hold(4)
        return ring(builder, builder.resource("r"), lane)

    for odd in range(ROUNDS - 1):
        for engine in ("simpy", "compiled"):
            with pytest.raises(SimulationError, match="clock"), counted():
                run(program(odd), engine)


def test_a_step_whose_notes_have_no_room_is_run_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def program() -> Program:
        builder = ProgramBuilder()
        return ring(builder, builder.resource("r"), (Hold(1),))

    assert at_once(program()) > 0
    monkeypatch.setattr(stepping, "_TRACE", 4)
    assert at_once(program()) == 0
