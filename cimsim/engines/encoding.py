"""A Program as one block of words, the form that the compiled engine runs (see `loop`).

Rows refer to each other by their place (index) in the block. In order: a header, buffer rows,
resource rows, actor rows, each with its code behind it, and lists: values (durations and counts
that change from iteration to iteration; an array that several verbs share is stored once),
queues, and the slots of large buffers. Encoding also simplifies, changing no time:

* a resource with no more clients than servers never makes anyone wait: its Use is a Hold;
* tokens that only ever move in groups of k are counted in groups (the last token of a group
  decides when a Get or Put is over, and that token comes and goes with its group).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import chain
from math import gcd

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.program import (
    Actor,
    Count,
    Duration,
    Get,
    Hold,
    IntArray,
    Program,
    Put,
    Use,
    Verb,
)
from cimsim.engines.record import Kept, Part
from cimsim.values.display import brief

_MOVES = {Get: (k.GET_ONE, k.GET_MANY, k.GET_EACH), Put: (k.PUT_ONE, k.PUT_MANY, k.PUT_EACH)}
_CACHE_LINE_B = 64


@brief
@dataclass(frozen=True, eq=False)
class MachineCode:
    """An encoded program at time 0.

    The loop writes a log: for each iteration of an actor, when each of its intervals ended and
    when the iteration ended. `task_rows` (a timed verb a row) and `iteration_rows` (an actor a
    row) say where to read it: first entry, distance of entries, iterations; and for an interval
    whether its duration varies, and the duration or its place in `words`.
    """

    words: IntArray
    buffers_at: int
    resources_at: int
    actors_at: tuple[int, ...]
    cells_at: int
    tokens_per_unit: tuple[int, ...]
    """Tokens of each buffer that count as one in the block."""
    log_size: int
    task_rows: IntArray
    iteration_rows: IntArray


@dataclass(frozen=True, slots=True)
class _Range:
    """A count or duration that varies over the iterations."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The counts of a Get or Put over the iterations."""

    total: int
    divisor: int


def encode(program: Program, kept: Kept | None = None) -> MachineCode:
    """`program` as a block of words, ready to run from time 0.

    With `kept` the log has the ends of its marks alone, actor after actor, and cells say what the
    intervals of each of its groups cover.
    """
    return _Lowering(program, kept).machine()


