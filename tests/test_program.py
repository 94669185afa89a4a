"""A Program is valid once made, and can be read."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from programs import programs

from cimsim.engines.program import (
    Actor,
    Fifo,
    Get,
    Hold,
    Program,
    ProgramBuilder,
    Put,
    Resource,
    Use,
    Verb,
    timed_verbs,
)


def whole(text: str) -> str:
    return "^" + re.escape(text) + "$"


def pair(put: Verb, get: Verb, iterations: int = 3) -> Program:
    return Program(
        (Actor("p", iterations, (put,)), Actor("c", iterations, (get,))), (Fifo("b", 2),), ()
    )


def test_builder_returns_indices_in_order() -> None:
    builder = ProgramBuilder()
    assert [builder.buffer("x", 2), builder.buffer("y", 3, initial=1)] == [0, 1]
    assert [builder.resource("adc"), builder.resource("link", 2, "round_robin")] == [0, 1]
    assert builder.actor("a", 2, Get(0), Put(1), Use(0, 5)) == 0
    assert builder.actor("b", 2, Get(1), Put(0)) == 1
    program = builder.build()
    assert program.buffers == (Fifo("x", 2), Fifo("y", 3, 1))
    assert program.resources == (Resource("adc"), Resource("link", 2, "round_robin"))
    assert [actor.name for actor in program.actors] == ["a", "b"]
    assert program.verb_count == 2 * 3 + 2 * 2


def test_program_is_frozen() -> None:
    program = pair(Put(0), Get(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        program.actors = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fifo("b", 0), "buffer 'b': capacity must be >= 1, got 0"),
        (
            lambda: Fifo("b", 2, 3),
            "buffer 'b': initial must be within 0..2 (its capacity), got 3",
        ),
        (
            lambda: Fifo("b", 2, -1),
            "buffer 'b': initial must be within 0..2 (its capacity), got -1",
        ),
        (lambda: Resource("r", 0), "resource 'r': servers must be >= 1, got 0"),
        (
            lambda: Resource("r", 1, "lifo"),  # type: ignore[arg-type]
            "resource 'r': policy must be 'fifo' or 'round_robin', got 'lifo'",
        ),
    ],
)
def test_buffer_and_resource_refuse(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=whole(message)):
        make()


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (Put(1), "actor 'p', step 0 (Put): buffer index must be within 0..0, got 1"),
        (Put(-1), "actor 'p', step 0 (Put): buffer index must be within 0..0, got -1"),
        (Use(0, 1), "actor 'p', step 0 (Use): resource 0 asked for, the program has none"),
        (Put(0, -2), "actor 'p', step 0 (Put): count must be within 0..2**63 - 1, got -2"),
        (Hold(-1), "actor 'p', step 0 (Hold): duration must be within 0..2**63 - 1, got -1"),
        (
            Hold(2**63),
            "actor 'p', step 0 (Hold): duration must be within 0..2**63 - 1, "
            "got 9223372036854775808",
        ),
        (
            Hold(1.5),  # type: ignore[arg-type]
            "actor 'p', step 0 (Hold): duration must be an int or an int64 array, got 1.5",
        ),
        (
            Hold(np.zeros(3)),  # type: ignore[arg-type]
            "actor 'p', step 0 (Hold): duration must be an int64 array, got dtype float64",
        ),
        (
            Put(0, np.array([1, 1])),
            "actor 'p', step 0 (Put): count must be one entry an iteration, shape (3,), "
            "got shape (2,)",
        ),
        (
            Hold(np.array([1, -4, 1])),
            "actor 'p', step 0 (Hold): duration must be >= 0, got -4 in iteration 1",
        ),
        (
            "put",
            "actor 'p', step 0: a step must be a Get, Put, Hold or Use, got 'put'",
        ),
    ],
)
def test_program_refuses_a_verb(put: Verb, message: str) -> None:
    with pytest.raises(ValueError, match=whole(message)):
        pair(put, Get(0))


def test_program_refuses_negative_iterations() -> None:
    with pytest.raises(ValueError, match=whole("actor 'a': iterations must be >= 0, got -1")):
        Program((Actor("a", -1, ()),), (), ())


def test_a_shared_array_is_checked_against_each_actor() -> None:
    shared = np.array([1, 2, 3])
    message = (
        "actor 'b', step 0 (Hold): duration must be one entry an iteration, shape (2,), "
        "got shape (3,)"
    )
    with pytest.raises(ValueError, match=whole(message)):
        Program((Actor("a", 3, (Hold(shared),)), Actor("b", 2, (Hold(shared),))), (), ())


@pytest.mark.parametrize(
    ("actors", "message"),
    [
        (
            (Actor("p", 1, (Put(0),)), Actor("q", 1, (Put(0), Get(0)))),
            "buffer 'b': one producing actor allowed, both 'p' and 'q' are; "
            "give each its own buffer",
        ),
        (
            (Actor("p", 1, (Put(0), Get(0))), Actor("q", 1, (Get(0),))),
            "buffer 'b': one consuming actor allowed, both 'p' and 'q' are; "
            "give each its own buffer",
        ),
        (
            (Actor("p", 1, (Put(0),)),),
            "buffer 'b': no actor gets tokens from it; add one or drop the buffer",
        ),
        (
            (Actor("p", 1, (Get(0),)),),
            "buffer 'b': no actor puts tokens into it; add one or drop the buffer",
        ),
    ],
)
def test_a_buffer_has_one_producer_and_one_consumer(
    actors: tuple[Actor, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=whole(message)):
        Program(actors, (Fifo("b", 1),), ())


def test_an_actor_may_use_its_end_of_a_buffer_at_several_steps() -> None:
    actors = (Actor("p", 1, (Put(0), Hold(1), Put(0))), Actor("c", 1, (Get(0), Get(0))))
    assert Program(actors, (Fifo("b", 1),), ()).verb_count == 5


def test_describe() -> None:
    builder = ProgramBuilder()
    x = builder.buffer("x", 4, initial=1)
    adc = builder.resource("adc", 2)
    builder.actor("source", 3, Hold(np.array([1, 5, 2])), Put(x, np.array([2, 2, 2])))
    builder.actor("sink", 6, Get(x), Use(adc, 7))
    builder.actor("idle", 0, Hold(np.zeros(0, np.int64)))
    builder.actor("empty", 1)
    assert builder.build().describe() == (
        "program: 4 actors, 1 buffer, 1 resource, 18 verbs\n"
        "  buffer x: source -> sink, capacity 4, 1 at time 0\n"
        "  resource adc: 2 servers, fifo, shared by 1 actor\n"
        "  actor source x 3: hold 1..5 ps; put 2 x\n"
        "  actor sink x 6: get 1 x; use adc 7 ps\n"
        "  actor idle x 0: hold none ps\n"
        "  actor empty x 1: nothing"
    )


def test_describe_is_cut_off() -> None:
    builder = ProgramBuilder()
    for number in range(5):
        builder.actor(f"a{number}", 1, Hold(1))
    assert builder.build().describe(limit=2) == (
        "program: 5 actors, 0 buffers, 0 resources, 5 verbs\n"
        "  actor a0 x 1: hold 1 ps\n"
        "  actor a1 x 1: hold 1 ps\n"
        "  ... 3 lines more"
    )


def test_timed_verbs() -> None:
    assert timed_verbs((Get(0), Hold(1), Put(0), Use(0, 2))) == (1, 3)


@settings(max_examples=50, deadline=None)
@given(programs())
def test_a_random_program_describes_every_object(program: Program) -> None:
    lines = program.describe(limit=1000).splitlines()
    objects = len(program.actors) + len(program.buffers) + len(program.resources)
    assert len(lines) == 1 + objects


def test_import_is_light() -> None:
    code = "import sys, cimsim.engines.program; print({'numba', 'simpy'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
