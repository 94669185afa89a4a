"""What is to be known of a program before it is encoded: ends of buffers, clients of resources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from operator import add

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.actors import (
    Crew,
    Get,
    Hold,
    IntArray,
    Put,
    Use,
    numbers_of,
    resources_of,
    sizes_of,
)
from cimsim.engines.program import Program
from cimsim.engines.scenes import ActorScene, store_columns

_MANY = k.NEVER >> 8
"""Choice: more tokens than a buffer can have room for; sums of them still fit a word."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Sum and greatest common divisor of each row of counts of a Get or Put."""

    totals: list[int]
    divisors: list[int]


class Survey:
    """Who is at the ends of each buffer and at each resource, and how tokens are grouped.

    By buffer: `producer`, `consumer`, `put_total` tokens that ever come, and how many of them only
    ever move together (`unit`). `waits` are the resources at which an actor may have to wait; all
    that the members of a crew use in one step are alike in that. `alone` has which of the clients
    of its resource each actor is that uses one, Use by Use of those that stand alone; `together`
    that of all members of a crew, Use by Use of crews, then of all actors of a role of scenes.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._counts: dict[int, _Tokens] = {}
        count = program.buffer_count
        self.producer, self.consumer, self.put_total = ([0] * count for _ in range(3))
        sizes, capacities, initials = store_columns(program.stores)
        # counted: no buffer ever holds more tokens than the clock has instants
        capacity = at_most(capacities, k.NEVER)
        self.capacity = np.repeat(capacity, sizes)
        self.initial = np.repeat(np.array(initials, np.int64), sizes)
        self.unit: list[int] = self.initial.tolist()
        self._look()

    def _look(self) -> None:
        """Who is at the ends of each buffer and at each resource, and how tokens are grouped."""
        users: list[tuple[IntArray, IntArray]] = []
        alone: tuple[list[int], list[int]] = ([], [])
        for group, first, _ in self._program.alone:
            if isinstance(group, Crew):
                for own, actor in enumerate(group.actors, first):
                    numbers = numbers_of(group, own)
                    for verb in actor.steps:
                        if isinstance(verb, Use):
                            users.append((resources_of(group, verb), numbers))
                        elif not isinstance(verb, Hold):
                            self._move(verb, numbers.tolist(), group.sizes)
                continue
            iterations = group.iterations
            for verb in group.steps:
                if type(verb) is Use:
                    alone[0].append(verb.resource)
                    alone[1].append(first)
                elif type(verb) is not Hold:
                    if isinstance(verb.count, np.ndarray):
                        self._rows(verb, first, iterations)
                    else:
                        self._end(
                            verb, verb.buffer, first,
                            verb.count if iterations else 0, verb.count * iterations,
                        )  # fmt: skip
        self._look_at_scenes(users)
        users.append((np.array(alone[0], np.int64), np.array(alone[1], np.int64)))
        self._users(users)
        units = np.array(self.unit, np.int64)
        self.unit = np.where((units >= 1) & (units <= self.capacity), units, 1).tolist()

    def _look_at_scenes(self, users: list[tuple[IntArray, IntArray]]) -> None:
        """The same of scenes that stand several times."""
        if not self._program.stands:
            return
        unit = np.array(self.unit, np.int64)
        put_total = at_most(self.put_total, k.NEVER)
        producer, consumer = np.array(self.producer), np.array(self.consumer)
        sides: tuple[tuple[type[Get] | type[Put], IntArray], ...] = (
            (Put, producer),
            (Get, consumer),
        )
        for stand in self._program.stands:
            scene, firsts = stand.scene, stand.actors[:, np.newaxis]
            for group, own, actor in scene.cast:
                numbers = firsts + numbers_of(group, own)
                users += [
                    (scene.places_of(group, verb).ravel(), numbers.ravel())
                    for verb in actor.steps
                    if isinstance(verb, Use)
                ]
            for side, owner_of in sides:
                buffers, owners = scene.ends(side)
                known = self._tokens_of(scene, side)
                owner_of[buffers] = firsts + owners
                every = buffers.ravel()
                np.gcd.at(unit, every, np.tile(np.array(known.divisors, np.int64), scene.times))
                if side is Put:
                    np.add.at(put_total, every, np.tile(at_most(known.totals, _MANY), scene.times))
        self.unit, self.put_total = unit.tolist(), put_total.tolist()
        self.producer, self.consumer = producer.tolist(), consumer.tolist()

    def _tokens_of(self, scene: ActorScene, side: type[Get] | type[Put]) -> _Tokens:
        """Tokens of each single verb on one side of buffers, as in `ActorScene.ends`."""
        found = _Tokens([], [])
        for group, _, actor in scene.cast:
            sizes = sizes_of(group)
            for verb in actor.steps:
                if type(verb) is side:
                    known = self._of_verb(verb, sizes)
                    found.totals.extend(known.totals)
                    found.divisors.extend(known.divisors)
        return found

    def _end(self, verb: Get | Put, buffer: int, number: int, divisor: int, total: int) -> None:
        """One end of a buffer: who moves how many tokens in all, in groups of `divisor`."""
        if divisor != self.unit[buffer]:
            self.unit[buffer] = gcd(self.unit[buffer], divisor)
        if type(verb) is Put:
            self.put_total[buffer] += total
            self.producer[buffer] = number
        else:
            self.consumer[buffer] = number

    def _rows(self, verb: Get | Put, number: int, iterations: int) -> None:
        """Counts of an actor that stands alone, a row each buffer."""
        assert isinstance(verb.count, np.ndarray)
        rows = verb.count if verb.count.ndim > 1 else verb.count[np.newaxis]
        known = self._known(verb.count, rows)
        self._ends(verb, [number] * len(rows), known)

    def _move(self, verb: Get | Put, numbers: list[int], sizes: IntArray) -> None:
        """A Get or Put of every member of a crew, each at a buffer of its own."""
        self._ends(verb, numbers, self._of_verb(verb, sizes))

    def _of_verb(self, verb: Get | Put, sizes: IntArray) -> _Tokens:
        """Tokens of a verb at each buffer, of members with `sizes` iterations."""
        if isinstance(verb.count, np.ndarray):
            if sizes.size > 1:
                return _tokens(np.split(verb.count, np.cumsum(sizes)[:-1]))
            rows = verb.count if verb.count.ndim > 1 else verb.count[np.newaxis]
            return self._known(verb.count, rows)
        totals = [verb.count * size for size in sizes.tolist()]
        return _Tokens(totals, [verb.count if size else 0 for size in sizes.tolist()])

    def _ends(self, verb: Get | Put, numbers: list[int], known: _Tokens) -> None:
        """Ends of buffers one behind the other: who moves how many tokens at each."""
        here = slice(verb.buffer, verb.buffer + len(numbers))
        units = self.unit[here]
        if units != known.divisors:
            self.unit[here] = map(gcd, units, known.divisors)
        if type(verb) is Put:
            self.put_total[here] = map(add, self.put_total[here], known.totals)
            self.producer[here] = numbers
        else:
            self.consumer[here] = numbers

    def _users(self, users: list[tuple[IntArray, IntArray]]) -> None:
        """The clients of each resource, in order, and which ones may have to wait."""
        resources = self._program.resources
        self._stride = max(1, self._program.actor_count)
        keys = np.concatenate([place * self._stride + number for place, number in users])
        keys.sort()
        self._keys = keys = keys[np.diff(keys, prepend=-1) > 0]
        self._first_key = np.searchsorted(keys, np.arange(len(resources) + 1) * self._stride)
        servers = np.array([resource.servers for resource in resources], np.int64)
        waits = np.diff(self._first_key) > servers
        crews = [place for place, _ in users[:-1] if place.size > 1]
        while mixed := [place for place in crews if waits[place].any() and not waits[place].all()]:
            for place in mixed:
                waits[place] = True
        self.waits: list[bool] = waits.tolist()
        places, numbers = (np.concatenate(column) for column in zip(*users, strict=True))
        client = np.searchsorted(keys, places * self._stride + numbers) - self._first_key[places]
        through = np.cumsum([place.size for place, _ in users])
        *crews, alone = np.split(client, through[:-1])
        self.together, self.alone = iter(crews), iter(alone.tolist())

    def _known(self, counts: IntArray, rows: IntArray) -> _Tokens:
        known = self._counts.get(id(counts))
        if known is None:
            known = self._counts[id(counts)] = _tokens(rows)
        return known

    def clients(self, resource: int) -> IntArray:
        """The actors that use a resource, in order."""
        here = slice(self._first_key[resource], self._first_key[resource + 1])
        return np.asarray(self._keys[here] % self._stride)


def at_most(numbers: list[int], most: int) -> IntArray:
    """Whole numbers, beyond 64 bits maybe, as far as they are no more than `most`."""
    if max(numbers, default=0) > most:
        numbers = [min(number, most) for number in numbers]
    return np.array(numbers, np.int64)


def _tokens(rows: Sequence[IntArray] | IntArray) -> _Tokens:
    largest = max((int(row.max(initial=0)) for row in rows), default=0)
    fits = largest <= k.NEVER // max(1, *(row.size for row in rows))
    return _Tokens(
        [int(row.sum()) if fits else sum(row.tolist()) for row in rows],
        [int(np.gcd.reduce(row)) for row in rows],
    )
