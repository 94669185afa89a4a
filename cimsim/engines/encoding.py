"""A Program as one block of words, the form that the compiled engine runs (see `loop`).

Rows refer to each other by their place (index) in the block. In order: a header, buffer rows,
resource rows, actor rows, each with its code behind it, and lists: values (durations and counts
that change from iteration to iteration; an array that several verbs share is stored once),
queues, and the slots of large buffers. Encoding also simplifies, changing no time:

* a resource with no more clients than servers never makes anyone wait: its Use is a Hold;
* tokens that only ever move in groups of k are counted in groups (the last token of a group
  decides when a Get or Put is over, and that token comes and goes with its group).

Actors of a troupe, the members of a crew or those of a scene in all times that it stands, have the
same code but for places and amounts: it is written once and stamped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.program import (
    Actor,
    Count,
    Crew,
    Duration,
    Get,
    Hold,
    IntArray,
    Program,
    Put,
    Use,
    Verb,
    rows_of,
    timed_verbs,
)
from cimsim.engines.record import Kept, Part, entries_through
from cimsim.engines.survey import Survey, at_most
from cimsim.engines.times import Slots, TimeTable
from cimsim.engines.troupes import Troupe, alone, troupes
from cimsim.values.display import brief

_MOVES = {Get: (k.GET_ONE, k.GET_MANY, k.GET_EACH), Put: (k.PUT_ONE, k.PUT_MANY, k.PUT_EACH)}
_SOME = {Get: k.GET_SOME, Put: k.PUT_SOME}
_SINGLE = {kind: one for kind, (one, _, _) in _MOVES.items()}
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
    actors_at: IntArray
    cells_at: int
    tokens_per_unit: tuple[int, ...]
    """Tokens of each buffer that count as one in the block."""
    log_size: int
    task_rows: IntArray
    iteration_rows: IntArray
    slots: Slots

    def timed(self, times: TimeTable) -> MachineCode:
        """The same code with other `times`, of the shape that it was encoded with.

        What is kept of a run must be its marks alone: `task_rows` have durations too.
        """
        assert times.shape == self.slots.shape
        assert not self.task_rows.size
        words = _aligned_zeros(self.words.size)
        words[:] = self.words
        self.slots.fill(words, times.values)
        return replace(self, words=words)


@dataclass(frozen=True, slots=True)
class _Range:
    """A count or duration that varies over the iterations."""

    low: int
    high: int


def encode(
    program: Program, kept: Kept | None = None, times: TimeTable | None = None
) -> MachineCode:
    """`program` as a block of words, ready to run from time 0.

    With `kept` the log has the ends of its marks alone, actor after actor, and cells say what the
    intervals of each of its groups cover. With `times` these are its durations. Raises ValueError
    for an array among them that has not one entry an iteration.
    """
    return _Lowering(program, kept, times or TimeTable.of(program)).machine()


Stamps: TypeAlias = list[tuple[int, IntArray]]
"""Places in the code of a member, and what is added there for each."""


class _Lowering:
    def __init__(self, program: Program, kept: Kept | None, times: TimeTable) -> None:
        self.program, self.times = program, times
        self.marks = None if kept is None else kept.marks
        self.parts_of = None if kept is None else kept.parts
        self.cells = () if kept is None else kept.cells
        self.covers_at: dict[tuple[tuple[int, bool, int], ...], int] = {}
        self.covers_of: dict[int, int] = {}
        self.ranges: dict[int, _Range] = {}
        self.lists: dict[tuple[int, int], int] = {}
        self.seen = Survey(program)
        self.unit, self.waits = self.seen.unit, self.seen.waits
        self.units = np.array(self.unit, np.int64)
        self.holes: list[tuple[IntArray, int]] = []
        self.timed_at: dict[int, int] = {}
        self.delays: list[set[tuple[int, ...]]] = [set() for _ in program.resources]
        self.actors_at = np.zeros(program.actor_count, np.int64)
        self.task_rows: list[IntArray] = []
        self.iteration_rows: list[IntArray] = []
        self.tasks_alone: list[tuple[int, ...]] = []
        self.turns_alone: list[tuple[int, ...]] = []
        through = entries_through(program, self.marks)
        self.log_at, self.log_size = through[:-1], int(through[-1])
        self.parts: list[tuple[int, IntArray]] = []
        self.size = 0
        self.reserve(k.HEADER_WIDTH)
        self.buffers_at = self.reserve(k.BUFFER_WIDTH * program.buffer_count)
        self.resources_at = self.reserve(k.RESOURCE_WIDTH * len(program.resources))
        self.cells_at = self.reserve(k.CELL_WIDTH * len(self.cells))
        widest = max(k.WIDTH)
        self.code_at = self.reserve(
            sum(
                each.numbers.size
                * (k.ACTOR_WIDTH + widest * (sum(map(rows_of, each.actor.steps)) + 1))
                for each in program.companies
            )
        )

    def machine(self) -> MachineCode:
        self.place_cells()
        self.place_actors()
        self.lay_out_alone()
        self.place_resources()
        self.place_buffers()
        words = _aligned_zeros(self.size)
        for place, values in self.parts:
            words[place : place + values.size] = values.ravel()
        slots = self.slots()
        slots.fill(words, self.times.values)
        return MachineCode(
            words,
            self.buffers_at,
            self.resources_at,
            self.actors_at,
            self.cells_at,
            tuple(self.unit),
            self.log_size,
            _in_turn(np.concatenate([np.zeros((0, 6), np.int64), *self.task_rows])),
            _in_turn(np.concatenate([np.zeros((0, 4), np.int64), *self.iteration_rows])),
            slots,
        )

    def slots(self) -> Slots:
        """Where durations stand."""
        nothing = np.zeros(0, np.int64)
        delayed: dict[frozenset[tuple[int, ...]], list[int]] = {}
        for resource, sums in enumerate(self.delays):
            if sums:
                place = self.resources_at + k.RESOURCE_WIDTH * resource + k.LOOKAHEAD
                delayed.setdefault(frozenset(sums), []).append(place)
        return Slots(
            self.times.shape,
            np.concatenate([nothing, *(places for places, _ in self.holes)]),
            np.repeat(
                np.array([number for _, number in self.holes], np.int64),
                [places.size for places, _ in self.holes],
            ),
            tuple((place, number) for number, place in self.timed_at.items()),
            tuple((np.array(places), sums) for sums, places in delayed.items()),
        )

    def reserve(self, size: int) -> int:
        """Make room for `size` words; return their place."""
        self.size += size
        return self.size - size

    def add(self, values: IntArray) -> int:
        """Append `values` to the block; return their place."""
        self.parts.append((self.size, values))
        return self.reserve(values.size)

    def range(self, values: IntArray) -> _Range:
        known = self.ranges.get(id(values))
        if known is None:
            known = _Range(int(values.min()), int(values.max())) if values.size else _Range(0, 0)
            self.ranges[id(values)] = known
        return known

    def place_actors(self) -> None:
        """Actor rows, each with its code behind it."""
        words: list[int] = []
        begin = self.code_at
        for group, number, role in self.program.alone:
            if isinstance(group, Crew):
                begin = self.place(begin, np.array(words, np.int64))
                words = []
                begin = self.place(begin, self.troupe(alone(group, number, role, self.seen), begin))
            else:
                self.actors_at[number] = begin + len(words)
                self.place_actor(group, number, role, words, begin)
        begin = self.place(begin, np.array(words, np.int64))
        for stand in self.program.stands:
            for troupe in troupes(stand, self.units, self.marks, self.seen):
                begin = self.place(begin, self.troupe(troupe, begin))

    def place(self, begin: int, values: IntArray) -> int:
        """Put `values` into the block at `begin`; return the place behind them."""
        self.parts.append((begin, values))
        return begin + values.size

    def place_actor(
        self, actor: Actor, number: int, role: int, words: list[int], begin: int
    ) -> None:
        """Append an actor that stands alone, and its code, to the `words` from `begin` on."""
        unit, buffers_at, width = self.unit, self.buffers_at, k.BUFFER_WIDTH
        code = begin + len(words) + k.ACTOR_WIDTH
        log_at = int(self.log_at[number])
        words += (code, 0, 0, 0, log_at, int(self.marks is None))
        intervals: list[tuple[bool, int]] = []
        for step, verb in enumerate(actor.steps):
            if type(verb) is Hold or type(verb) is Use:
                parts = () if self.parts_of is None else self.parts_of[role][len(intervals)]
                time = self.times.numbers[role][len(intervals)]
                intervals.append(self.time(time, actor.iterations))
                if not intervals[-1][0]:
                    self.holes.append((np.array([begin + len(words) + 1]), time))
                client = next(self.seen.alone) if type(verb) is Use else 0
                if type(verb) is Use and self.waits[verb.resource]:
                    self.delays[verb.resource].add(self.delay(actor, role, step))
                words += self.interval(verb, *intervals[-1], client)
                words.append(self.covers(parts))
            elif type(verb.count) is int and verb.count == unit[verb.buffer]:
                words += (_SINGLE[type(verb)], buffers_at + width * verb.buffer)
            elif isinstance(verb.count, np.ndarray) and verb.count.ndim > 1:
                words += self.moves(verb, verb.count)
            else:
                words += self.move(verb)
        marks = None if self.marks is None else self.marks[role]
        if marks is None:
            words += (k.NEXT, code, actor.iterations)
        else:
            words += (k.NEXT_MARKED, code, actor.iterations, self.add_once(marks))
        if self.marks is None:
            stride, turns = len(intervals) + 1, actor.iterations
            self.tasks_alone += [
                (number, log_at + entry, stride, turns, *each)
                for entry, each in enumerate(intervals)
            ]
            self.turns_alone.append((number, log_at + len(intervals), stride, turns))

    def moves(self, verb: Get | Put, counts: IntArray) -> list[int]:
        """Code of a move at one buffer after another, each with a row of `counts`."""
        rows, iterations = counts.shape
        units = self.units[verb.buffer : verb.buffer + rows]
        buffers = self.buffers_at + k.BUFFER_WIDTH * (verb.buffer + np.arange(rows))
        over = self.range(counts)
        one, many, varying = _MOVES[type(verb)]
        if over.low == over.high:
            if (units == over.low).all():
                return np.stack([np.full(rows, one), buffers], axis=1).ravel().tolist()
            counts = over.low // units
            return np.stack([np.full(rows, many), buffers, counts], axis=1).ravel().tolist()
        if over.high == 1 and (units == 1).all():
            some = _SOME[type(verb)]
            return [some, int(buffers[0]), self.some(counts), rows]
        place = self.add(counts // units[:, np.newaxis])
        lists = place + iterations * np.arange(rows)
        return np.stack([np.full(rows, varying), buffers, lists], axis=1).ravel().tolist()

    def some(self, counts: IntArray) -> int:
        """Place of the list that has for each iteration the place of the rows with a token."""
        key = id(counts), 0
        if key not in self.lists:
            known: dict[bytes, int] = {}
            places = []
            # counted: each is 0 or 1, a byte
            columns, rows = counts.T.astype(np.int8).tobytes(), len(counts)
            for at in range(0, len(columns), rows):
                column = columns[at : at + rows]
                if column not in known:
                    behind = k.BUFFER_WIDTH * np.flatnonzero(np.frombuffer(column, np.int8))
                    known[column] = self.add(np.append(behind.size, behind))
                places.append(known[column])
            self.lists[key] = self.add(np.array(places, np.int64))
        return self.lists[key]

    def troupe(self, troupe: Troupe, begin: int) -> IntArray:
        """Rows and code of the actors of a troupe from `begin` on, a row for each of a role."""
        words: list[int] = []
        stamps: Stamps = []
        starts: list[int] = []
        inner: list[int] = []
        logs: list[tuple[IntArray, list[tuple[bool, int]]]] = []
        holes: list[tuple[int, int]] = []
        for own, actor in enumerate(troupe.actors):
            starts.append(len(words))
            code = begin + len(words) + k.ACTOR_WIDTH
            log_at = self.log_at[troupe.numbers[own]]
            stamps.append((len(words) + k.LOG, log_at))
            words += (code, 0, 0, 0, 0, int(self.marks is None))
            intervals: list[tuple[bool, int]] = []
            for step, verb in enumerate(actor.steps):
                if isinstance(verb, Hold | Use):
                    duration = self.times.numbers[troupe.roles[0] + own][len(intervals)]
                    intervals.append(self.time(duration, actor.iterations))
                    if not intervals[-1][0]:
                        holes.append((len(words) + 1, duration))
                    self.stamp_interval(troupe, own, step, intervals[-1], words, stamps)
                    self.stamp_covers(troupe, own, len(intervals) - 1, words, stamps)
                else:
                    self.stamp_move(troupe, verb, words, stamps)
            inner += (starts[-1], len(words) + 1)
            self.stamp_end(troupe, own, code, words, stamps)
            logs.append((log_at, intervals))
        if self.marks is None:
            tasks, iterations = troupe.log_rows(logs)
            self.task_rows.append(tasks)
            self.iteration_rows.append(iterations)
        at, width = np.arange(troupe.count), len(words)
        for own, start in enumerate(starts):
            self.actors_at[troupe.numbers[own]] = begin + start + width * at
        self.holes += [(begin + place + width * at, duration) for place, duration in holes]
        rows = np.empty((at.size, width), np.int64)
        rows[:] = words
        stamps += [(place, width * at) for place in inner]
        rows[:, [place for place, _ in stamps]] += np.stack([more for _, more in stamps], axis=1)
        return rows

    def stamp_interval(
        self, troupe: Troupe, own: int, step: int, amount: tuple[bool, int], words: list[int],
        stamps: Stamps,
    ) -> None:  # fmt: skip
        """A Hold or Use of every actor of a role."""
        actor, begin = troupe.actors[own], len(words)
        verb = actor.steps[step]
        if amount[0]:
            stamps.append((begin + 1, troupe.begins))
        words += self.interval(verb, *amount, 0)
        if not isinstance(verb, Use):
            return
        clients = next(troupe.clients)
        if self.waits[verb.resource]:
            stamps.append((begin + 3, clients))
            delay = self.delay(actor, troupe.roles[0] + own, step)
            places, all_of = troupe.resources_of(verb)
            for place in all_of:
                self.delays[place].add(delay)
            if (places != verb.resource).any():
                stamps.append((begin + 2, k.RESOURCE_WIDTH * (places - verb.resource)))

    def stamp_covers(
        self, troupe: Troupe, own: int, entry: int, words: list[int], stamps: Stamps
    ) -> None:
        """What an interval covers, which is not the same for members whose amounts differ."""
        if self.parts_of is None:
            words.append(0)
            return
        found = [self.parts_of[role + own][entry] for role in troupe.roles]
        if any(each for parts in found for _, each, _ in map(self.cover_row, parts)):
            stamps.append((len(words), np.ravel([self.covers_each(troupe, p) for p in found])))
            words.append(0)
            return
        places = [self.covers(parts) for parts in found]
        if len(places) > 1:
            stamps.append((len(words), np.repeat(places, troupe.members) - places[0]))
        words.append(places[0])

    def covers_each(self, troupe: Troupe, parts: tuple[Part, ...]) -> IntArray:
        """Places of what an interval of these parts covers, for each member."""
        rows = [self.cover_row(part) for part in parts]
        head = np.array([len(rows), *chain.from_iterable(rows)], np.int64)
        table = np.tile(head, (troupe.members, 1))
        for at, (_, each, _) in enumerate(rows):
            if each:
                table[:, 3 + 3 * at] += troupe.begins[: troupe.members]
        return np.asarray(self.add(table) + table.shape[1] * np.arange(troupe.members))

    def stamp_move(self, troupe: Troupe, verb: Get | Put, words: list[int], stamps: Stamps) -> None:
        """A Get or Put of every actor of a role, each at a buffer of its own."""
        begin, buffers = len(words), troupe.buffers_of(verb)
        first = int(buffers[0])
        behind = k.BUFFER_WIDTH * (buffers - first)
        if troupe.members == 1:
            same = first == verb.buffer
            code = self.moves_of(verb if same else type(verb)(first, verb.count))
            step = len(code) if code[0] in _SOME.values() else k.WIDTH[code[0]]
            stamps += [(begin + place, behind) for place in range(1, len(code), step)]
            words += code
            return
        units = self.units[first : first + troupe.members]
        one, many, varying = _MOVES[type(verb)]
        place = self.buffers_at + k.BUFFER_WIDTH * first
        stamps.append((begin + 1, behind))
        if isinstance(verb.count, np.ndarray):
            scaled = verb.count // np.repeat(units, troupe.sizes[: troupe.members])
            words += (varying, place, self.add(scaled))
            stamps.append((begin + 2, troupe.begins))
        elif (units == verb.count).all():
            words += (one, place)
        else:
            words += (many, place, 0)
            stamps.append((begin + 2, np.tile(verb.count // units, len(troupe.roles))))

    def moves_of(self, verb: Get | Put) -> list[int]:
        """Code of a move of an actor that stands alone."""
        if isinstance(verb.count, np.ndarray) and verb.count.ndim > 1:
            return self.moves(verb, verb.count)
        return list(self.move(verb))

    def stamp_end(
        self, troupe: Troupe, own: int, code: int, words: list[int], stamps: Stamps
    ) -> None:
        """The end of an iteration, which is kept where it is marked."""
        marks = None if self.marks is None else self.marks[troupe.roles[0] + own]
        stamps.append((len(words) + 2, troupe.sizes))
        if marks is None:
            words += (k.NEXT, code, 0)
            return
        sizes = troupe.sizes[: troupe.members]
        counts = np.diff(np.searchsorted(marks, np.cumsum(sizes)), prepend=0)
        key = id(marks), troupe.sizes_id
        if key not in self.lists:
            begins = np.cumsum(sizes) - sizes
            self.lists[key] = self.add(marks - np.repeat(begins, counts))
        stamps.append((len(words) + 3, np.tile(np.cumsum(counts) - counts, len(troupe.roles))))
        words += (k.NEXT_MARKED, code, 0, self.lists[key])

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

    def cover_row(self, part: Part) -> tuple[int, bool, int]:
        cell, time = part
        return self.cells_at + k.CELL_WIDTH * cell, *self.amount(0 if time is None else time)

    def cover_rows(self, parts: tuple[Part, ...]) -> int:
        rows = tuple(self.cover_row(part) for part in parts)
        if rows not in self.covers_at:
            words = [len(rows), *chain.from_iterable(rows)]
            self.covers_at[rows] = self.add(np.array(words, np.int64))
        return self.covers_at[rows]

    def lay_out_alone(self) -> None:
        """Where to read those of actors that stand alone."""
        if self.tasks_alone:
            self.task_rows.append(np.array(self.tasks_alone, np.int64))
        if self.turns_alone:
            self.iteration_rows.append(np.array(self.turns_alone, np.int64))

    def move(self, verb: Get | Put) -> tuple[int, ...]:
        each, count = self.amount(verb.count, self.unit[verb.buffer])
        one, many, varying = _MOVES[type(verb)]
        buffer = self.buffers_at + k.BUFFER_WIDTH * verb.buffer
        if count == 1 and not each:
            return one, buffer
        return varying if each else many, buffer, count

    def interval(self, verb: Verb, each: bool, duration: int, client: int) -> tuple[int, ...]:
        if not (isinstance(verb, Use) and self.waits[verb.resource]):
            return k.HOLD_EACH if each else k.HOLD, duration
        resource = self.resources_at + k.RESOURCE_WIDTH * verb.resource
        return k.USE_EACH if each else k.USE, duration, resource, client

    def delay(self, actor: Actor, role: int, step: int) -> tuple[int, ...]:
        """Durations between the last verb that may wait and `step` (a Use that may wait)."""
        steps, numbers = actor.steps, self.times.numbers[role]
        timed = timed_verbs(steps)
        found = []
        for place in chain(range(step - 1, -1, -1), range(len(steps) - 1, step - 1, -1)):
            if self.may_wait(steps[place]):
                break
            found.append(numbers[timed.index(place)])
        return tuple(sorted(found))

    def time(self, number: int, iterations: int) -> tuple[bool, int]:
        """(False, value) of a duration that is the same in all iterations, or (True, place)."""
        value = self.times.values[number]
        if not isinstance(value, np.ndarray):
            return False, value
        if value.shape != (iterations,):
            raise ValueError(f"duration {number}: {iterations} entries wanted, got {value.shape}")
        if number not in self.timed_at:
            self.timed_at[number] = self.reserve(value.size)
        return True, self.timed_at[number]

    def may_wait(self, verb: Verb) -> bool:
        return isinstance(verb, (Get, Put)) or (isinstance(verb, Use) and self.waits[verb.resource])

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
        rows[:, k.LOOKAHEAD] = k.NEVER
        contended = 0
        for index, resource in enumerate(self.program.resources):
            if not self.waits[index]:
                continue
            contended += 1
            users = self.actors_at[self.seen.clients(index)]
            row = rows[index]
            row[k.CLIENTS] = self.add(users)
            row[k.REQUESTS] = self.reserve(2 * users.size)
            row[k.SERVERS] = self.reserve(resource.servers)
            row[k.SERVER_COUNT] = resource.servers
            if resource.policy == "round_robin":
                row[k.CYCLE] = users.size
                row[k.CANDIDATES] = self.reserve(2 * users.size)
        self.parts.append((self.resources_at, rows.ravel()))
        self.parts.append((k.AGENDA, np.array([self.reserve(contended)], np.int64)))
        self.parts.append((k.WATCHED, np.array([k.NOBODY], np.int64)))

    def place_buffers(self) -> None:
        """Buffer rows, and slots: no more of them than tokens that ever come."""
        unit = self.units
        initial = self.seen.initial // unit
        room = self.seen.capacity - self.seen.initial
        put = at_most(self.seen.put_total, k.NEVER)
        slots = np.maximum((self.seen.initial + np.minimum(room, put)) // unit, 1)
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
        actors_at = np.append(self.actors_at, 0)
        rows[:, k.ENDS] = (
            actors_at[self.seen.producer] << k.ENDS_SHIFT | actors_at[self.seen.consumer]
        )
        self.parts.append((self.buffers_at, rows.ravel()))


def _in_turn(rows: IntArray) -> IntArray:
    """Rows in the order of the actors that they begin with, without those."""
    return rows[np.argsort(rows[:, 0], kind="stable"), 1:]


def _aligned_zeros(size: int) -> IntArray:
    """Zeros that begin at a cache line, so that a row of 8 words is not spread over two."""
    spare = _CACHE_LINE_B // 8
    block = np.zeros(size + spare, np.int64)
    skip = -block.ctypes.data % _CACHE_LINE_B // 8
    return block[skip : skip + size]
