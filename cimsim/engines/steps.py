"""Steps of a run that differ only in their durations, as machine code over many steps at once.

A run is quiet at t where one request, made at t, is all that is pending and no clock is beyond t.
All that is to come follows from this request and happens at t or later, while the times that
slots, servers and actors have from the past are t at most: none makes anybody wait. So what is to
come depends on these alone:

* what each actor runs next, how much it has left of a move and, where only some buffers have part
  in that, which (from these, the loop's marks of who wakes whom follow);
* the tokens in each buffer (which slots they lie in is a matter of names);
* whose turn it is at a resource by round robin (others wait for nobody, and all are free);
* durations, counts and buffers that change from iteration to iteration, and how many follow.

Where the run is quiet again with the first three as before, word by word (`state`), what it did in
between is a step, which is noted as it is done. The next one does the same in the same order if

* its counts and buffers are the same and a Use takes time where it did and none where not, that
  which opens the step after it among them; nobody comes to an end or to a mark (`lower`);
* every shared resource serves its requests in the same order, which is all that times decide (see
  `program`). First come, first served: requests in the order of grants stand in the order of time,
  then client. Round robin: each comes after the grant before the one that it first had a chance
  at, and not after that one; then all grants choose among the same;
* it is quiet at the end: no clock is beyond the request that opens the step after it. Then this
  comes after all grants, as services take 1 ps at least, and nothing of it is left in the next.

So the step is put into straight code (`lower`) and run for BATCH further steps at once, each from
its own time 0 and with its own durations (`replay`); the last two are looked at in every one. Steps
from the first on that differs are left to the loop. `tests/test_steps_proof.py` has for each clause
a program that ends at other times without it.

The constants stand in this file and `loop` because Numba's cache looks only at these files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cimsim.engines import loop as k
from cimsim.engines.loop import Words
from cimsim.runtime.jit import njit

BATCH = 8
"""Choice: steps side by side, one cache line of times."""
TIME_MAX_PS = 2**40
"""Choice: longer durations, of a second, are left to the loop, so that no sum overflows."""

_inline = njit(cache=True, inline="always")
u = np.uint64

# code: an operation and its operands; actors, slots, cells, resources by number
(MOVE,  # actor, slot
 ADD, ADD_EACH,  # actor, time; actor, place, distance of steps
 LOG,  # actor, place, distance of steps
 START, PART, PART_EACH, LAST,  # actor; cell, time; cell, place, distance; cell, actor
 FIFO,  # resource, actor, 1 where the request must be later than the one before
 FIRST, ALSO,  # actor
 FREE, AGAIN,  # resource
 JOIN, GRANT, SERVE,  # resource, actor
 ) = range(16)  # fmt: skip
CODE_WIDTH = 4

# resource row of lowered code: its place, first server, servers, grants noted, last client,
# candidates, 1 for round robin
PLACE, FIRST_SERVER, SERVERS, LAST_CLIENT, WAITING, TURNS = range(6)

# of an actor, behind its number: entries that it logs in a step, the iteration it was in before
ENTRIES, BEFORE = 1, 2

# what is found in a step: words of code, further steps at most, actors, slots, cells, resources,
# servers, log entries, parts of covers, actor whose request opens a step, requests joined
(CODE, STEPS, ACTORS, SLOTS, CELLS, RESOURCES, ALL_SERVERS, LOGGED, COVERED, ANCHOR, JOINED,
 ) = range(11)  # fmt: skip


class StepCode(NamedTuple):
    """A step as straight code.

    `code` has `found[CODE]` rows, `groups` the group of each cell, `resources` a row each. `number`
    has by place in the words of the run the number of an actor, slot, cell or resource, from 1 on,
    and behind that of an actor `ENTRIES` and `BEFORE`. `joined` are the actors whose requests have
    come to the candidates since the last grant by turns.
    """

    code: Words
    found: Words
    groups: Words
    resources: Words
    number: Words
    joined: Words


@njit(cache=True)
def lower(
    m: Words, trace: Words, actors: Words, iterations: Words, resources: int, cells: int,
    number: Words,
) -> StepCode:  # fmt: skip
    """The step in `trace`, at whose end the run is.

    `iterations` are those in which `actors` were when it began; the run has so many `resources` and
    `cells`. `number` are as many zeros as `m` has words, few of which are looked at.
    """
    for n in range(actors.size):
        number[actors[n] + BEFORE] = iterations[n]
    room, limit = _bounds(m, trace, number)
    s = StepCode(
        np.empty((room, CODE_WIDTH), np.int64),
        np.zeros(11, np.int64),
        np.zeros(cells, np.int64),
        np.zeros((resources, 6), np.int64),
        number,
        np.empty(room, np.int64),
    )
    s.found[STEPS] = limit
    for n in range(trace[k.TRACE_USED]):
        at = k.TRACE_FIRST + k.TRACE_WIDTH * n
        kind, a, x, y = trace[at], trace[at + 1], trace[at + 2], trace[at + 3]
        i = _number(s, ACTORS, a)
        if kind == k.MOVED:
            _emit(s, MOVE, i, _number(s, SLOTS, x), 0)
        elif kind == k.JOINED:
            s.joined[s.found[JOINED]] = a
            s.found[JOINED] += 1
        elif kind == k.COUNTED:
            if m[x] in (k.GET_EACH, k.PUT_EACH, k.GET_SOME, k.PUT_SOME):
                _limit_to_count(m, s, m[x + 2] + y, _further(m, number, a))
        elif kind == k.NEXTED:
            if m[x] == k.NEXT:
                _log(s, i, a)
        else:
            _timed(m, s, kind, a, x, y)
    _end(m, s)
    return s


@njit(cache=True)
def _bounds(m: Words, trace: Words, number: Words) -> tuple[int, int]:
    """Rows of code at most; further steps before an actor comes to its end or to a mark."""
    room, limit = 1, k.NEVER
    for n in range(trace[k.TRACE_USED]):
        at = k.TRACE_FIRST + k.TRACE_WIDTH * n
        kind, a, x = trace[at], trace[at + 1], trace[at + 2]
        room += 2
        if kind in (k.HELD, k.GRANTED):
            covers = _covers(m, x)
            room += 5 + (m[covers] if covers else 0)
        elif kind == k.NEXTED:
            last = m[m[x + 3]] if m[x] == k.NEXT_MARKED else m[x + 2] - 1
            limit = min(limit, (last - m[a + k.ITERATION]) // _further(m, number, a))
    return room, limit


@_inline
def _further(m: Words, number: Words, a: int) -> int:
    """How many iterations an actor is further than when the step began."""
    return m[a + k.ITERATION] - number[a + BEFORE]  # type: ignore[no-any-return]


@_inline
def _covers(m: Words, pc: int) -> int:
    """Place of what an interval covers, or 0."""
    return m[pc + 2] if m[pc] in (k.HOLD, k.HOLD_EACH) else m[pc + 4]  # type: ignore[no-any-return]


@_inline
def _number(s: StepCode, kind: int, place: int) -> int:
    """The number of what lies at `place`, among those of its kind."""
    if s.number[place] == 0:
        s.number[place] = s.found[kind] + 1
        s.found[kind] += 1
    return s.number[place] - 1  # type: ignore[no-any-return]


@_inline
def _emit(s: StepCode, op: int, x: int, y: int, z: int) -> None:
    row = s.code[s.found[CODE]]
    row[0], row[1], row[2], row[3] = op, x, y, z
    s.found[CODE] += 1


@_inline
def _log(s: StepCode, i: int, a: int) -> None:
    """An entry of the log; where it goes is put in at the end."""
    _emit(s, LOG, i, s.number[a + ENTRIES], a)
    s.number[a + ENTRIES] += 1
    s.found[LOGGED] += 1


@njit(cache=True)
def _limit_to_count(m: Words, s: StepCode, counts: int, by: int) -> None:
    """No more steps than those that move as many tokens."""
    for step in range(1, s.found[STEPS] + 1):
        if m[counts + step * by] != m[counts]:
            s.found[STEPS] = step - 1
            break


@njit(cache=True)
def _limit_to_times(m: Words, s: StepCode, times: int, by: int, decides: bool, zero: bool) -> None:
    """No more steps than those whose time is small and, where that `decides`, zero or not."""
    for step in range(s.found[STEPS]):
        value = m[times + step * by]
        if value > TIME_MAX_PS or (decides and (value == 0) != zero):
            s.found[STEPS] = step
            break


@njit(cache=True)
def _timed(m: Words, s: StepCode, kind: int, a: int, pc: int, iteration: int) -> None:
    """A Hold or a Use, with what it covers and its entry in the log."""
    i, by = s.number[a] - 1, _further(m, s.number, a)
    each, time = m[pc] in (k.HOLD_EACH, k.USE_EACH), m[pc + 1]
    if each:
        time += iteration + by
        _limit_to_times(m, s, time, by, kind != k.HELD, kind == k.SKIPPED)
    elif time > TIME_MAX_PS:
        s.found[STEPS] = 0
    if kind == k.GRANTED:
        _granted(m, s, i, pc)
    covers = 0 if kind == k.SKIPPED else _covers(m, pc)
    parts = m[covers] if covers else 0
    cell = 0
    if parts:
        _emit(s, START, i, 0, 0)
    for at in range(covers + 1, covers + 1 + 3 * parts, 3):
        cell = _number(s, CELLS, m[at])
        s.groups[cell] = m[m[at] + k.CELL_GROUP]
        s.found[COVERED] += 1
        if at < covers + 1 + 3 * (parts - 1):
            if m[at + 1]:
                _emit(s, PART_EACH, cell, m[at + 2] + iteration + by, by)
            else:
                _emit(s, PART, cell, m[at + 2], 0)
    if each:
        _emit(s, ADD_EACH, i, time, by)
    else:
        _emit(s, ADD, i, time, 0)
    if parts:
        _emit(s, LAST, cell, i, 0)
    if kind == k.GRANTED:
        _emit(s, SERVE, s.number[m[pc + 2]] - 1, i, 0)
    if m[a + k.LOG_STEP]:
        _log(s, i, a)


@njit(cache=True)
def _granted(m: Words, s: StepCode, i: int, pc: int) -> None:
    """The time of a grant to actor `i`, and that no other one comes before it."""
    place, client = m[pc + 2], m[pc + 3]
    r = _number(s, RESOURCES, place)
    row = s.resources[r]
    if row[PLACE] == 0:
        row[PLACE], row[FIRST_SERVER] = place, s.found[ALL_SERVERS]
        row[SERVERS], row[LAST_CLIENT] = m[place + k.SERVER_COUNT], -1
        row[TURNS] = m[place + k.CYCLE]
        s.found[ALL_SERVERS] += row[SERVERS]
    if row[TURNS]:
        _granted_in_turn(s, r, i)
    else:
        _emit(s, FIFO, r, i, int(client <= row[LAST_CLIENT]))
        row[LAST_CLIENT] = client


@_inline
def _granted_in_turn(s: StepCode, r: int, i: int) -> None:
    """A grant by turns: its time, then what has come to the candidates until then."""
    row, joined = s.resources[r], s.joined[: s.found[JOINED]]
    if row[WAITING]:
        _emit(s, AGAIN, r, 0, 0)
    else:
        for n in range(joined.size):
            _emit(s, ALSO if n else FIRST, s.number[joined[n]] - 1, 0, 0)
        _emit(s, FREE, r, 0, 0)
    for a in joined:
        _emit(s, JOIN, r, s.number[a] - 1, 0)
    row[WAITING] += joined.size
    s.found[JOINED] = 0
    _emit(s, GRANT, r, i, 0)
    row[WAITING] -= 1


@_inline
def _end(m: Words, s: StepCode) -> None:
    """The request that opens the next step takes time there as well; places of logs."""
    anchor = pending(m)
    pc = m[anchor + k.PC]
    s.found[ANCHOR] = s.number[anchor] - 1
    if m[pc] == k.USE_EACH:
        by = _further(m, s.number, anchor)
        time = m[pc + 1] + m[anchor + k.ITERATION] + by
        _limit_to_times(m, s, time, by, True, False)
    for row in s.code[: s.found[CODE]]:
        if row[0] == LOG:
            row[2] += m[row[3] + k.LOG]
            row[3] = s.number[row[3] + ENTRIES]


@njit(cache=True)
def replay(
    m: Words, step: StepCode, start: int, log: Words, lengths: Words
) -> tuple[int, int]:  # fmt: skip
    """Run up to `found[STEPS]` more from `start` (ps) on, a multiple of BATCH; return how many, and
    when the last one ended.

    `lengths` grows by the time (ps)
    that the intervals of each group cover. Nothing but `log` is changed in the run itself.
    """
    code, found, groups, resources = step.code, step.found, step.groups, step.resources
    clock = np.zeros((found[ACTORS], BATCH), np.int64)
    slots = np.zeros((found[SLOTS], BATCH), np.int64)
    free = np.zeros((found[ALL_SERVERS], BATCH), np.int64)
    last = np.zeros((found[RESOURCES], BATCH), np.int64)
    cell_start = np.zeros((found[CELLS], BATCH), np.int64)
    cell_end = np.zeros((found[CELLS], BATCH), np.int64)
    logged = np.zeros((found[LOGGED], BATCH), np.int64)
    spans = np.empty((BATCH, found[COVERED] + found[CELLS], 3), np.int64)
    counts = np.zeros(BATCH, np.int64)
    now = np.zeros(BATCH, np.int64)
    over = np.zeros(BATCH, np.int64)
    bad = np.zeros(BATCH, np.int64)
    logs = code[: found[CODE]]
    logs = logs[logs[:, 0] == LOG]
    anchor = found[ANCHOR]
    done = 0
    while done + BATCH <= found[STEPS]:
        clock[:] = 0
        slots[:] = 0
        free[:] = 0
        last[:] = -1
        cell_start[:] = 0
        cell_end[:] = -1
        counts[:] = 0
        bad[:] = 0
        entry = 0
        for n in range(found[CODE]):
            op = code[u(n), u(0)]
            x, y, z = code[u(n), u(1)], code[u(n), u(2)], code[u(n), u(3)]
            if op == MOVE:
                for b in range(BATCH):
                    t = max(clock[u(x), u(b)], slots[u(y), u(b)])
                    clock[u(x), u(b)] = t
                    slots[u(y), u(b)] = t
            elif op == ADD:
                for b in range(BATCH):
                    clock[u(x), u(b)] += y
            elif op == ADD_EACH:
                for b in range(BATCH):
                    clock[u(x), u(b)] += m[u(y + (done + b) * z)]
            elif op == START:
                for b in range(BATCH):
                    now[u(b)] = clock[u(x), u(b)]
            elif op == LAST:
                for b in range(BATCH):
                    over[u(b)] = clock[u(y), u(b)]
                _cover(cell_start, cell_end, spans, counts, groups[u(x)], x, now, over)
            elif op == FIFO:
                for b in range(BATCH):
                    t = clock[u(y), u(b)]
                    bad[u(b)] |= t < last[u(x), u(b)] + z
                    last[u(x), u(b)] = t
                    now[u(b)] = t
                _wait(free, resources, x, now)
                for b in range(BATCH):
                    clock[u(y), u(b)] = now[u(b)]
            elif op == SERVE:
                _serve(free, resources, x, clock, y)
            elif op == LOG:
                for b in range(BATCH):
                    logged[u(entry), u(b)] = clock[u(x), u(b)]
                entry += 1
            elif op == PART:
                for b in range(BATCH):
                    over[u(b)] = now[u(b)] + y
                _cover(cell_start, cell_end, spans, counts, groups[u(x)], x, now, over)
            elif op == PART_EACH:
                for b in range(BATCH):
                    over[u(b)] = now[u(b)] + m[u(y + (done + b) * z)]
                _cover(cell_start, cell_end, spans, counts, groups[u(x)], x, now, over)
            elif op == FIRST:
                for b in range(BATCH):
                    now[u(b)] = clock[u(x), u(b)]
            elif op == ALSO:
                for b in range(BATCH):
                    now[u(b)] = min(now[u(b)], clock[u(x), u(b)])
            elif op == FREE:
                _wait(free, resources, x, now)
            elif op == AGAIN:
                for b in range(BATCH):
                    now[u(b)] = last[u(x), u(b)]
                _wait(free, resources, x, now)
            elif op == JOIN:
                for b in range(BATCH):
                    t = clock[u(y), u(b)]
                    bad[u(b)] |= (t <= last[u(x), u(b)]) | (t > now[u(b)])
            else:
                for b in range(BATCH):
                    clock[u(y), u(b)] = now[u(b)]
                    last[u(x), u(b)] = now[u(b)]
        for i in range(found[ACTORS]):
            for b in range(BATCH):
                bad[u(b)] |= clock[u(i), u(b)] > clock[u(anchor), u(b)]
        for b in range(BATCH):
            if bad[b] or clock[anchor, b] > k.NEVER - start:
                return done, start
            _measure(cell_start, cell_end, spans, counts, groups, b, lengths)
            for entry in range(logs.shape[0]):
                log[u(logs[u(entry), u(2)] + done * logs[u(entry), u(3)])] = (
                    start + logged[u(entry), u(b)]
                )
            start += clock[anchor, b]
            done += 1
    return done, start


@_inline
def _cover(
    cell_start: Words, cell_end: Words, spans: Words, counts: Words, group: int, cell: int,
    start: Words, end: Words,
) -> None:  # fmt: skip
    """Add intervals to a cell, each then begins where it ended; spans not touched are written."""
    for b in range(BATCH):
        begin, over = start[u(b)], end[u(b)]
        start[u(b)] = over
        if over <= begin:
            continue
        first, reached = cell_start[u(cell), u(b)], cell_end[u(cell), u(b)]
        if reached >= begin and over >= first:
            cell_start[u(cell), u(b)] = min(begin, first)
            cell_end[u(cell), u(b)] = max(over, reached)
        else:
            if reached >= 0:
                _span(spans, counts, b, group, first, reached)
            cell_start[u(cell), u(b)] = begin
            cell_end[u(cell), u(b)] = over


@_inline
def _span(spans: Words, counts: Words, b: int, group: int, start: int, end: int) -> None:
    n = counts[u(b)]
    spans[u(b), u(n), u(0)], spans[u(b), u(n), u(1)], spans[u(b), u(n), u(2)] = group, start, end
    counts[u(b)] = n + 1


@njit(cache=True)
def _measure(
    cell_start: Words, cell_end: Words, spans: Words, counts: Words, groups: Words, b: int,
    lengths: Words,
) -> None:  # fmt: skip
    """Add to `lengths` what the spans and cells of one step cover, group by group."""
    for cell in range(cell_end.shape[0]):
        if cell_end[cell, b] >= 0:
            _span(spans, counts, b, groups[cell], cell_start[cell, b], cell_end[cell, b])
    mine = spans[b, : counts[b]]
    reached = np.zeros(lengths.size, np.int64)
    for n in np.argsort(mine[:, 1]):
        group, start, end = mine[n]
        start = max(start, reached[group])
        if end > start:
            lengths[group] += end - start
            reached[group] = end


@_inline
def _wait(free: Words, resources: Words, r: int, time: Words) -> None:
    """Make `time` no earlier than a server is free."""
    first, servers = resources[u(r), u(FIRST_SERVER)], resources[u(r), u(SERVERS)]
    for b in range(BATCH):
        least = free[u(first), u(b)]
        for server in range(first + 1, first + servers):
            least = min(least, free[u(server), u(b)])
        time[u(b)] = max(time[u(b)], least)


@_inline
def _serve(free: Words, resources: Words, r: int, clock: Words, i: int) -> None:
    """Occupy the server that is free first until the clock of actor `i`."""
    first, servers = resources[u(r), u(FIRST_SERVER)], resources[u(r), u(SERVERS)]
    for b in range(BATCH):
        at = first
        for server in range(first + 1, first + servers):
            if free[u(server), u(b)] < free[u(at), u(b)]:
                at = server
        free[u(at), u(b)] = clock[u(i), u(b)]


@njit(cache=True)
def state(
    m: Words, actors: Words, buffers_at: int, buffers: int, resources_at: int, resources: int
) -> tuple[Words, Words, Words, int]:
    """Of a quiet run: what is to come depends on, changes of iterations apart; iterations of
    actors; places of heads and tails of buffers; the latest clock (ps).
    """
    kept = np.empty(3 * actors.size + buffers + resources, np.int64)
    iterations = np.empty(actors.size, np.int64)
    ends = np.empty(2 * buffers, np.int64)
    latest = n = 0
    anchor = pending(m)
    for number in range(actors.size):
        a = actors[number]
        pc, iteration = m[a + k.PC], m[a + k.ITERATION]
        left = 0 if a == anchor else m[a + k.LEFT]
        some = left > 0 and m[pc] in (k.GET_SOME, k.PUT_SOME)
        kept[n], kept[n + 1] = pc, left
        kept[n + 2] = m[m[pc + 2] + iteration] if some else 0
        iterations[number] = iteration
        latest = max(latest, m[a + k.CLOCK])
        n += 3
    for number in range(buffers):
        b = buffers_at + k.BUFFER_WIDTH * number
        kept[n] = m[b + k.TOKENS]
        ends[2 * number], ends[2 * number + 1] = m[b + k.HEAD], m[b + k.TAIL]
        n += 1
    for number in range(resources):
        r = resources_at + k.RESOURCE_WIDTH * number
        cycle = m[r + k.CYCLE]
        kept[n] = m[r + k.LAST_TURN] % cycle if cycle else 0
        n += 1
    return kept, iterations, ends, latest


@njit(cache=True)
def pending(m: Words) -> int:
    """The actor of the first request at the first resource of the agenda."""
    r = m[m[k.AGENDA]]
    return m[m[r + k.CLIENTS] + m[m[r + k.REQUESTS] + 1]]  # type: ignore[no-any-return]


@njit(cache=True)
def pending_ps(m: Words) -> int:
    """When that request was made."""
    return m[m[m[m[k.AGENDA]] + k.REQUESTS]]  # type: ignore[no-any-return]


@njit(cache=True)
def advance(
    m: Words, actors: Words, iterations: Words, number: Words, buffers_at: int, ends: Words,
    steps: int, time: int,
) -> None:  # fmt: skip
    """Bring a quiet run `steps` steps on, to `time` (ps).

    `iterations` and `ends` are those of one step before, `number` is that of its code.
    """
    for n in range(actors.size):
        a = actors[n]
        by = m[a + k.ITERATION] - iterations[n]
        if by:
            m[a + k.ITERATION] += steps * by
            m[a + k.LOG] += steps * number[a + ENTRIES]
            m[a + k.CLOCK] = time
    for n in range(ends.size // 2):
        b = buffers_at + k.BUFFER_WIDTH * n
        first, size = m[b + k.FIRST], m[b + k.LAST] - m[b + k.FIRST]
        for end in range(2):
            place = b + (k.TAIL if end else k.HEAD)
            by = m[place] - ends[2 * n + end]
            m[place] = first + (m[place] - first + steps * by) % size
    anchor = pending(m)
    r = m[m[k.AGENDA]]
    pc = m[anchor + k.PC]
    m[m[r + k.REQUESTS]] = time
    m[r + k.NEXT_GRANT] = time
    duration = m[pc + 1]
    if m[pc] == k.USE_EACH:
        duration = m[duration + m[anchor + k.ITERATION]]
    m[anchor + k.LEFT] = duration