class _Lowering:
    def __init__(self, program: Program, kept: Kept | None) -> None:
        self.program = program
        self.marks = None if kept is None else kept.marks
        self.parts_of = None if kept is None else kept.parts
        self.cells = () if kept is None else kept.cells
        self.covers_at: dict[tuple[tuple[int, bool, int], ...], int] = {}
        self.covers_of: dict[int, int] = {}
        self.counts: dict[int, _Tokens] = {}
        self.ranges: dict[int, _Range] = {}
        self.lists: dict[tuple[int, int], int] = {}
        self.producer = [0] * len(program.buffers)
        self.consumer = [0] * len(program.buffers)
        self.put_total = [0] * len(program.buffers)
        self.unit = [buffer.initial for buffer in program.buffers]
        self.clients: list[list[int]] = [[] for _ in program.resources]
        self.lookahead = [k.NEVER] * len(program.resources)
        self.actors_at: list[int] = []
        self.task_rows: list[tuple[int, int, int, bool, int]] = []
        self.iteration_rows: list[tuple[int, int, int]] = []
        self.log_size = 0
        self.parts: list[tuple[int, IntArray]] = []
        self.size = 0
        self.reserve(k.HEADER_WIDTH)
        self.buffers_at = self.reserve(k.BUFFER_WIDTH * len(program.buffers))
        self.resources_at = self.reserve(k.RESOURCE_WIDTH * len(program.resources))
        self.cells_at = self.reserve(k.CELL_WIDTH * len(self.cells))
        widest = max(k.WIDTH)
        self.code_at = self.reserve(
            sum(k.ACTOR_WIDTH + widest * (len(a.steps) + 1) for a in program.actors)
        )

    def machine(self) -> MachineCode:
        self.survey()
        self.place_cells()
        self.place_actors()
        self.place_resources()
        self.place_buffers()
        words = _aligned_zeros(self.size)
        for place, values in self.parts:
            words[place : place + values.size] = values
        return MachineCode(
            words,
            self.buffers_at,
            self.resources_at,
            tuple(self.actors_at),
            self.cells_at,
            tuple(self.unit),
            self.log_size,
            np.array(self.task_rows, np.int64).reshape(-1, 5),
            np.array(self.iteration_rows, np.int64).reshape(-1, 3),
        )

    def reserve(self, size: int) -> int:
        """Make room for `size` words; return their place."""
        self.size += size
        return self.size - size

    def add(self, values: IntArray) -> int:
        """Append `values` to the block; return their place."""
        self.parts.append((self.size, values))
        return self.reserve(values.size)

    def survey(self) -> None:
        """Who is at the ends of each buffer and at each resource, and how tokens are grouped."""
        clients, unit, put_total = self.clients, self.unit, self.put_total
        for number, actor in enumerate(self.program.actors):
            iterations = actor.iterations
            for verb in actor.steps:
                if type(verb) is Use:
                    users = clients[verb.resource]
                    if not users or users[-1] != number:
                        users.append(number)
                elif type(verb) is not Hold:
                    buffer, count = verb.buffer, verb.count
                    if type(count) is int:
                        divisor, total = count if iterations else 0, count * iterations
                    else:
                        divisor, total = self.grouping(count, iterations)
                    if divisor != unit[buffer]:
                        unit[buffer] = gcd(unit[buffer], divisor)
                    if type(verb) is Put:
                        put_total[buffer] += total
                        self.producer[buffer] = number
                    else:
                        self.consumer[buffer] = number
        for index, end in enumerate(self.program.buffers):
            if not 1 <= self.unit[index] <= end.capacity:
                self.unit[index] = 1

    def grouping(self, count: Count, iterations: int) -> tuple[int, int]:
        """Greatest common divisor and sum of a count over all iterations."""
        if isinstance(count, np.ndarray):
            tokens = self.tokens(count)
            return tokens.divisor, tokens.total
        return int(count) if iterations else 0, int(count) * iterations

    def tokens(self, counts: IntArray) -> _Tokens:
        known = self.counts.get(id(counts))
        if known is None:
            fits = counts.size == 0 or int(counts.max()) <= k.NEVER // counts.size
            total = int(counts.sum()) if fits else sum(counts.tolist())
            known = _Tokens(total, int(np.gcd.reduce(counts)))
            self.counts[id(counts)] = known
        return known

    def range(self, values: IntArray) -> _Range:
        known = self.ranges.get(id(values))
        if known is None:
            known = _Range(int(values.min()), int(values.max())) if values.size else _Range(0, 0)
            self.ranges[id(values)] = known
        return known

    def place_actors(self) -> None:
        """Actor rows, each with its code behind it."""
        words: list[int] = []
        unit, buffers_at, width = self.unit, self.buffers_at, k.BUFFER_WIDTH
        single = {kind: one for kind, (one, _, _) in _MOVES.items()}
        for number, actor in enumerate(self.program.actors):
            self.actors_at.append(self.code_at + len(words))
            code = self.actors_at[-1] + k.ACTOR_WIDTH
            words += (code, 0, 0, 0, self.log_size, int(self.marks is None))
            intervals: list[tuple[bool, int]] = []
            for step, verb in enumerate(actor.steps):
                if type(verb) is Hold or type(verb) is Use:
                    parts = () if self.parts_of is None else self.parts_of[number][len(intervals)]
                    intervals.append(self.amount(verb.duration))
                    words += self.interval(number, step, *intervals[-1])
                    words.append(self.covers(parts))
                elif type(verb.count) is int and verb.count == unit[verb.buffer]:
                    words += (single[type(verb)], buffers_at + width * verb.buffer)
                else:
                    words += self.move(verb)
            marks = None if self.marks is None else self.marks[number]
            if marks is None:
                words += (k.NEXT, code, actor.iterations)
            else:
                words += (k.NEXT_MARKED, code, actor.iterations, self.add_once(marks))
            if self.marks is None:
                self.lay_out_log(actor.iterations, intervals)
            else:
                self.log_size += actor.iterations if marks is None else marks.size
        self.parts.append((self.code_at, np.array(words, np.int64)))

    def place_cells(self) -> None:
        """Cells that cover nothing yet."""
        rows = np.zeros((len(self.cells), k.CELL_WIDTH), np.int64)
        rows[:, k.CELL_END] = -1
        rows[:, k.CELL_GROUP] = self.cells
        self.parts.append((self.cells_at, rows.ravel()))

    def covers(self, parts: tuple[Part, ...]) -> int:
        """Place of what an interval of these parts covers, 0 where that is nobody's concern."""
        if not parts:
            return 0
        if id(parts) not in self.covers_of:
            self.covers_of[id(parts)] = self.cover_rows(parts)
        return self.covers_of[id(parts)]

    def cover_rows(self, parts: tuple[Part, ...]) -> int:
        rows = tuple(
            (self.cells_at + k.CELL_WIDTH * cell, *self.amount(0 if time is None else time))
            for cell, time in parts
        )
        if rows not in self.covers_at:
            words = [len(rows), *chain.from_iterable(rows)]
            self.covers_at[rows] = self.add(np.array(words, np.int64))
        return self.covers_at[rows]

    def lay_out_log(self, iterations: int, intervals: list[tuple[bool, int]]) -> None:
        stride = len(intervals) + 1
        for entry, (each, duration) in enumerate(intervals):
            self.task_rows.append((self.log_size + entry, stride, iterations, each, duration))
        self.iteration_rows.append((self.log_size + len(intervals), stride, iterations))
        self.log_size += stride * iterations

    def move(self, verb: Get | Put) -> tuple[int, ...]:
        each, count = self.amount(verb.count, self.unit[verb.buffer])
        one, many, varying = _MOVES[type(verb)]
        buffer = self.buffers_at + k.BUFFER_WIDTH * verb.buffer
        if count == 1 and not each:
            return one, buffer
        return varying if each else many, buffer, count

    def interval(self, number: int, step: int, each: bool, duration: int) -> tuple[int, ...]:
        actor = self.program.actors[number]
        verb = actor.steps[step]
        if not (isinstance(verb, Use) and self.contended(verb.resource)):
            return k.HOLD_EACH if each else k.HOLD, duration
        r = verb.resource
        self.lookahead[r] = min(self.lookahead[r], self.least_delay(actor, step))
        resource = self.resources_at + k.RESOURCE_WIDTH * r
        client = bisect_left(self.clients[r], number)
        return k.USE_EACH if each else k.USE, duration, resource, client

    def contended(self, resource: int) -> bool:
        return len(self.clients[resource]) > self.program.resources[resource].servers

    def least_delay(self, actor: Actor, step: int) -> int:
        """Least time between the last verb that may wait and `step` (a Use that may wait)."""
        delay = 0
        for verb in chain(reversed(actor.steps[:step]), reversed(actor.steps[step:])):
            if self.may_wait(verb):
                break
            assert isinstance(verb, (Hold, Use))
            duration = verb.duration
            if isinstance(duration, np.ndarray):
                duration = self.range(duration).low
            delay += duration
        return min(delay, k.NEVER)

    def may_wait(self, verb: Verb) -> bool:
        return isinstance(verb, (Get, Put)) or (
            isinstance(verb, Use) and self.contended(verb.resource)
        )

    def amount(self, amount: Count | Duration, unit: int = 1) -> tuple[bool, int]:
        """(False, value) of an amount that is the same in all iterations, or (True, place)."""
        if not isinstance(amount, np.ndarray):
            return False, int(amount) // unit
        over = self.range(amount)
        if over.low == over.high:
            return False, over.low // unit
        return True, self.add_once(amount, unit)

    def add_once(self, values: IntArray, unit: int = 1) -> int:
        """Place of `values` in units of `unit`, which are in the block once."""
        key = id(values), unit
        if key not in self.lists:
            self.lists[key] = self.add(values // unit if unit > 1 else values)
        return self.lists[key]

    def place_resources(self) -> None:
        """Resource rows, and the lists of those that actors may have to wait for."""
        rows = np.zeros((len(self.program.resources), k.RESOURCE_WIDTH), np.int64)
        rows[:, [k.AGENDA_AT, k.LAST_TURN]] = -1
        rows[:, k.LOOKAHEAD] = self.lookahead
        contended = 0
        for index, resource in enumerate(self.program.resources):
            if not self.contended(index):
                continue
            contended += 1
            users = self.clients[index]
            row = rows[index]
            row[k.CLIENTS] = self.add(np.array([self.actors_at[i] for i in users], np.int64))
            row[k.REQUESTS] = self.reserve(2 * len(users))
            row[k.SERVERS] = self.reserve(resource.servers)
            row[k.SERVER_COUNT] = resource.servers
            if resource.policy == "round_robin":
                row[k.CYCLE] = len(users)
                row[k.CANDIDATES] = self.reserve(2 * len(users))
        self.parts.append((self.resources_at, rows.ravel()))
        self.parts.append((k.AGENDA, np.array([self.reserve(contended)], np.int64)))
        self.parts.append((k.WATCHED, np.array([k.NOBODY], np.int64)))

    def place_buffers(self) -> None:
        """Buffer rows, and slots: no more of them than tokens that ever come."""
        unit = np.array(self.unit, np.int64)
        initial = np.array([b.initial for b in self.program.buffers], np.int64) // unit
        ever = zip(self.program.buffers, self.put_total, strict=True)
        tokens = [min(buffer.capacity, buffer.initial + put) for buffer, put in ever]
        slots = np.maximum(np.array(tokens, np.int64) // unit, 1)
        inline = slots <= k.BUFFER_WIDTH - k.INLINE_SLOTS
        outside = np.where(inline, 0, slots)
        place = self.reserve(int(outside.sum())) + np.cumsum(outside) - outside
        own = self.buffers_at + k.BUFFER_WIDTH * np.arange(unit.size) + k.INLINE_SLOTS
        rows = np.zeros((unit.size, k.BUFFER_WIDTH), np.int64)
        rows[:, k.FIRST] = rows[:, k.HEAD] = first = np.where(inline, own, place)
        rows[:, k.LAST] = first + slots
        rows[:, k.TAIL] = first + initial % slots
        rows[:, k.TOKENS] = initial
        rows[:, k.WAKE_GET] = k.NEVER
        rows[:, k.WAKE_PUT] = -1
        actors_at = np.array([*self.actors_at, 0], np.int64)
        rows[:, k.ENDS] = actors_at[self.producer] << k.ENDS_SHIFT | actors_at[self.consumer]
        self.parts.append((self.buffers_at, rows.ravel()))


def _aligned_zeros(size: int) -> IntArray:
    """Zeros that begin at a cache line, so that a row of 8 words is not spread over two."""
    spare = _CACHE_LINE_B // 8
    block = np.zeros(size + spare, np.int64)
    skip = -block.ctypes.data % _CACHE_LINE_B // 8
    return block[skip : skip + size]
