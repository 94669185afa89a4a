"""The critical path walked in plain Python, to be read: what the compiled walk is compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cimsim.engines.critical import WAITS, CriticalPath
from cimsim.engines.program import Get, Hold, IntArray, Program, Put, Use, count_in, ends_of
from cimsim.engines.record import Run

_DATA, _ORDER, _FULL, _SHARED = range(len(WAITS))
_Part = tuple[int, int, int]
"""An execution of a verb: actor, iteration, step."""


def slow_critical_path(run: Run) -> CriticalPath:
    """The critical path of `run`; empty where the makespan is 0."""
    rows = _Walk(run).path()
    columns = np.array(rows[::-1], np.int64).reshape(-1, 6)
    return CriticalPath(*(np.ascontiguousarray(column) for column in columns.T))


@dataclass(frozen=True, slots=True)
class _Steps:
    """Where the records of an actor's steps lie: for each, the timed verb at or before it (`timed`
    is its step) and the one after it, as the place of iteration 0 in the flat arrays; -1 for none.
    """

    before: tuple[int, ...]
    timed: tuple[int, ...]
    after: tuple[int, ...]
    iteration_offset: int

    @classmethod
    def of(cls, run: Run, actor: int) -> _Steps:
        owner, offset = run.program.actors[actor], run.layout.interval_offset[actor]
        before, timed, after = [], [], []
        last = latest = -1
        for step, verb in enumerate(owner.steps):
            following = offset if last < 0 else last + owner.iterations
            if isinstance(verb, Hold | Use):
                last, latest = following, step
                following += owner.iterations
            before.append(last)
            timed.append(latest)
            after.append(following if following < run.layout.interval_offset[actor + 1] else -1)
        return cls(tuple(before), tuple(timed), tuple(after), run.layout.iteration_offset[actor])


class _Walk:
    def __init__(self, run: Run) -> None:
        self.run, self.program = run, run.program
        # memoryviews hand out plain integers, several times as fast as arrays
        self.start = np.ascontiguousarray(run.start_ps).data
        self.end = np.ascontiguousarray(run.end_ps).data
        self.iteration_end = np.ascontiguousarray(run.iteration_end_ps).data
        self.steps: dict[int, _Steps] = {}
        self.orders: dict[tuple[type, int], TokenOrder] = {}
        self.services: dict[int, _Services] = {}
        self.ends_of = ends_of(run.program)

    def path(self) -> list[tuple[int, ...]]:
        """Rows of the path, from the last interval to the first."""
        rows: list[tuple[int, ...]] = []
        now = self.run.makespan_ps
        found = self.cause(self.last(now), now) if now else None
        while found is not None:
            part, wait = found
            actor, iteration, step = part
            place = self.steps_of(actor).before[step] + iteration
            start = self.start[place]
            rows.append((actor, iteration, step, start, now, wait if rows else _DATA))
            now = start
            found = self.before(part, now) if now else None
        return rows

    def last(self, makespan: int) -> _Part:
        """The last verb of the first actor that ends at the makespan."""
        for number, actor in enumerate(self.program.actors):
            if actor.iterations and actor.steps:
                end = self.run.layout.iteration_offset[number + 1] - 1
                if self.iteration_end[end] == makespan:
                    return number, actor.iterations - 1, len(actor.steps) - 1
        raise RuntimeError("no actor ends at the makespan")

    def before(self, part: _Part, now: int) -> tuple[_Part, int]:
        """What ended at `now`, when the interval `part` started, and how it waited for that."""
        actor, iteration, step = part
        crossed = _ORDER if step == 0 else _DATA
        found = None
        if step or iteration:
            found = self.cause(self.previous(part), now, crossed)
        if found is not None:
            return found
        verb = self.program.actors[actor].steps[step]
        if isinstance(verb, Use):
            return self.services_of(verb.resource).ending(now), _SHARED
        raise RuntimeError(f"nothing ends at {now} ps, when actor {actor} goes on")

    def cause(self, part: _Part, now: int, wait: int = _DATA) -> tuple[_Part, int] | None:
        """The work that ended at `now` and made the verb `part` be done at `now`.

        None where the verb was done before.
        """
        seen: set[tuple[int, ...]] = set()
        pending = [(*part, -1, wait)]
        while pending:
            actor, iteration, step, token, wait = pending.pop()
            event = actor, iteration, step, token
            steps = self.steps_of(actor)
            after = steps.after[step]
            latest = (
                self.iteration_end[steps.iteration_offset + iteration]
                if after < 0
                else self.start[after + iteration]
            )
            if latest < now or event in seen:
                continue
            seen.add(event)
            own = steps.before[step]
            if own >= 0 and self.end[own + iteration] == now and self.start[own + iteration] < now:
                return (actor, iteration, steps.timed[step]), wait
            verb = self.program.actors[actor].steps[step]
            if isinstance(verb, Get):
                pending += self.filled(verb, iteration, step, token, wait)
            elif isinstance(verb, Put):
                pending += self.freed(verb, iteration, step, token, wait)
            elif self.end[own + iteration] < now:
                continue
            if step or iteration:
                crossed = wait if step else max(wait, _ORDER)
                pending.append((*self.previous((actor, iteration, step)), -1, crossed))
        return None

    def filled(
        self, verb: Get, iteration: int, step: int, token: int, wait: int
    ) -> list[tuple[int, int, int, int, int]]:
        """The Put of the token that a Get took, the last one where `token` is -1."""
        if token < 0:
            if not count_in(verb, iteration):
                return []
            token = self.order(Get, verb.buffer).last(iteration, step)
        put = token - self.program.buffers[verb.buffer].initial
        if put < 0:
            return []
        order = self.order(Put, verb.buffer)
        return [(order.actor, *order.where(put), put, wait)]

    def freed(
        self, verb: Put, iteration: int, step: int, token: int, wait: int
    ) -> list[tuple[int, int, int, int, int]]:
        """The Get that freed the slot that a Put filled, of its last token where `token` is -1."""
        if token < 0:
            if not count_in(verb, iteration):
                return []
            token = self.order(Put, verb.buffer).last(iteration, step)
        buffer = self.program.buffers[verb.buffer]
        taken = token + buffer.initial - buffer.capacity
        if taken < 0:
            return []
        order = self.order(Get, verb.buffer)
        return [(order.actor, *order.where(taken), taken, max(wait, _FULL))]

    def previous(self, part: _Part) -> _Part:
        """The verb before `part` in its actor."""
        actor, iteration, step = part
        if step:
            return actor, iteration, step - 1
        return actor, iteration - 1, len(self.program.actors[actor].steps) - 1

    def steps_of(self, actor: int) -> _Steps:
        """Where the records of `actor` lie."""
        found = self.steps.get(actor)
        if found is None:
            found = self.steps[actor] = _Steps.of(self.run, actor)
        return found

    def order(self, kind: type[Get] | type[Put], buffer: int) -> TokenOrder:
        """Who gets or puts which token of `buffer`."""
        found = self.orders.get((kind, buffer))
        if found is None:
            producer, consumer = self.ends_of[buffer]
            actor = producer if kind is Put else consumer
            found = TokenOrder.of(self.program, actor, kind, buffer)
            self.orders[kind, buffer] = found
        return found

    def services_of(self, resource: int) -> _Services:
        """The services of `resource` by their end."""
        if resource not in self.services:
            self.services[resource] = _Services(self.run, resource)
        return self.services[resource]


class _Services:
    """The services of a resource that take time, in the order of their ends."""

    def __init__(self, run: Run, resource: int) -> None:
        self.verbs = [
            (number, step)
            for number, actor in enumerate(run.program.actors)
            for step, verb in enumerate(actor.steps)
            if isinstance(verb, Use) and verb.resource == resource and actor.iterations
        ]
        ends, firsts = [], [0]
        for number, step in self.verbs:
            start, end = run.intervals(number, step)
            # what takes no time occupies no server
            ends.append(np.where(end > start, end, -1))
            firsts.append(firsts[-1] + end.size)
        together = np.concatenate(ends)
        self.firsts = np.array(firsts, np.int64)
        self.by_end = np.argsort(together, kind="stable")
        self.ends = together[self.by_end]

    def ending(self, now: int) -> _Part:
        """The first service (in the order of actors) that ends at `now`."""
        at = int(np.searchsorted(self.ends, now))
        if at == self.ends.size or self.ends[at] != now:
            raise RuntimeError(f"no server is given back at {now} ps")
        place = int(self.by_end[at])
        row = int(np.searchsorted(self.firsts, place, side="right")) - 1
        number, step = self.verbs[row]
        return number, place - int(self.firsts[row]), step


@dataclass(frozen=True, slots=True, eq=False)
class TokenOrder:
    """The tokens that one actor moves at its end of a buffer, numbered from 0 in their order.

    `moves` are the steps that move them, in order; `through` counts the tokens moved up to the
    end of each iteration, or is the tokens of every iteration where they are the same.
    """

    actor: int
    moves: tuple[tuple[int, Get | Put], ...]
    through: int | IntArray

    @classmethod
    def of(
        cls, program: Program, actor: int, kind: type[Get] | type[Put], buffer: int
    ) -> TokenOrder:
        """The order in which `actor` gets from or puts into `buffer`."""
        moves = tuple(
            (step, verb)
            for step, verb in enumerate(program.actors[actor].steps)
            if isinstance(verb, kind) and verb.buffer == buffer
        )
        counts = [verb.count for _, verb in moves]
        total = counts[0]
        for count in counts[1:]:
            total = total + count
        through = np.cumsum(total) if isinstance(total, np.ndarray) else int(total)
        return cls(actor, moves, through)

    def last(self, iteration: int, step: int) -> int:
        """The last token moved when `step` of `iteration` is done, -1 if there is none."""
        moved = self._before(iteration)
        for at, verb in self.moves:
            if at > step:
                break
            moved += count_in(verb, iteration)
        return moved - 1

    def where(self, token: int) -> tuple[int, int]:
        """Iteration and step that move `token`, which is one of those moved in a run."""
        if isinstance(self.through, int):
            iteration = token // self.through
        else:
            iteration = int(np.searchsorted(self.through, token, side="right"))
        rest = token - self._before(iteration)
        for step, verb in self.moves:
            rest -= count_in(verb, iteration)
            if rest < 0:
                return iteration, step
        raise IndexError(f"token {token} is not moved")

    def _before(self, iteration: int) -> int:
        if isinstance(self.through, int):
            return self.through * iteration
        return int(self.through[iteration - 1]) if iteration else 0
