"""Durations of a program by number, and where they stand in its encoded form.

Programs that differ in their durations alone are encoded once: others are put in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from cimsim.engines.program import (
    CLOCK_MAX_PS,
    Actor,
    Crew,
    Duration,
    Hold,
    IntArray,
    Program,
    Use,
    Verb,
)
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class TimeTable:
    """`numbers` has the duration of every timed verb of every role, `values` what it is.

    Raises ValueError for a value that is not a whole number >= 0, or beyond the event clock.
    """

    numbers: Sequence[tuple[int, ...]]
    values: Sequence[Duration]

    def __post_init__(self) -> None:
        for number, value in enumerate(self.values):
            least, most = low(value), value if isinstance(value, int) else 0
            if least < 0 or most > CLOCK_MAX_PS:
                raise ValueError(f"duration {number} must be within 0..2**63 - 1, got {value}")

    @classmethod
    def of(cls, program: Program) -> Self:
        """Those of `program`, one number for each array and each whole number."""
        known: dict[tuple[bool, int], int] = {}
        values: list[Duration] = []

        def number(value: Duration) -> int:
            varies = isinstance(value, np.ndarray)
            key = varies, id(value) if varies else int(value)
            if key not in known:
                known[key] = len(values)
                values.append(_plain(value))
            return known[key]

        numbers: dict[int, tuple[int, ...]] = {}
        for company in program.companies:
            steps = company.actor.steps
            mine = tuple([number(v.duration) for v in steps if type(v) is Hold or type(v) is Use])
            numbers |= dict.fromkeys(company.roles, mine)
        return cls([numbers[role] for role in range(len(numbers))], values)

    @property
    def shape(self) -> tuple[int, ...]:
        """By number how many values an array has, -1 of a whole number."""
        return tuple([v.size if isinstance(v, np.ndarray) else -1 for v in self.values])


def _plain(value: Duration) -> Duration:
    """One whole number where all are equal."""
    if not isinstance(value, np.ndarray):
        return int(value)
    return int(value[0]) if value.size and (value == value[0]).all() else value


def low(value: Duration) -> int:
    """The least time (ps) of all iterations."""
    return int(value.min(initial=CLOCK_MAX_PS)) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Where durations stand in a block of words.

    `places` and `numbers` are of those that are the same in all iterations, `lists` has the place
    and the number of others. `delays` has the places of lookaheads with the sums that each is the
    least of: the durations of each sum.
    """

    shape: tuple[int, ...]
    places: IntArray
    numbers: IntArray
    lists: tuple[tuple[int, int], ...]
    delays: tuple[tuple[IntArray, frozenset[tuple[int, ...]]], ...]

    def fill(self, words: IntArray, values: Sequence[Duration]) -> None:
        """Put `values` into `words`."""
        single = np.array([v if isinstance(v, int) else 0 for v in values], np.int64)
        words[self.places] = single[self.numbers]
        for place, number in self.lists:
            value = values[number]
            assert isinstance(value, np.ndarray)
            words[place : place + value.size] = value
        least = [low(value) for value in values]
        for places, sums in self.delays:
            shortest = min(sum([least[number] for number in numbers]) for numbers in sums)
            words[places] = min(shortest, CLOCK_MAX_PS)


def retimed(program: Program, times: TimeTable) -> Program:
    """`program` with `times`; itself where they are its own."""
    numbers = iter(times.numbers)

    def actor(one: Actor) -> Actor:
        of_verbs = iter(next(numbers))
        steps = tuple([_retimed(verb, of_verbs, times.values) for verb in one.steps])
        same = all(a is b for a, b in zip(steps, one.steps, strict=True))
        return one if same else Actor(one.name, one.iterations, steps)

    def group(one: Actor | Crew) -> Actor | Crew:
        if isinstance(one, Actor):
            return actor(one)
        actors = tuple([actor(member) for member in one.actors])
        same = all(a is b for a, b in zip(actors, one.actors, strict=True))
        return one if same else replace(one, actors=actors)

    groups = tuple([group(one) for one in program.groups])
    if all(a is b for a, b in zip(groups, program.groups, strict=True)):
        return program
    return Program(groups, program.stores, program.resources)


def _retimed(verb: Verb, numbers: Iterator[int], values: Sequence[Duration]) -> Verb:
    if not isinstance(verb, Hold | Use):
        return verb
    value = values[next(numbers)]
    own = verb.duration
    if value is own or (isinstance(value, int) and isinstance(own, int) and value == own):
        return verb
    return Hold(value) if isinstance(verb, Hold) else Use(verb.resource, value)
