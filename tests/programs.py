"""Random programs of every kind that the engines accept, for tests of any module."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import strategies as st

from cimsim.engines import Kept
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
from cimsim.engines.record import Part


def random_program(rng: random.Random, *, actors: int = 6, iterations: int = 6) -> Program:
    """A small random program; half are tame (forward edges, matching counts), of the rest many
    deadlock.

    Any graph: chains, forks, joins, feedback with initial tokens, buffers of an actor to itself.
    Counts are constant or vary (with zeros) and mostly, but not always, match over the run;
    durations are small, so that events often coincide, constant or varying, with zeros.
    """
    builder = ProgramBuilder()
    tame = rng.random() < 0.5
    population = rng.randint(1, actors)
    common = rng.randint(0, iterations)
    turns = [
        common if tame or rng.random() < 0.7 else rng.randint(0, iterations)
        for _ in range(population)
    ]
    resources = [
        builder.resource(f"r{i}", rng.choice([1, 1, 2, 3]), rng.choice(["fifo", "round_robin"]))
        for i in range(rng.randint(0, 3))
    ]
    steps: list[list[Verb]] = [
        [_timed(rng, turns[i], resources) for _ in range(rng.randint(0, 3))]
        for i in range(population)
    ]
    for number in range(rng.randint(0, 2 * population)):
        _connect(rng, builder, f"b{number}", turns, steps, tame=tame)
    order = list(range(population))
    rng.shuffle(order)
    for i in order:
        builder.actor(f"a{i}", turns[i], *steps[i])
    return builder.build()


def programs() -> st.SearchStrategy[Program]:
    """Small random programs, see `random_program`."""
    return st.randoms(use_true_random=False).map(random_program)


def some_parts(program: Program, rng: random.Random) -> Kept:
    """Every interval cut at random into parts of random cells."""
    cells = tuple(rng.randrange(3) for _ in range(5))
    rows = []
    for actor in program.actors:
        verbs: list[tuple[Part, ...]] = []
        for verb in actor.steps:
            if not isinstance(verb, (Hold, Use)):
                continue
            parts: list[Part] = []
            left = np.broadcast_to(verb.duration, actor.iterations).astype(np.int64)
            for _ in range(rng.randrange(3)):
                part = left // rng.randint(1, 3)
                alike = part.size and (part == part[0]).all() and rng.random() < 0.5
                parts.append((rng.randrange(5), int(part[0]) if alike else part))
                left = left - part
            parts.append((rng.randrange(5), left if parts else None))
            verbs.append(tuple(parts) if rng.random() < 0.8 else ())
        rows.append(tuple(verbs))
    return Kept([None] * len(rows), rows, cells, ("a", "b", "c"))


def _connect(
    rng: random.Random,
    builder: ProgramBuilder,
    name: str,
    turns: list[int],
    steps: list[list[Verb]],
    *,
    tame: bool,
) -> None:
    """Add a buffer between two random actors, its GET mostly early and its PUT mostly late."""
    tame = tame and len(turns) > 1
    producer, consumer = (
        sorted(rng.sample(range(len(turns)), 2)) if tame else rng.choices(range(len(turns)), k=2)
    )
    capacity = rng.choice([1, 1, 2, 3, 5, 100])
    initial = 0
    if consumer <= producer:
        if rng.random() < 0.7:
            producer, consumer = consumer, producer
        else:
            initial = rng.randint(0, min(capacity, 6))
    buffer = builder.buffer(name, capacity, initial)
    group = rng.choice([1, 1, 1, 2, 3])
    put: Count
    get: Count
    if turns[producer] == turns[consumer] and rng.random() < (0.8 if tame else 0.5):
        put = get = rng.randint(0, 2) * group
    else:
        put, get = _matching(rng, turns[producer], turns[consumer], group, initial, tame=tame)
    _insert(rng, steps[consumer], Get(buffer, get), early=True, tame=tame)
    _insert(rng, steps[producer], Put(buffer, put), early=False, tame=tame)


def _matching(
    rng: random.Random, producing: int, consuming: int, group: int, initial: int, *, tame: bool
) -> tuple[Count, Count]:
    """Counts that vary from iteration to iteration; usually as many are put as taken."""
    put = np.array([rng.choice([0, 1, 1, 2, 4]) for _ in range(producing)], np.int64)
    total = int(put.sum()) + rng.choice([0, initial])
    if not tame:
        total += rng.choice([0, 0, 0, 1])
    get: IntArray = np.zeros(consuming, np.int64)
    if consuming:
        for _ in range(total):
            get[rng.randrange(consuming)] += 1
    return put * group, get * group


def _insert(rng: random.Random, steps: list[Verb], verb: Verb, *, early: bool, tame: bool) -> None:
    if not tame and rng.random() < 0.3:
        steps.insert(rng.randint(0, len(steps)), verb)
    elif early:
        steps.insert(0, verb)
    else:
        steps.append(verb)


def _timed(rng: random.Random, iterations: int, resources: list[int]) -> Verb:
    duration: Duration
    if rng.random() < 0.5:
        duration = rng.choice([0, 1, 2, 2, 3, 5])
    else:
        duration = np.array([rng.choice([0, 1, 1, 2, 4]) for _ in range(iterations)], np.int64)
    if resources and rng.random() < 0.6:
        return Use(rng.choice(resources), duration)
    return Hold(duration)
