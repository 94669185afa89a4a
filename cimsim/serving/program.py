"""A stream of requests as a Program: inference, switches and loads, overlapping where they may.

A request holds the machine for as long as it takes alone, cut where it first and last uses a
weight that is written. A weight may be written for the next request, once that is known, from its
last use on; its first use there waits, and with it all that follows. The next request is known
once it has come and the one before has begun. A write takes its own time at least, and queues at
what writes share: drivers of a kind of unit, the link, buffer and DRAM, of which all but the first
also serve inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
from cimsim.engines.record import Kept
from cimsim.serving.jobs import ALL, RequestWork
from cimsim.serving.requests import RequestStream
from cimsim.serving.switches import LINK, Loading
from cimsim.serving.uses import SHARED, Uses
from cimsim.values.display import brief

IN, OUT, DRAM = "buffer in", "buffer out", "dram"


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A program of one actor a role, and the actor whose iterations are the requests."""

    program: Program
    server: int

    def kept(self) -> Kept:
        """What is wanted of a run: when each request ended, and nothing of all else."""
        lasts = [np.arange(a.iterations)[-1:] for a in self.program.roles]
        marks = [None if n == self.server else last for n, last in enumerate(lasts)]
        return Kept.ends(self.program, marks)


def lay_out(
    stream: RequestStream,
    jobs: Sequence[RequestWork],
    uses: Sequence[Uses],
    mode: IntArray,
    loading: Loading,
    *,
    prefetch: bool,
) -> Laid:
    """The program of `stream`; request i is alone as `uses[mode[i]]` says and brings `jobs[i]`."""
    return _Layout(stream, jobs, uses, mode, loading, prefetch).laid()


