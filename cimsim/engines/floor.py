"""A time that no run of a program beats, found without running it.

An actor works in a straight line: what it does at one place comes no sooner than what it does at a
place before, and the work between the two. Actors meet at the first token and at the last one of
each buffer; a bank of buffers counts as one. One pass from sources to sinks gives the soonest end
of every actor. What shared units have to do in all, spread evenly over their servers, is a second
bound; full buffers and queues make nothing sooner, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cimsim.engines.program import (
    Actor,
    Bank,
    Count,
    Crew,
    Duration,
    Get,
    Hold,
    IntArray,
    Program,
    Put,
    Use,
)

_TIMED = (Hold, Use)


def floor_ps(program: Program) -> int:
    """A time (ps) at or before the makespan of `program`, whatever the order at its resources."""
    return max(_Floor(program).end_ps(), _busiest_ps(program))


class _Moves(NamedTuple):
    """Tokens of a verb: in all, and the first and the last iteration in which there are some."""

    total: int
    first: int
    last: int


class _Role(NamedTuple):
    """An actor, or one of a crew for all members, whose iterations begin and end there."""

    actor: Actor
    sizes: IntArray | None

    @property
    def begins(self) -> IntArray:
        """The first iteration of every member."""
        assert self.sizes is not None
        found: IntArray = np.cumsum(self.sizes) - self.sizes
        return found


class _Floor:
    """The soonest first and last token of each store, as far as its producers are through."""

    def __init__(self, program: Program) -> None:
        stores = program.stores
        widths = [len(s.numbers) if isinstance(s, Bank) else 1 for s in stores]
        self.store: list[int] = np.repeat(np.arange(len(stores)), widths).tolist()
        self.initial = [s.initial * w for s, w in zip(stores, widths, strict=True)]
        self.first: list[int | None] = [None] * len(stores)
        self.last = [0] * len(stores)
        self.total = [0] * len(stores)
        self.producers = [0] * len(stores)
        """Roles that put into each store and have no times yet."""
        self.known: dict[int, _Moves] = {}
        self.roles = list(_roles(program))
        self.readers: list[list[int]] = [[] for _ in stores]
        self.wants: list[set[int]] = []
        """For each role the stores that it waits for."""
        for number, role in enumerate(self.roles):
            self._look(number, role)

    def _look(self, number: int, role: _Role) -> None:
        wants: set[int] = set()
        fills: set[int] = set()
        for verb in role.actor.steps:
            if type(verb) is Put:
                store = self.store[verb.buffer]
                fills.add(store)
                self.total[store] += self._moves(verb.count, role.actor).total
            elif type(verb) is Get and not self.initial[self.store[verb.buffer]]:
                wants.add(self.store[verb.buffer])
        for store in fills:
            self.producers[store] += 1
        for store in wants:
            self.readers[store].append(number)
        self.wants.append(wants)

    def end_ps(self) -> int:
        """The soonest end of the last actor, producers before their readers where they can be."""
        left = [sum(self.producers[store] > 0 for store in wants) for wants in self.wants]
        ready = [number for number, count in enumerate(left) if not count][::-1]
        waiting = dict.fromkeys(range(len(self.roles)))
        end = 0
        while waiting:
            number = ready.pop() if ready else next(iter(waiting))
            if number not in waiting:
                continue
            del waiting[number]
            role = self.roles[number]
            if role.actor.iterations:
                end = max(end, self._alone(role.actor) if role.sizes is None else self._crew(role))
            for store in {self.store[v.buffer] for v in role.actor.steps if type(v) is Put}:
                self.producers[store] -= 1
                if not self.producers[store]:
                    for reader in self.readers[store]:
                        left[reader] -= 1
                        if not left[reader]:
                            ready.append(reader)
        return end

    def _alone(self, actor: Actor) -> int:
        """The soonest end of an actor; notes when its tokens come."""
        clock = _clock(actor)
        known: list[tuple[tuple[int, int], int]] = []
        """Places (iteration, step), and how much later than its work alone the actor is there."""
        for step, verb in enumerate(actor.steps):
            if type(verb) is Get and (moves := self._moves(verb.count, actor)).total:
                store = self.store[verb.buffer]
                for iteration, time in self._arrivals(store, moves):
                    known.append(((iteration, step), time - clock(iteration, step)))

        def soonest(iteration: int, step: int) -> int:
            late = max((t for place, t in known if place < (iteration, step)), default=0)
            return clock(iteration, step) + max(0, late)

        for step, verb in enumerate(actor.steps):
            if type(verb) is Put and (moves := self._moves(verb.count, actor)).total:
                store = self.store[verb.buffer]
                self._put(store, soonest(moves.first, step), soonest(moves.last, step))
        return soonest(actor.iterations, 0)

    def _arrivals(self, store: int, moves: _Moves) -> Iterator[tuple[int, int]]:
        """Iterations of a reader, and when the token that it needs there comes at the soonest."""
        first = self.first[store]
        if first is not None and not self.producers[store] and not self.initial[store]:
            yield moves.first, first
        if moves.total - self.initial[store] >= self.total[store] > 0:
            yield moves.last, self.last[store]

    def _crew(self, role: _Role) -> int:
        """The soonest end of the last member; notes when the tokens of all members come.

        The member with most work is no sooner done than the earliest begins and its work; and the
        last token of a bank is that of some member, which goes on from there.
        """
        actor, begins = role.actor, role.begins
        assert role.sizes is not None
        ends = begins + role.sizes - 1
        durations = [duration for _, duration in _timed(actor)]
        work = _most(_sum(durations), begins, role.sizes)
        soonest = before = start = 0
        for verb in actor.steps:
            if type(verb) is Get:
                first = self._first(self.store[verb.buffer])
                if _at(verb.count, begins)[0]:
                    soonest, start = max(soonest, first), max(start, first - before)
            elif type(verb) is Put:
                if _at(verb.count, begins)[1]:
                    self._put(self.store[verb.buffer], soonest, 0)
            else:
                least, most = _at(verb.duration, begins)
                soonest, before = soonest + least, before + most
        end = start + work
        rest = sum(_at(duration, ends)[1] for duration in durations)
        late = 0
        for verb in actor.steps:
            if type(verb) is Get:
                store, moves = self.store[verb.buffer], self._moves(verb.count, actor)
                if moves.total - self.initial[store] >= self.total[store] > 0:
                    late = max(late, self.last[store])
            elif type(verb) is Put:
                if _at(verb.count, ends)[0]:
                    self.last[self.store[verb.buffer]] = max(
                        self.last[self.store[verb.buffer]], late, end - rest
                    )
            else:
                least, most = _at(verb.duration, ends)
                late, rest = late + least, rest - most
        return max(end, late)

    def _first(self, store: int) -> int:
        """When the first token can come; 0 where some are there, or not all producers are known."""
        found = self.first[store]
        return 0 if found is None or self.producers[store] or self.initial[store] else found

    def _put(self, store: int, first: int, last: int) -> None:
        before = self.first[store]
        self.first[store] = first if before is None else min(before, first)
        self.last[store] = max(self.last[store], last)

    def _moves(self, count: Count, actor: Actor) -> _Moves:
        if not isinstance(count, np.ndarray):
            return _Moves(count * actor.iterations, 0, actor.iterations - 1)
        if (key := id(count)) not in self.known:
            each = count.sum(axis=0) if count.ndim > 1 else count
            some = np.flatnonzero(each)
            ends = (int(some[0]), int(some[-1])) if some.size else (0, 0)
            self.known[key] = _Moves(int(each.sum()), *ends)
        return self.known[key]


def _roles(program: Program) -> Iterator[_Role]:
    for group in program.groups:
        if isinstance(group, Crew):
            yield from (_Role(actor, group.sizes) for actor in group.actors)
        else:
            yield _Role(group, None)


def _timed(actor: Actor) -> list[tuple[int, Duration]]:
    """The steps of an actor that take time."""
    return [(at, verb.duration) for at, verb in enumerate(actor.steps) if isinstance(verb, _TIMED)]


def _sum(durations: Sequence[Duration]) -> Duration:
    found: Duration = 0
    for duration in durations:
        found = found + duration
    return found


def _clock(actor: Actor) -> Callable[[int, int], int]:
    """The work (ps) of an actor before a step of an iteration."""
    timed = _timed(actor)
    whole = _sum([duration for _, duration in timed])
    through = np.cumsum(whole) if isinstance(whole, np.ndarray) else None

    def work(iteration: int, step: int) -> int:
        found = 0
        if through is not None:
            found = int(through[iteration - 1]) if iteration else 0
        elif isinstance(whole, int):
            found = iteration * whole
        for at, duration in timed:
            if at < step:
                found += int(duration[iteration]) if isinstance(duration, np.ndarray) else duration
        return found

    return work


def _at(amount: Duration | Count, places: IntArray) -> tuple[int, int]:
    """The least and the most of an amount at some iterations."""
    if not isinstance(amount, np.ndarray):
        return amount, amount
    found = amount[places]
    return int(found.min()), int(found.max())


def _most(duration: Duration, begins: IntArray, sizes: IntArray) -> int:
    """The most time of a member over all its iterations."""
    if not isinstance(duration, np.ndarray):
        return duration * int(sizes.max())
    return int(np.add.reduceat(duration, begins).max())


def _busiest_ps(program: Program) -> int:
    """The time of the shared unit that has most to do, its work spread over its servers."""
    load = np.zeros(len(program.resources), object)
    for group in program.groups:
        for actor in group.actors if isinstance(group, Crew) else (group,):
            for verb in actor.steps:
                if type(verb) is not Use:
                    continue
                own = group.elsewhere.get(verb.resource) if isinstance(group, Crew) else None
                if own is not None and isinstance(group, Crew):
                    each = np.broadcast_to(verb.duration, actor.iterations)
                    begins = np.cumsum(group.sizes) - group.sizes
                    np.add.at(load, own, np.add.reduceat(each, begins).astype(object))
                elif isinstance(verb.duration, np.ndarray):
                    load[verb.resource] += int(verb.duration.sum())
                else:
                    load[verb.resource] += verb.duration * actor.iterations
    servers = [resource.servers for resource in program.resources]
    return max((-(-work // count) for work, count in zip(load, servers, strict=True)), default=0)
