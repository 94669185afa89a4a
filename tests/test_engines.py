"""The laws of the engines, and that both end every interval at the same picosecond."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from programs import programs, random_program, some_parts

from cimsim.engines import Kept, Run, compiled, loop, record, reference, run, run_for_ends
from cimsim.engines.encoding import encode
from cimsim.engines.program import (
    Get,
    Hold,
    IntArray,
    Policy,
    Program,
    ProgramBuilder,
    Put,
    Use,
    Verb,
)
from cimsim.engines.record import Marks
from cimsim.errors import SimulationError

ENGINES = ("simpy", "compiled")
BOTH = pytest.mark.parametrize("engine", ENGINES)


def whole(text: str) -> str:
    return "^" + re.escape(text) + "$"


def outcome(program: Program, engine: Any) -> Run | str:
    try:
        return run(program, engine)
    except SimulationError as error:
        return str(error)


def difference(one: Run | str, other: Run | str) -> str:
    """What differs between two outcomes, or ""."""
    if isinstance(one, str) or isinstance(other, str):
        return "" if one == other else f"{one}\n{other}"
    for name in ("start_ps", "end_ps", "iteration_end_ps"):
        if not np.array_equal(getattr(one, name), getattr(other, name)):
            return f"{name}: {getattr(one, name)} {getattr(other, name)}"
    return ""


def completed(program: Program, engine: Any = "compiled") -> Run:
    """A run of `program`; the hypothesis example is dropped if it deadlocks."""
    result = outcome(program, engine)
    assume(isinstance(result, Run))
    assert isinstance(result, Run)
    return result


def pipeline(stages: list[list[Verb]], capacity: int, iterations: int) -> Program:
    """Stages in a chain; each gets a token, does its verbs, and puts a token."""
    builder = ProgramBuilder()
    for i, verbs in enumerate(stages):
        get = [Get(i - 1)] if i else []
        put = [Put(builder.buffer(f"b{i}", capacity))] if i + 1 < len(stages) else []
        builder.actor(f"s{i}", iterations, *get, *verbs, *put)
    return builder.build()


def sharing(
    requests: list[list[Verb]], policy: Policy = "fifo", servers: int = 1, iterations: int = 1
) -> Program:
    """Actors that each run their verbs; Use(0, ...) means the one resource."""
    builder = ProgramBuilder()
    builder.resource("r", servers, policy)
    for i, verbs in enumerate(requests):
        builder.actor(f"a{i}", iterations, *verbs)
    return builder.build()


# closed forms


@BOTH
def test_a_single_actor_is_a_sum(engine: Any) -> None:
    hold = np.array([3, 0, 5])
    builder = ProgramBuilder()
    resource = builder.resource("r")
    builder.actor("a", 3, Hold(hold), Use(resource, 2))
    result = run(builder.build(), engine)
    start, end = result.intervals(0, 0)
    assert start.tolist() == [0, 5, 7]
    assert end.tolist() == [3, 5, 12]
    start, end = result.intervals(0, 1)
    assert start.tolist() == [3, 5, 12]
    assert end.tolist() == result.finish_ps(0).tolist() == [5, 7, 14]
    assert result.makespan_ps == 14
    assert result.verbs_executed == 6


@BOTH
@pytest.mark.parametrize("capacity", [1, 2, 7])
def test_a_pipeline_fills_and_drains_in_the_textbook_time(engine: Any, capacity: int) -> None:
    # fill with one token, then the slowest stage sets the pace
    durations, tokens = [4, 9, 3, 9, 1], 20
    program = pipeline([[Hold(d)] for d in durations], capacity, tokens)
    assert run(program, engine).makespan_ps == sum(durations) + (tokens - 1) * max(durations)


@BOTH
def test_a_full_buffer_blocks_its_producer(engine: Any) -> None:
    program = pipeline([[Hold(1)], [Hold(10)]], 1, 4)
    result = run(program, engine)
    # token 0 leaves at 1 and is taken at once; token 1 waits in the buffer from 2 to 11; token 2
    # is ready at 3 but is put only when token 1 is taken
    assert result.finish_ps(0).tolist() == [1, 2, 11, 21]
    assert result.finish_ps(1).tolist() == [11, 21, 31, 41]
    assert result.intervals(0, 0)[0].tolist() == [0, 1, 2, 11]


@BOTH
def test_tokens_move_one_by_one(engine: Any) -> None:
    # a Put of 5 into a buffer of 2 ends when the third of 5 tokens has been taken
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 2)
    builder.actor("p", 1, Put(buffer, 5), Hold(1))
    builder.actor("c", 5, Hold(10), Get(buffer))
    result = run(builder.build(), engine)
    assert result.intervals(0, 1)[0].tolist() == [30]
    # a Get of 5 from a buffer of 2 takes each token as it comes, so the producer is never blocked
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 2)
    builder.actor("p", 5, Hold(10), Put(buffer))
    builder.actor("c", 1, Get(buffer, 5), Hold(1))
    result = run(builder.build(), engine)
    assert result.finish_ps(0).tolist() == [10, 20, 30, 40, 50]
    assert result.intervals(1, 1)[0].tolist() == [50]


@BOTH
def test_groups_of_tokens_in_a_buffer_that_is_no_multiple(engine: Any) -> None:
    # tokens 0-1 at 1, tokens 2-3 not before the first two are taken at 10
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 3)
    builder.actor("p", 3, Hold(1), Put(buffer, 2))
    builder.actor("c", 3, Hold(10), Get(buffer, 2))
    result = run(builder.build(), engine)
    assert result.finish_ps(0).tolist() == [1, 10, 20]


def test_no_function_of_the_loop_counts_references() -> None:
    compiled_ones = [f for f in vars(loop).values() if hasattr(f, "targetoptions")]
    assert loop.run in compiled_ones
    assert all(f.targetoptions["_nrt"] is False for f in compiled_ones)


def test_a_boundless_buffer_costs_no_memory() -> None:
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 10**30)
    builder.actor("p", 4, Hold(1), Put(buffer, np.array([3, 0, 2, 1])))
    builder.actor("c", 6, Get(buffer), Hold(2))
    assert run(builder.build()).makespan_ps == 13
    assert encode(builder.build()).words.size < 200
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 2**40)
    builder.actor("p", 2, Hold(1), Put(buffer, 2**40))
    builder.actor("c", 2, Get(buffer, 2**40), Hold(2))
    assert run(builder.build()).makespan_ps == 5


@BOTH
def test_initial_tokens_let_a_feedback_loop_run(engine: Any) -> None:
    builder = ProgramBuilder()
    there = builder.buffer("there", 1)
    back = builder.buffer("back", 2, initial=2)
    builder.actor("a", 6, Get(back), Hold(3), Put(there))
    builder.actor("b", 6, Get(there), Hold(4), Put(back))
    # two tokens go round a loop of 7 ps, one stage of which takes 4
    assert run(builder.build(), engine).finish_ps(1).tolist() == [7, 11, 15, 19, 23, 27]


@BOTH
def test_a_count_of_zero_is_skipped(engine: Any) -> None:
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 1)
    builder.actor("p", 4, Hold(5), Put(buffer, np.array([0, 1, 0, 1])))
    builder.actor("c", 4, Get(buffer, np.array([1, 0, 0, 1])), Hold(1))
    assert run(builder.build(), engine).intervals(1, 1)[0].tolist() == [10, 11, 12, 20]


@BOTH
def test_a_use_of_zero_does_not_queue(engine: Any) -> None:
    result = run(sharing([[Use(0, 10)], [Hold(1), Use(0, 0)]]), engine)
    start, end = result.intervals(1, 1)
    assert (start.tolist(), end.tolist()) == ([1], [1])


@BOTH
def test_programs_without_work(engine: Any) -> None:
    assert run(ProgramBuilder().build(), engine).makespan_ps == 0
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 1)
    builder.actor("empty", 3)
    builder.actor("idle", 0, Hold(5), Put(buffer), Get(buffer))
    result = run(builder.build(), engine)
    assert result.makespan_ps == 0
    assert result.finish_ps(0).tolist() == [0, 0, 0]
    assert result.intervals(1, 0)[0].size == 0


# grants


@BOTH
def test_fifo_grants_by_request_time_then_actor(engine: Any) -> None:
    # a2 asks at 1, a0, a1 and a3 at 2 while a2 is served until 11
    late: list[Verb] = [Hold(2), Use(0, 10)]
    result = run(sharing([late, late, [Hold(1), Use(0, 10)], late]), engine)
    assert [result.intervals(i, 1)[0][0] for i in range(4)] == [11, 21, 1, 31]


@BOTH
def test_a_grant_waits_for_the_end_of_the_instant(engine: Any) -> None:
    # a1 asks at 5 in the first action of that instant, a0 after two more tokens have moved
    builder = ProgramBuilder()
    resource = builder.resource("r")
    first, second = builder.buffer("first", 1), builder.buffer("second", 1)
    builder.actor("a0", 1, Get(second), Use(resource, 10))
    builder.actor("a1", 1, Hold(5), Use(resource, 10))
    builder.actor("a2", 1, Hold(5), Put(first))
    builder.actor("a3", 1, Get(first), Put(second))
    result = run(builder.build(), engine)
    assert result.intervals(0, 1)[0][0] == 5
    assert result.intervals(1, 1)[0][0] == 15


@BOTH
def test_a_request_at_the_instant_of_a_release_takes_part(engine: Any) -> None:
    # the service of a2 ends at 10, when a0 asks; a1 has waited since 3, but after a2 comes a0
    requests: list[list[Verb]] = [[Hold(10), Use(0, 4)], [Hold(3), Use(0, 4)], [Use(0, 10)]]
    cyclic = run(sharing(requests, "round_robin"), engine)
    assert (cyclic.intervals(0, 1)[0][0], cyclic.intervals(1, 1)[0][0]) == (10, 14)
    fifo = run(sharing(requests, "fifo"), engine)
    assert (fifo.intervals(0, 1)[0][0], fifo.intervals(1, 1)[0][0]) == (14, 10)


@BOTH
def test_round_robin_grants_cyclically(engine: Any) -> None:
    result = run(sharing([[Use(0, 10)]] * 3, "round_robin", iterations=3), engine)
    for i in range(3):
        assert result.intervals(i, 0)[0].tolist() == [10 * i, 30 + 10 * i, 60 + 10 * i]


@BOTH
def test_round_robin_goes_on_after_the_last_granted(engine: Any) -> None:
    # a1 is served first; then a0 (asks at 1) and a2 (asks at 2) wait: a2 follows a1
    requests: list[list[Verb]] = [[Hold(1), Use(0, 10)], [Use(0, 10)], [Hold(2), Use(0, 10)]]
    cyclic = run(sharing(requests, "round_robin"), engine)
    assert (cyclic.intervals(2, 1)[0][0], cyclic.intervals(0, 1)[0][0]) == (10, 20)
    fifo = run(sharing(requests, "fifo"), engine)
    assert (fifo.intervals(2, 1)[0][0], fifo.intervals(0, 1)[0][0]) == (20, 10)


@BOTH
def test_two_servers_serve_two_at_a_time(engine: Any) -> None:
    result = run(sharing([[Use(0, 10)], [Use(0, 4)], [Use(0, 5)], [Use(0, 1)]], servers=2), engine)
    assert result.start_ps.tolist() == [0, 0, 4, 9]


# laws on random programs


def services(result: Run, resource: int) -> list[tuple[int, int, int, int]]:
    """(request, actor, start, end) of every service of more than 0 ps at a resource."""
    return [
        (int(asked), a, int(start), int(end))
        for a, actor in enumerate(result.program.actors)
        for step, verb in enumerate(actor.steps)
        if isinstance(verb, Use) and verb.resource == resource
        for asked, start, end in zip(
            asked_ps(result, a, step), *result.intervals(a, step), strict=True
        )
        if end > start
    ]


def asked_ps(result: Run, actor: int, step: int) -> IntArray:
    """When each iteration of an actor came to `step`, if no Get or Put comes before it."""
    if step:
        return result.intervals(actor, step - 1)[1]
    finish = result.finish_ps(actor)
    return np.concatenate([[0], finish])[: finish.size]


def worked_ps(result: Run, actor: int) -> int:
    """Time an actor spends in its intervals."""
    steps = enumerate(result.program.actors[actor].steps)
    timed = [result.intervals(actor, step) for step, v in steps if isinstance(v, (Hold, Use))]
    return sum(int((end - start).sum()) for start, end in timed)


@st.composite
def contention(draw: st.DrawFn) -> Program:
    """Actors that hold and use shared resources, without buffers."""
    rng = draw(st.randoms(use_true_random=False))
    builder = ProgramBuilder()
    for i in range(rng.randint(1, 3)):
        builder.resource(f"r{i}", rng.randint(1, 3), rng.choice(["fifo", "round_robin"]))
    for i in range(rng.randint(1, 7)):
        iterations = rng.randint(0, 5)
        verbs: list[Verb] = []
        for _ in range(rng.randint(1, 4)):
            duration = np.array([rng.randint(0, 4) for _ in range(iterations)], np.int64)
            target = rng.randrange(len(builder.build().resources) + 1) - 1
            verbs.append(Use(target, duration) if target >= 0 else Hold(duration))
        builder.actor(f"a{i}", iterations, *verbs)
    return builder.build()


@settings(max_examples=100, deadline=None)
@given(contention())
def test_resources_keep_their_promises(program: Program) -> None:
    result = run(program)
    for index, resource in enumerate(program.resources):
        served = services(result, index)
        instants = sorted({s for _, _, s, _ in served} | {q for q, _, _, _ in served})
        for now in instants:
            busy = sum(s <= now < e for _, _, s, e in served)
            waiting = [(q, a) for q, a, s, _ in served if q <= now < s]
            assert busy <= resource.servers
            assert not waiting or busy == resource.servers, "an idle server while one waits"
        if resource.policy == "fifo":
            by_start = sorted(served, key=lambda x: (x[2], x[0], x[1]))
            assert by_start == sorted(served)


@settings(max_examples=100, deadline=None)
@given(contention(), st.sampled_from(ENGINES))
def test_busy_and_idle_are_the_makespan(program: Program, engine: Any) -> None:
    # without buffers an actor is either in an interval or in a queue until it is done
    result = run(program, engine)
    for a, actor in enumerate(program.actors):
        queued = sum(
            int((result.intervals(a, step)[0] - asked_ps(result, a, step)).sum())
            for step in range(len(actor.steps))
        )
        done = int(result.finish_ps(a)[-1]) if actor.iterations else 0
        assert worked_ps(result, a) + queued == done <= result.makespan_ps


@settings(max_examples=100, deadline=None)
@given(programs())
def test_makespan_is_bounded(program: Program) -> None:
    result = completed(program)
    work = [worked_ps(result, a) for a in range(len(program.actors))]
    assert max(work, default=0) <= result.makespan_ps <= sum(work)
    for index, resource in enumerate(program.resources):
        busy = sum(
            int((np.subtract(*reversed(result.intervals(a, step)))).sum())
            for a, actor in enumerate(program.actors)
            for step, verb in enumerate(actor.steps)
            if isinstance(verb, Use) and verb.resource == index
        )
        assert busy <= resource.servers * result.makespan_ps


@settings(max_examples=100, deadline=None)
@given(programs())
def test_records_are_in_order_and_have_the_durations_asked_for(program: Program) -> None:
    result = completed(program)
    for a, actor in enumerate(program.actors):
        clock = np.concatenate([[0], result.finish_ps(a)])[: actor.iterations]
        for step, verb in enumerate(actor.steps):
            if isinstance(verb, (Hold, Use)):
                start, end = result.intervals(a, step)
                assert (end - start == verb.duration).all()
                assert (start >= clock).all()
                clock = end
        assert (result.finish_ps(a) >= clock).all()


@settings(max_examples=100, deadline=None)
@given(programs())
def test_tokens_are_conserved(program: Program) -> None:
    # at the end of a complete run a buffer holds what was put less what was taken
    completed(program)
    for index, buffer in enumerate(program.buffers):
        level = buffer.initial
        for actor in program.actors:
            for verb in actor.steps:
                if isinstance(verb, (Get, Put)) and verb.buffer == index:
                    moved = int(np.broadcast_to(verb.count, actor.iterations).sum())
                    level += moved if isinstance(verb, Put) else -moved
        assert 0 <= level <= buffer.capacity


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_no_token_is_taken_before_it_is_put(rng: random.Random, capacity: int) -> None:
    n = 8
    stages: list[list[Verb]] = [
        [Hold(np.array([rng.randint(0, 5) for _ in range(n)]))] for _ in range(3)
    ]
    result = run(pipeline(stages, capacity, n))
    for stage in range(2):
        put = result.finish_ps(stage)
        taken = result.intervals(stage + 1, 1)[0]
        assert (taken >= put).all()
        # and a token is put only once the one `capacity` before it has been taken
        assert (put[capacity:] >= taken[:-capacity]).all()


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False))
def test_larger_buffers_never_slow_a_pipeline(rng: random.Random) -> None:
    n = 10
    stages: list[list[Verb]] = [
        [Hold(np.array([rng.randint(0, 9) for _ in range(n)]))] for _ in range(4)
    ]
    spans = [run(pipeline(stages, capacity, n)).makespan_ps for capacity in (1, 2, 4, 10)]
    assert spans == sorted(spans, reverse=True)


# both engines


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_engines_agree(program: Program) -> None:
    assert difference(outcome(program, "simpy"), outcome(program, "compiled")) == ""


def test_engines_agree_on_larger_programs() -> None:
    dead, intervals = 0, 0
    for seed in range(150):
        program = random_program(random.Random(seed), actors=14, iterations=12)
        one, other = outcome(program, "simpy"), outcome(program, "compiled")
        assert difference(one, other) == "", f"seed {seed}\n{program.describe()}"
        dead += isinstance(one, str)
        intervals += 0 if isinstance(one, str) else one.end_ps.size
    assert dead >= 30, "the sample must hold deadlocks"
    assert intervals >= 3000, "and complete runs"


class InsertionOrder(reference.Arbiter):
    """Grants at once and in the order of events, as a plain `simpy.Resource` does."""

    def arbitrate(self) -> None:
        self.grant(self.env.event())

    def rank(self, actor: int) -> tuple[int, int]:
        return list(self.requests).index(actor), 0


def test_a_grant_in_insertion_order_would_differ() -> None:
    differing = 0
    for seed in range(150):
        program = random_program(random.Random(seed), actors=14, iterations=12)
        try:
            naive = reference.EventLoop(program, InsertionOrder).run()
        except SimulationError:
            continue
        differing += difference(naive, run(program)) != ""
    assert differing >= 10


def test_a_resource_for_everyone_is_a_hold() -> None:
    # the compiled engine drops the queue of such a resource
    program = sharing([[Use(0, 3), Hold(1)], [Use(0, 2)]], servers=2, iterations=4)
    assert difference(run(program, "simpy"), run(program, "compiled")) == ""
    assert run(program).finish_ps(0).tolist() == [4, 8, 12, 16]


def test_shared_and_constant_arrays_are_stored_once() -> None:
    def words(durations: list[IntArray]) -> int:
        builder = ProgramBuilder()
        for i, duration in enumerate(durations):
            builder.actor(f"a{i}", 1000, Hold(duration))
        return encode(builder.build()).words.size

    varying = np.arange(1000)
    apart = words([varying + i for i in range(10)])
    assert apart - words([varying] * 10) == 9 * 1000
    assert apart - words([np.full(1000, 7)] * 10) == 10 * 1000


# what goes wrong


@BOTH
def test_deadlock_names_who_waits_for_what(engine: Any) -> None:
    builder = ProgramBuilder()
    there, back = builder.buffer("there", 4), builder.buffer("back", 3)
    builder.actor("a", 2, Hold(10), Get(back, 2), Put(there, 9))
    builder.actor("b", 2, Hold(7), Put(back, np.array([1, 0])), Get(there, 9))
    builder.actor("c", 1, Hold(3))
    message = (
        "deadlock at 10 ps: 2 of 3 actors wait for ever: "
        "'a' (iteration 0, step 1) lacks 1 of 2 token(s) from 'back' (empty; 'b' fills it); "
        "'b' (iteration 0, step 2) lacks 9 of 9 token(s) from 'there' (empty; 'a' fills it). "
        "Make puts and gets of each buffer match, or give a buffer in the circle more capacity "
        "or initial tokens."
    )
    with pytest.raises(SimulationError, match=whole(message)):
        run(builder.build(), engine)


@BOTH
def test_deadlock_on_a_full_buffer(engine: Any) -> None:
    builder = ProgramBuilder()
    buffer = builder.buffer("b", 5)
    builder.actor("p", 3, Hold(4), Put(buffer, 4))
    builder.actor("c", 1, Get(buffer, 4))
    # 4 of 12 tokens are taken; 5 fit; 3 of the last Put are left
    message = (
        "deadlock at 12 ps: 1 of 2 actors wait for ever: 'p' (iteration 2, step 1) lacks 3 of 4 "
        "slot(s) in 'b' (full at 5; 'c', now done, drains it). Make puts and gets of each buffer "
        "match, or give a buffer in the circle more capacity or initial tokens."
    )
    with pytest.raises(SimulationError, match=whole(message)):
        run(builder.build(), engine)


@BOTH
def test_deadlock_of_many_names_five(engine: Any) -> None:
    builder = ProgramBuilder()
    for i in range(8):
        buffer = builder.buffer(f"b{i}", 1)
        builder.actor(f"a{i}", 1, Get(buffer), Put(buffer))
    with pytest.raises(SimulationError) as caught:
        run(builder.build(), engine)
    told = "; ".join(
        f"'a{i}' (iteration 0, step 0) lacks 1 of 1 token(s) from 'b{i}' (empty; 'a{i}' fills it)"
        for i in range(5)
    )
    assert str(caught.value) == (
        f"deadlock at 0 ps: 8 of 8 actors wait for ever: {told}; and 3 more. Make puts and gets "
        "of each buffer match, or give a buffer in the circle more capacity or initial tokens."
    )


OVERFLOW = (
    "an interval would end after 9223372036854775807 ps (106 days), the last instant of the event "
    "clock. Simulate fewer iterations in one program, or shorten its durations."
)


@BOTH
@pytest.mark.parametrize(
    "requests",
    [
        [[Hold(2**63 - 1), Hold(1)]],
        [[Hold(2**62), Hold(2**62)]],
        [[Use(0, 2**63 - 1)], [Use(0, 1)]],
        [[Use(0, 2**63 - 2)], [Use(0, 2)]],
    ],
)
def test_the_clock_does_not_run_over(engine: Any, requests: list[list[Verb]]) -> None:
    with pytest.raises(SimulationError, match=whole(OVERFLOW)):
        run(sharing(requests), engine)


@BOTH
def test_the_clock_runs_to_its_end(engine: Any) -> None:
    hours: list[list[Verb]] = [[Hold(2**63 - 2), Use(0, 1)], [Hold(2**62)]]
    assert run(sharing(hours), engine).makespan_ps == 2**63 - 1


def test_unknown_engine() -> None:
    message = "engine must be 'simpy' or 'compiled', got 'gpu'"
    with pytest.raises(ValueError, match=whole(message)):
        run(ProgramBuilder().build(), "gpu")  # type: ignore[arg-type]


def test_tasks_of_a_get() -> None:
    result = run(pipeline([[Hold(1)], [Hold(1)]], 1, 1))
    message = "actor 's1': step 0 is not a Hold or Use; those are (1,)"
    with pytest.raises(ValueError, match=whole(message)):
        result.intervals(1, 0)


# Ends of some iterations -------------------------------------------------------------------------


def some_marks(program: Program, rng: random.Random) -> Marks:
    """All iterations of some actors, of others a few with the last one."""
    marks: list[IntArray | None] = []
    for actor in program.actors:
        last = actor.iterations - 1
        chosen = {i for i in range(actor.iterations) if i == last or rng.random() < 0.3}
        marks.append(None if rng.random() < 0.3 else np.array(sorted(chosen), np.int64))
    return marks


@BOTH
@given(program=programs(), rng=st.randoms(use_true_random=False))
@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
def test_ends_alone_are_those_of_the_whole_run(
    engine: Any, program: Program, rng: random.Random
) -> None:
    whole_run = completed(program, engine)
    marks = some_marks(program, rng)
    ends = run_for_ends(program, Kept.ends(program, marks), engine)
    assert ends.makespan_ps == whole_run.makespan_ps
    for number, kept in enumerate(marks):
        finish = whole_run.finish_ps(number).tolist()
        if kept is None:
            assert ends.ends_ps(number).tolist() == finish
        else:
            assert ends.ends_ps(number, kept).tolist() == [finish[i] for i in kept]
            assert whole_run.ends_ps(number, kept).tolist() == [finish[i] for i in kept]


@BOTH
def test_ends_alone_fail_as_the_whole_run(engine: Any) -> None:
    builder = ProgramBuilder()
    buffer = builder.buffer("never", 1)
    builder.actor("waits", 2, Get(buffer), Hold(1))
    builder.actor("puts once", 1, Put(buffer))
    program = builder.build()
    with pytest.raises(SimulationError) as whole_run:
        run(program, engine)
    with pytest.raises(SimulationError, match=whole(str(whole_run.value))):
        run_for_ends(program, Kept.ends(program, [np.array([1]), None]), engine)


def one_actor(iterations: int) -> Program:
    builder = ProgramBuilder()
    builder.actor("only", iterations, Hold(3))
    return builder.build()


@pytest.mark.parametrize(
    ("marks", "fault"),
    [([1], "must be its last iteration, 2, got 1"), ([], "2, got -1"), ([2, 2], "must rise")],
)
def test_marks_are_iterations_in_order_up_to_the_last(marks: list[int], fault: str) -> None:
    program = one_actor(3)
    with pytest.raises(ValueError, match=fault):
        run_for_ends(program, Kept.ends(program, [np.array(marks, np.int64)]))


def test_an_end_that_was_not_kept_is_not_made_up() -> None:
    program = one_actor(3)
    ends = run_for_ends(program, Kept.ends(program, [np.array([0, 2])]))
    assert ends.ends_ps(0, np.array([0, 2])).tolist() == [3, 9]
    with pytest.raises(ValueError, match="iteration 1 was not kept"):
        ends.ends_ps(0, np.array([1]))
    with pytest.raises(ValueError, match="only some ends were kept"):
        ends.ends_ps(0)


def test_intervals_are_kept_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "INTERVALS_KEPT_MAX", 2)
    with pytest.raises(SimulationError, match=r"of 3 intervals .* keeps at most 2"):
        run(one_actor(3))
    program = one_actor(3)
    assert run_for_ends(program, Kept.ends(program, [None])).makespan_ps == 9


# Time in which groups are at work ----------------------------------------------------------------


def at_work(whole_run: Run, kept: Kept) -> dict[str, int]:
    """The picoseconds at which some interval of each group runs, one by one."""
    busy: dict[str, set[int]] = {group: set() for group in kept.groups}
    for number, (actor, verbs) in enumerate(zip(whole_run.program.actors, kept.parts, strict=True)):
        timed = [i for i, verb in enumerate(actor.steps) if isinstance(verb, (Hold, Use))]
        for step, parts in zip(timed, verbs, strict=True):
            starts, ends = whole_run.intervals(number, step)
            for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
                for cell, time in parts:
                    each = time[i] if isinstance(time, np.ndarray) else time
                    over = end if each is None else start + int(each)
                    busy[kept.groups[kept.cells[cell]]] |= set(range(start, over))
                    start = over
    return {group: len(instants) for group, instants in busy.items()}


@BOTH
@given(program=programs(), rng=st.randoms(use_true_random=False), pause=st.integers(1, 4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
def test_the_time_in_which_groups_work_is_that_of_the_whole_run(
    engine: Any, program: Program, rng: random.Random, pause: int
) -> None:
    whole_run = completed(program, engine)
    kept = some_parts(program, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_SPANS", pause)
        ends = run_for_ends(program, kept, engine)
    assert ends.working_ps == at_work(whole_run, kept)
    assert ends.end_ps.tolist() == whole_run.iteration_end_ps.tolist()


@given(program=programs())
@settings(max_examples=50, suppress_health_check=[HealthCheck.filter_too_much])
def test_the_share_that_is_done_rises_to_all(program: Program) -> None:
    iterations = sum(actor.iterations for actor in program.actors if actor.steps)
    completed(program)
    shares: list[float] = []
    run(program, "simpy", shares.append)
    assert shares == sorted(set(shares))
    assert len(shares) == min(iterations, 100)
    assert shares[-1:] == [1.0] * bool(iterations)