class _Layout:
    def __init__(
        self, stream: RequestStream, jobs: Sequence[RequestWork], uses: Sequence[Uses],
        mode: IntArray, loading: Loading, prefetch: bool,
    ) -> None:  # fmt: skip
        self.stream, self.uses, self.mode = stream, uses, mode
        self.loading, self.prefetch = loading, prefetch
        self.count = len(jobs)
        self.builder = ProgramBuilder()
        self._known: dict[bytes, IntArray] = {}
        self.modes = [m for m in range(len(uses)) if (mode == m).any()]
        numbers: dict[int, int] = {}
        kind = np.array([numbers.setdefault(id(job), len(numbers)) for job in jobs], np.int64)
        kinds = [jobs[i] for i in np.unique(kind, return_index=True)[1].tolist()]
        # Requests that bring the same are the same object: what a weight takes is found once.
        self._kinds = kinds, kind
        self.weights = list(dict.fromkeys(name for job in kinds for name in job.writes))
        self.written = {
            name: self._one(np.array([name in job.writes for job in kinds], np.int64)[kind])
            for name in self.weights
        }
        self.queues = self._queues()
        self.resources = {
            name: self.builder.resource(name, 1, self._policy(name)) for name in SHARED
        }
        for queue in self.queues:
            if queue not in (IN, OUT, DRAM):
                self.resources[queue] = self.builder.resource(f"writes: {queue}")

    def _one(self, values: IntArray) -> IntArray:
        """`values`, the same object for equal ones: the engine keeps numbers of an object once."""
        return self._known.setdefault(values.tobytes(), values)

    def _policy(self, name: str) -> Policy:
        machine = self.loading.architecture
        return machine.buffer.arbitration if name == "buffer" else machine.dram.arbitration

    def _queues(self) -> dict[str, dict[str, IntArray]]:
        """Time (ps) in each queue of each weight that uses it, request by request."""
        kinds, kind = self._kinds
        found: dict[str, dict[str, IntArray]] = {}

        def put(queue: str, name: str, of_kind: int, time_ps: int) -> None:
            if time_ps:
                of = found.setdefault(queue, {})
                if name not in of:
                    of[name] = np.zeros(len(kinds), np.int64)
                of[name][of_kind] = time_ps

        for number, job in enumerate(kinds):
            for name, write in job.writes.items():
                put(DRAM, name, number, self.loading.dram_ps(write.dram_bits))
                put(IN, name, number, self.loading.buffer_ps(write.dram_bits))
                put(OUT, name, number, self.loading.buffer_ps(write.bits))
                for queue, time_ps in write.queued_ps.items():
                    put(queue, name, number, time_ps)
        return {
            queue: {name: self._one(times[kind]) for name, times in of.items()}
            for queue, of in found.items()
        }

    def _each(self, name: str, field: str) -> IntArray:
        """A field of the write of a weight, request by request; 0 where it is not written."""
        kinds, kind = self._kinds
        of_kind = [getattr(k.writes[name], field) if name in k.writes else 0 for k in kinds]
        return np.array(of_kind, np.int64)[kind]

    def fifo(self, name: str) -> int:
        return self.builder.buffer(name, self.count + 1)

    def laid(self) -> Laid:
        """Put all actors together."""
        build, n = self.builder, self.count
        started = self.fifo("started")
        turn = {m: self.fifo(f"turn {m}") for m in self.modes}
        over = {m: self.fifo(f"over {m}") for m in self.modes}
        first: list[Verb] = []
        known: list[Verb] = []
        if (arrival := self.stream.arrival_ps) is not None:
            come, seen = self.fifo("come"), self.fifo("seen")
            gaps = np.diff(arrival, prepend=0)
            build.actor("arrivals", n, Hold(gaps), Put(come), Put(seen))
            first, known = [Get(come)], [Get(seen)]
        server = build.actor(
            "requests", n, *first, Put(started),
            *(Put(turn[m], self._is(m)) for m in self.modes),
            *(Get(over[m], self._is(m)) for m in self.modes),
        )  # fmt: skip
        due = {name: self.fifo(f"due {name}") for name in self.weights}
        fetch = {n: self.fifo(f"fetch {n}") for n in self.weights if n in self.queues.get(DRAM, {})}
        announced = [Put(due[name], self.written[name]) for name in self.weights]
        if self.prefetch:
            announced += [Put(fetch[name], self._loads(name)) for name in fetch]
        later = np.ones(n, np.int64)
        later[0] = 0
        build.actor("next", n, *known, Get(started, later), *announced)
        ready = {(m, w): self.fifo(f"ready {m} {w}") for m in self.modes for w in self.weights}
        free = {(m, w): self.fifo(f"free {m} {w}") for m in self.modes for w in self.weights}
        for m in self.modes:
            self._inference(m, turn[m], over[m], ready, free)
        asks: dict[tuple[str, str], tuple[int, int]] = {
            (queue, name): (self.fifo(f"{queue} for {name}"), self.fifo(f"{queue} had {name}"))
            for queue, names in self.queues.items()
            for name in names
        }
        fetched = {name: self.fifo(f"fetched {name}") for name in fetch}
        for name in self.weights:
            self._writer(name, due, fetch, fetched, ready, free, asks)
        for name in fetch:
            self._fetcher(name, fetch[name], fetched[name], asks)
        for queue in self.queues:
            self._queue(queue, asks)
        return Laid(build.build(), server)

    def _is(self, m: int) -> IntArray:
        return self._one(np.asarray(self.mode == m, np.int64))

    def _loads(self, name: str) -> IntArray:
        """1 for requests that load something of a weight out of DRAM."""
        return self._one((self.queues[DRAM][name] > 0).astype(np.int64))

    def _inference(
        self, m: int, turn: int, over: int, ready: dict[tuple[int, str], int],
        free: dict[tuple[int, str], int],
    ) -> None:  # fmt: skip
        """Requests of one workload: stretches of work between uses of weights that are written."""
        uses, mine = self.uses[m], np.flatnonzero(self.mode == m)
        end = uses.latency_ps
        marks: list[tuple[int, int, Verb]] = []
        for name in self.weights:
            needed = self._one(self.written[name][mine])
            given = self._one(np.append(self.written[name], 0)[mine + 1])
            opens, closes = uses.first_ps.get(name, end), uses.last_ps.get(name, 0)
            if name == ALL:
                opens, closes = 0, end
            marks.append((opens, 0, Get(ready[m, name], needed)))
            marks.append((closes, 1, Put(free[m, name], given)))
        marks.sort(key=lambda mark: mark[:2])
        cuts = np.array(sorted({0, end, *(at for at, _, _ in marks)}), np.int64)
        beside = self._beside(m, cuts, mine.size)
        steps: list[Verb] = [Get(turn)]
        for k, at in enumerate(cuts.tolist()):
            steps += [verb for when, _, verb in marks if when == at]
            if at < end:
                steps += [Put(go) for go, _, busy in beside if busy[k]]
                steps.append(Hold(int(cuts[k + 1]) - at))
                steps += [Get(back) for _, back, busy in beside if busy[k]]
        self.builder.actor(f"inference {m}", mine.size, *steps, Put(over))

    def _beside(self, m: int, cuts: IntArray, requests: int) -> list[tuple[int, int, IntArray]]:
        """Actors that use what loads use too, in each stretch for as long as inference does."""
        made = []
        wanted = {DRAM, LINK} & set(self.queues) | ({"buffer"} if OUT in self.queues else set())
        for name in sorted(wanted & set(self.uses[m].traffic)):
            busy = np.diff(self.uses[m].traffic[name].until(cuts))
            if busy.any():
                go, back = self.fifo(f"{name} for {m}"), self.fifo(f"{name} had {m}")
                each = [
                    verb
                    for time_ps in busy.tolist() if time_ps
                    for verb in (Get(go), Use(self.resources[name], time_ps), Put(back))
                ]  # fmt: skip
                self.builder.actor(f"inference {m}: {name}", requests, *each)
                made.append((go, back, busy))
        return made

    def _writer(
        self, name: str, due: dict[str, int], fetch: dict[str, int], fetched: dict[str, int],
        ready: dict[tuple[int, str], int], free: dict[tuple[int, str], int],
        asks: dict[tuple[str, str], tuple[int, int]],
    ) -> None:  # fmt: skip
        """Writes of one weight, request by request."""
        mine = np.flatnonzero(self.written[name])
        before = np.where(mine > 0, self.mode[mine - 1], -1)
        own = self._one(self._each(name, "kept_ps")[mine])
        steps: list[Verb] = [Get(due[name])]
        steps += [Get(free[m, name], self._one((before == m).astype(np.int64))) for m in self.modes]
        loads = self._one(self._loads(name)[mine]) if name in fetch else None
        if loads is not None and not self.prefetch:
            steps.append(Put(fetch[name], loads))
        after: list[Verb] = []
        for queue, times in self.queues.items():
            if name in times and queue not in (DRAM, IN):
                used = self._one((times[name][mine] > 0).astype(np.int64))
                ask, had = asks[queue, name]
                steps.append(Put(ask, used))
                after.append(Get(had, used))
        if loads is not None:
            after.append(Get(fetched[name], loads))
        after += [
            Put(ready[m, name], self._one((self.mode[mine] == m).astype(np.int64)))
            for m in self.modes
        ]
        self.builder.actor(f"write {name}", mine.size, *steps, Hold(own), *after)

    def _fetcher(
        self, name: str, fetch: int, fetched: int, asks: dict[tuple[str, str], tuple[int, int]]
    ) -> None:
        """Loads of one weight out of DRAM into the buffer, and on as long as it is written."""
        mine = np.flatnonzero(self._loads(name))
        whole = self._one(self._each(name, "fetched_ps")[mine])
        (dram, had), (into, been) = asks[DRAM, name], asks[IN, name]
        self.builder.actor(
            f"fetch {name}", mine.size, Get(fetch), Put(dram), Put(into), Hold(whole), Get(had),
            Get(been), Put(fetched),
        )  # fmt: skip

    def _queue(self, queue: str, asks: dict[tuple[str, str], tuple[int, int]]) -> None:
        """What writes share: weights in order, request by request."""
        resource = self.resources["buffer" if queue in (IN, OUT) else queue]
        steps: list[Verb] = []
        for name, times in self.queues[queue].items():
            ask, had = asks[queue, name]
            used = self._one((times > 0).astype(np.int64))
            steps += [Get(ask, used), Use(resource, times), Put(had, used)]
        self.builder.actor(f"queue {queue}", self.count, *steps)
