"""The compiled engine's inner part: a program as one block of words `m`, run as machine code.

It needs no list of events in order of time. A buffer has one producer and one consumer, so an
actor may run ahead on its own clock as long as it finds tokens and free slots: each slot
remembers when it was last filled or emptied, and an actor's clock becomes at least that. (For
actors without contended resources this is the max-plus recurrence of a pipeline.)

Only grants need an order, as in conservative parallel simulation (R. Fujimoto, "Parallel
discrete event simulation", CACM 33(10), 1990). When no actor can run, let g be the earliest
time at which any resource can serve a request. All that is still to happen follows from a grant
at g or after, whose service takes at least 1 ps. So an actor that waits wakes after g, and its
next request at resource r comes after g + LOOKAHEAD(r), the least time between a verb that may
wait and the next Use of r. Every request at r up to that time is known, and r may grant up to
that time: the one that the policy picks, then the next. Actors granted run ahead from the end
of their service. The agenda is a heap of resources by the time of their next grant.

Of intervals that are not kept one by one the loop keeps where they lie: a cell is the span that the
last intervals of its group cover without a gap. One that does not touch it begins a new span, and
the old one is written out; so the spans cover what the intervals cover, and are few.

The constants stand in this file because Numba's cache looks only at the file of a function.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cimsim.runtime.jit import njit

Words = npt.NDArray[np.int64]

_njit = njit(cache=True, counted=False)
_inline = njit(cache=True, counted=False, inline="always")
"""Nothing is allocated here; counting references to the arrays would take most of the time."""
u = np.uint64
"""Makes an index unsigned, which spares Numba's test for negative ones: a third of the time."""

NEVER = 2**63 - 1
OVERFLOW = -1
PAUSED = -2
QUIET = -3

# header: agenda, and where a paused run goes on: actors at their end, actors that are ready; which
# actor's request stops a run when nothing else is pending (NOBODY, ANYBODY or its place), and 1 to
# go on from there; grants so far
AGENDA, AGENDA_SIZE, ENDED, READY, WATCHED, RESUMED, GRANTS = range(7)
NOBODY, ANYBODY = -1, 0
HEADER_WIDTH = 8

# buffer row. The slots lie in [FIRST, LAST), in the row itself if they are few; the next token
# is taken at HEAD and put at TAIL; TOKENS are in it. The consumer waits for TOKENS >= WAKE_GET,
# the producer for <= WAKE_PUT. ENDS: the actor rows of producer (high half) and consumer (low).
FIRST, LAST, HEAD, TAIL, TOKENS, WAKE_GET, WAKE_PUT, ENDS, INLINE_SLOTS = range(9)
BUFFER_WIDTH = 16
ENDS_SHIFT = 32
ENDS_MASK = (1 << ENDS_SHIFT) - 1

# resource row. NEXT_GRANT: earliest time of a grant to a pending request; AGENDA_AT: where it
# stands on the agenda (-1: nowhere); LAST_TURN: round-robin turn of the last grant; then heaps
# of (time, client) requests, of (turn, client) candidates and of times when servers are free;
# CLIENTS: list of actor rows; CYCLE: number of clients, 0 for first come first served.
(NEXT_GRANT, AGENDA_AT, LAST_TURN, REQUESTS, REQUEST_COUNT, CANDIDATES, CANDIDATE_COUNT,
 SERVERS, SERVER_COUNT, CLIENTS, CYCLE, LOOKAHEAD) = range(12)  # fmt: skip
RESOURCE_WIDTH = 16

# actor row: place of the code to run next, iteration, local clock (ps), what is left of a move
# (tokens) or the duration of a pending request, place of the next log entry, and by how much an
# interval moves that on: 1 where intervals are kept, 0 where the end of the iteration overwrites it
PC, ITERATION, CLOCK, LEFT, LOG, LOG_STEP = range(6)
ACTOR_WIDTH = 6

# cell: the span that it covers now (none where its end is before its start) and its group
CELL_START, CELL_END, CELL_GROUP = range(3)
CELL_WIDTH = 3

# spans: entries used, how many make the run pause, then (group, start, end) of each
SPANS_USED, SPANS_PAUSE, SPANS_FIRST = range(3)

# trace: entries used, negative where nothing is noted; then (kind, actor, x, y) for each: a token
# moved (slot); a Hold, a Use that takes no time, an end of an iteration, a count (code, iteration);
# a request that comes to the candidates (resource); a grant (code, iteration)
MOVED, HELD, SKIPPED, NEXTED, COUNTED, JOINED, GRANTED = range(7)
TRACE_USED, TRACE_FIRST = range(2)
TRACE_WIDTH = 4
NOT_TRACED = -1
TRACE_FULL = -2

# code: an operation, then its operands; `width` is the number of words of both.
# _EACH: the count or duration is the place of a list with one value an iteration.
# covers: 0, or the place of the number of parts of the interval and for each its cell, whether its
# duration varies, and the duration or the place of a list of them
(GET_ONE, PUT_ONE,  # buffer
 HOLD, HOLD_EACH,  # duration, covers
 NEXT,  # first code of the actor, iterations
 GET_MANY, GET_EACH, PUT_MANY, PUT_EACH,  # buffer, count
 USE, USE_EACH,  # duration, resource, client, covers
 NEXT_MARKED,  # as NEXT, and place of the next iteration whose end is kept
 GET_SOME, PUT_SOME,  # first buffer, list of places, buffers: a token at some of them, one by one;
 # at the place for an iteration stand how many and how far each is behind the first
 ) = range(14)  # fmt: skip
WIDTH = (2, 2, 3, 3, 3, 3, 3, 3, 3, 5, 5, 4, 4, 4)


@_njit
def run(m: Words, ready: Words, log: Words, spans: Words, trace: Words) -> int:
    """Run the actors in `ready` and all that follows; return how many came to their end,
    `OVERFLOW`, `PAUSED` where `spans` is full: once it is emptied the same call goes on; or
    `QUIET` where the request of the actor that is watched is all that is pending.

    `log` receives the ends of intervals and iterations that are kept, `trace` what is done.
    """
    top: int = m[u(READY)]
    done: int = m[u(ENDED)]
    while True:
        while top > 0 and spans[u(SPANS_USED)] < spans[u(SPANS_PAUSE)]:
            top -= 1
            top, ended = _advance(m, ready[u(top)], ready, top, log, spans, trace)
            if ended < 0:
                return OVERFLOW
            done += ended
        if top == 0 and m[u(AGENDA_SIZE)] == 0:
            return done
        if spans[u(SPANS_USED)] >= spans[u(SPANS_PAUSE)]:
            m[u(READY)] = top
            m[u(ENDED)] = done
            return PAUSED
        if m[u(AGENDA_SIZE)] == 1 and m[u(WATCHED)] >= ANYBODY:
            if m[u(RESUMED)] == 0 and pending_alone(m) > 0:
                m[u(READY)] = 0
                m[u(ENDED)] = done
                return QUIET
            m[u(RESUMED)] = 0
        top = _grant(m, ready, log, spans, trace)
        if top < 0:
            return OVERFLOW


@_inline
def pending_alone(m: Words) -> int:
    """The watched actor if its request is the only one at the first resource of the agenda."""
    r = m[u(m[u(AGENDA)])]
    if m[u(r + REQUEST_COUNT)] != 1 or m[u(r + CANDIDATE_COUNT)] != 0:
        return 0
    a: int = m[u(m[u(r + CLIENTS)] + m[u(m[u(r + REQUESTS)] + 1)])]
    return a if m[u(WATCHED)] in (ANYBODY, a) else 0


@_inline
def _note(trace: Words, kind: int, a: int, x: int, y: int) -> None:
    """Note what an actor does, where a trace is kept and has room."""
    used = trace[u(TRACE_USED)]
    if used < 0:
        return
    at = TRACE_FIRST + TRACE_WIDTH * used
    if at + TRACE_WIDTH > trace.size:
        trace[u(TRACE_USED)] = TRACE_FULL
        return
    trace[u(at)], trace[u(at + 1)], trace[u(at + 2)], trace[u(at + 3)] = kind, a, x, y
    trace[u(TRACE_USED)] = used + 1


@_inline
def _advance(
    m: Words, a: int, ready: Words, top: int, log: Words, spans: Words, trace: Words
) -> tuple[int, int]:
    """Run actor `a` until it must wait; return the new top of `ready`, and 1 if it ended.

    It stays ready where `spans` is full at the end of an iteration.
    """
    pc = m[u(a + PC)]
    iteration = m[u(a + ITERATION)]
    t = m[u(a + CLOCK)]
    at = m[u(a + LOG)]
    log_step = m[u(a + LOG_STEP)]
    ended = 0
    while True:
        op = m[u(pc)]
        if op == GET_ONE:
            b = m[u(pc + 1)]
            tokens = m[u(b + TOKENS)]
            if tokens == 0:
                m[u(b + WAKE_GET)] = 1
                break
            slot = m[u(b + HEAD)]
            _note(trace, MOVED, a, slot, 0)
            t = max(t, m[u(slot)])
            m[u(slot)] = t
            slot += 1
            m[u(b + HEAD)] = m[u(b + FIRST)] if slot == m[u(b + LAST)] else slot
            tokens -= 1
            m[u(b + TOKENS)] = tokens
            if tokens <= m[u(b + WAKE_PUT)]:
                m[u(b + WAKE_PUT)] = -1
                ready[u(top)] = m[u(b + ENDS)] >> ENDS_SHIFT
                top += 1
            pc += 2
        elif op == PUT_ONE:
            b = m[u(pc + 1)]
            tokens = m[u(b + TOKENS)]
            if tokens == m[u(b + LAST)] - m[u(b + FIRST)]:
                m[u(b + WAKE_PUT)] = tokens - 1
                break
            slot = m[u(b + TAIL)]
            _note(trace, MOVED, a, slot, 0)
            t = max(t, m[u(slot)])
            m[u(slot)] = t
            slot += 1
            m[u(b + TAIL)] = m[u(b + FIRST)] if slot == m[u(b + LAST)] else slot
            tokens += 1
            m[u(b + TOKENS)] = tokens
            if tokens >= m[u(b + WAKE_GET)]:
                m[u(b + WAKE_GET)] = NEVER
                ready[u(top)] = m[u(b + ENDS)] & ENDS_MASK
                top += 1
            pc += 2
        elif op in (HOLD, HOLD_EACH):
            duration = m[u(pc + 1)] if op == HOLD else m[u(m[u(pc + 1)] + iteration)]
            if duration > NEVER - t:
                return top, OVERFLOW
            _note(trace, HELD, a, pc, iteration)
            if m[u(pc + 2)] > 0 and duration > 0:
                _cover(m, m[u(pc + 2)], iteration, t, t + duration, spans)
            t += duration
            log[u(at)] = t
            at += log_step
            pc += 3
        elif op == NEXT:
            _note(trace, NEXTED, a, pc, iteration)
            log[u(at)] = t
            at += 1
            iteration += 1
            if iteration >= m[u(pc + 2)]:
                ended = 1
                break
            pc = m[u(pc + 1)]
            if spans[u(SPANS_USED)] >= spans[u(SPANS_PAUSE)]:
                ready[u(top)] = a
                top += 1
                break
        elif op in (USE, USE_EACH):
            duration = m[u(pc + 1)] if op == USE else m[u(m[u(pc + 1)] + iteration)]
            if duration > 0:
                m[u(a + LEFT)] = duration
                _request(m, m[u(pc + 2)], t, m[u(pc + 3)])
                break
            _note(trace, SKIPPED, a, pc, iteration)
            log[u(at)] = t
            at += log_step
            pc += 5
        elif op == NEXT_MARKED:
            _note(trace, NEXTED, a, pc, iteration)
            log[u(at)] = t
            if iteration == m[u(m[u(pc + 3)])]:
                at += 1
                m[u(pc + 3)] += 1
            iteration += 1
            if iteration >= m[u(pc + 2)]:
                ended = 1
                break
            pc = m[u(pc + 1)]
            if spans[u(SPANS_USED)] >= spans[u(SPANS_PAUSE)]:
                ready[u(top)] = a
                top += 1
                break
        elif op in (GET_SOME, PUT_SOME):
            row = m[u(m[u(pc + 2)] + iteration)]
            count = m[u(a + LEFT)]
            if count == 0:
                count = m[u(row)]
                _note(trace, COUNTED, a, pc, iteration)
            while count > 0:
                b = m[u(pc + 1)] + m[u(row + 1 + m[u(row)] - count)]
                if op == GET_SOME:
                    left, t, woken = _take(m, b, 1, t, a, trace)
                else:
                    left, t, woken = _append(m, b, 1, t, a, trace)
                if woken >= 0:
                    ready[u(top)] = woken
                    top += 1
                if left > 0:
                    break
                count -= 1
            m[u(a + LEFT)] = count
            if count > 0:
                break
            pc += 4
        else:
            count = m[u(a + LEFT)]
            if count == 0:
                many = op in (GET_MANY, PUT_MANY)
                count = m[u(pc + 2)] if many else m[u(m[u(pc + 2)] + iteration)]
                _note(trace, COUNTED, a, pc, iteration)
            if count > 0:
                if op in (GET_MANY, GET_EACH):
                    count, t, woken = _take(m, m[u(pc + 1)], count, t, a, trace)
                else:
                    count, t, woken = _append(m, m[u(pc + 1)], count, t, a, trace)
                if woken >= 0:
                    ready[u(top)] = woken
                    top += 1
                m[u(a + LEFT)] = count
                if count > 0:
                    break
            pc += 3
    m[u(a + PC)] = pc
    m[u(a + ITERATION)] = iteration
    m[u(a + CLOCK)] = t
    m[u(a + LOG)] = at
    return top, ended


@_njit
def _cover(m: Words, covers: int, iteration: int, start: int, end: int, spans: Words) -> None:
    """Add an interval to the cells of its parts; the last part ends with it."""
    at = covers + 1
    last = covers + 1 + 3 * (m[u(covers)] - 1)
    while at <= last:
        over = end
        if at < last:
            duration = m[u(at + 2)]
            over = start + (m[u(duration + iteration)] if m[u(at + 1)] else duration)
        if over > start:
            cell = m[u(at)]
            if start <= m[u(cell + CELL_END)] and over >= m[u(cell + CELL_START)]:
                m[u(cell + CELL_START)] = min(start, m[u(cell + CELL_START)])
                m[u(cell + CELL_END)] = max(over, m[u(cell + CELL_END)])
            else:
                if m[u(cell + CELL_END)] >= m[u(cell + CELL_START)]:
                    n = SPANS_FIRST + 3 * spans[u(SPANS_USED)]
                    spans[u(n)] = m[u(cell + CELL_GROUP)]
                    spans[u(n + 1)] = m[u(cell + CELL_START)]
                    spans[u(n + 2)] = m[u(cell + CELL_END)]
                    spans[u(SPANS_USED)] += 1
                m[u(cell + CELL_START)] = start
                m[u(cell + CELL_END)] = over
        start = over
        at += 3


@_inline
def _touch(
    m: Words, slot: int, first: int, last: int, count: int, t: int, a: int, trace: Words
) -> tuple[int, int]:
    """Fill or empty `count` slots from `slot` on, none before `t`; return next slot and time."""
    for _ in range(count):
        _note(trace, MOVED, a, slot, 0)
        t = max(t, m[u(slot)])
        m[u(slot)] = t
        slot += 1
        if slot == last:
            slot = first
    return slot, t


@_inline
def _take(m: Words, b: int, count: int, t: int, a: int, trace: Words) -> tuple[int, int, int]:
    """Take up to `count` tokens; return those missing, the time, and who is woken (or -1).

    The producer is woken when it can put all that it has left, or the buffer is empty.
    """
    tokens = m[u(b + TOKENS)]
    moved = min(count, tokens)
    first, last = m[u(b + FIRST)], m[u(b + LAST)]
    m[u(b + HEAD)], t = _touch(m, m[u(b + HEAD)], first, last, moved, t, a, trace)
    tokens -= moved
    count -= moved
    m[u(b + TOKENS)] = tokens
    if count > 0:
        m[u(b + WAKE_GET)] = min(count, m[u(b + LAST)] - m[u(b + FIRST)])
    woken = -1
    if tokens <= m[u(b + WAKE_PUT)]:
        m[u(b + WAKE_PUT)] = -1
        woken = m[u(b + ENDS)] >> ENDS_SHIFT
    return count, t, woken


@_inline
def _append(m: Words, b: int, count: int, t: int, a: int, trace: Words) -> tuple[int, int, int]:
    """Put up to `count` tokens; return those missing, the time, and who is woken (or -1).

    The consumer is woken when it can take all that it has left, or the buffer is full.
    """
    capacity = m[u(b + LAST)] - m[u(b + FIRST)]
    tokens = m[u(b + TOKENS)]
    moved = min(count, capacity - tokens)
    first, last = m[u(b + FIRST)], m[u(b + LAST)]
    m[u(b + TAIL)], t = _touch(m, m[u(b + TAIL)], first, last, moved, t, a, trace)
    tokens += moved
    count -= moved
    m[u(b + TOKENS)] = tokens
    if count > 0:
        m[u(b + WAKE_PUT)] = capacity - min(count, capacity)
    woken = -1
    if tokens >= m[u(b + WAKE_GET)]:
        m[u(b + WAKE_GET)] = NEVER
        woken = m[u(b + ENDS)] & ENDS_MASK
    return count, t, woken


@_inline
def _request(m: Words, r: int, t: int, client: int) -> None:
    """Queue `client` at resource `r` at time `t`, and update when `r` can grant next."""
    _push(m, m[u(r + REQUESTS)], m[u(r + REQUEST_COUNT)], t, client)
    m[u(r + REQUEST_COUNT)] += 1
    earliest = max(t, m[u(m[u(r + SERVERS)])])
    if m[u(r + AGENDA_AT)] < 0:
        m[u(r + AGENDA_AT)] = m[u(AGENDA_SIZE)]
        m[u(AGENDA_SIZE)] += 1
    elif earliest >= m[u(r + NEXT_GRANT)]:
        return
    m[u(r + NEXT_GRANT)] = earliest
    _agenda_up(m, r)


@_inline
def _grant(m: Words, ready: Words, log: Words, spans: Words, trace: Words) -> int:
    """Make the grants that the first resource of the agenda can make now; its actors become
    ready. Return how many, or `OVERFLOW`.
    """
    r = m[u(m[u(AGENDA)])]
    earliest = m[u(r + NEXT_GRANT)]
    lookahead = m[u(r + LOOKAHEAD)]
    now = earliest
    top = 0
    while now - earliest <= lookahead:
        a = m[u(m[u(r + CLIENTS)] + _choose(m, r, now, trace))]
        if m[u(a + LEFT)] > NEVER - now:
            return OVERFLOW
        over = now + m[u(a + LEFT)]
        _note(trace, GRANTED, a, m[u(a + PC)], m[u(a + ITERATION)])
        covers = m[u(m[u(a + PC)] + 4)]
        if covers > 0:
            _cover(m, covers, m[u(a + ITERATION)], now, over, spans)
        log[u(m[u(a + LOG)])] = over
        m[u(a + LOG)] += m[u(a + LOG_STEP)]
        m[u(a + CLOCK)] = over
        m[u(a + LEFT)] = 0
        m[u(a + PC)] += 5
        ready[u(top)] = a
        top += 1
        m[u(GRANTS)] += 1
        _occupy(m, m[u(r + SERVERS)], m[u(r + SERVER_COUNT)], over)
        if m[u(r + CANDIDATE_COUNT)] > 0:
            now = max(now, m[u(m[u(r + SERVERS)])])
        elif m[u(r + REQUEST_COUNT)] > 0:
            now = max(m[u(m[u(r + REQUESTS)])], m[u(m[u(r + SERVERS)])])
        else:
            _leave_agenda(m, r)
            return top
    m[u(r + NEXT_GRANT)] = now
    _agenda_down(m, r)
    return top


@_inline
def _choose(m: Words, r: int, now: int, trace: Words) -> int:
    """Take the next client of resource `r` out of its queue."""
    queue = m[u(r + REQUESTS)]
    cycle = m[u(r + CYCLE)]
    client: int = m[u(queue + 1)]
    if cycle == 0:
        m[u(r + REQUEST_COUNT)] -= 1
        _pop(m, queue, m[u(r + REQUEST_COUNT)])
        return client
    # A candidate's turn is the first after the last turn granted that is its own, modulo cycle.
    # It stays so until it is granted, as smaller turns go first: a heap of turns is enough.
    last = m[u(r + LAST_TURN)]
    while m[u(r + REQUEST_COUNT)] > 0 and m[u(queue)] <= now:
        client = m[u(queue + 1)]
        m[u(r + REQUEST_COUNT)] -= 1
        _pop(m, queue, m[u(r + REQUEST_COUNT)])
        _note(trace, JOINED, m[u(m[u(r + CLIENTS)] + client)], r, 0)
        turn = last - last % cycle + client
        if turn <= last:
            turn += cycle
        _push(m, m[u(r + CANDIDATES)], m[u(r + CANDIDATE_COUNT)], turn, client)
        m[u(r + CANDIDATE_COUNT)] += 1
    queue = m[u(r + CANDIDATES)]
    m[u(r + LAST_TURN)] = m[u(queue)]
    client = m[u(queue + 1)]
    m[u(r + CANDIDATE_COUNT)] -= 1
    _pop(m, queue, m[u(r + CANDIDATE_COUNT)])
    return client


@_inline
def _push(m: Words, heap: int, size: int, key: int, client: int) -> None:
    """Add (key, client) to a heap of `size` pairs in lexicographic order."""
    child = size
    while child > 0:
        parent = (child - 1) >> 1
        other = m[u(heap + 2 * parent)]
        if other < key or (other == key and m[u(heap + 2 * parent + 1)] < client):
            break
        m[u(heap + 2 * child)] = other
        m[u(heap + 2 * child + 1)] = m[u(heap + 2 * parent + 1)]
        child = parent
    m[u(heap + 2 * child)] = key
    m[u(heap + 2 * child + 1)] = client


@_inline
def _pop(m: Words, heap: int, size: int) -> None:
    """Remove the smallest pair of a heap; `size` pairs remain."""
    key = m[u(heap + 2 * size)]
    client = m[u(heap + 2 * size + 1)]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        c = heap + 2 * child
        if child + 1 < size and (
            m[u(c + 2)] < m[u(c)] or (m[u(c + 2)] == m[u(c)] and m[u(c + 3)] < m[u(c + 1)])
        ):
            child += 1
            c += 2
        if m[u(c)] > key or (m[u(c)] == key and m[u(c + 1)] > client):
            break
        m[u(heap + 2 * parent)] = m[u(c)]
        m[u(heap + 2 * parent + 1)] = m[u(c + 1)]
        parent = child
    m[u(heap + 2 * parent)] = key
    m[u(heap + 2 * parent + 1)] = client


@_inline
def _occupy(m: Words, heap: int, size: int, until: int) -> None:
    """Occupy the server that is free first, until the time given."""
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size and m[u(heap + child + 1)] < m[u(heap + child)]:
            child += 1
        if m[u(heap + child)] >= until:
            break
        m[u(heap + parent)] = m[u(heap + child)]
        parent = child
    m[u(heap + parent)] = until


@_inline
def _agenda_up(m: Words, r: int) -> None:
    """Move resource `r` towards the front of the agenda, to where its time belongs."""
    agenda = m[u(AGENDA)]
    time = m[u(r + NEXT_GRANT)]
    child = m[u(r + AGENDA_AT)]
    while child > 0:
        parent = (child - 1) >> 1
        other = m[u(agenda + parent)]
        if m[u(other + NEXT_GRANT)] <= time:
            break
        m[u(agenda + child)] = other
        m[u(other + AGENDA_AT)] = child
        child = parent
    m[u(agenda + child)] = r
    m[u(r + AGENDA_AT)] = child


@_inline
def _agenda_down(m: Words, r: int) -> None:
    """Put resource `r` in place of the front of the agenda, then back to where it belongs."""
    agenda = m[u(AGENDA)]
    size = m[u(AGENDA_SIZE)]
    time = m[u(r + NEXT_GRANT)]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= size:
            break
        if child + 1 < size:
            right = m[u(agenda + child + 1)]
            if m[u(right + NEXT_GRANT)] < m[u(m[u(agenda + child)] + NEXT_GRANT)]:
                child += 1
        other = m[u(agenda + child)]
        if m[u(other + NEXT_GRANT)] >= time:
            break
        m[u(agenda + parent)] = other
        m[u(other + AGENDA_AT)] = parent
        parent = child
    m[u(agenda + parent)] = r
    m[u(r + AGENDA_AT)] = parent


@_inline
def _leave_agenda(m: Words, r: int) -> None:
    """Take resource `r`, the first of the agenda, off it."""
    m[u(r + AGENDA_AT)] = -1
    m[u(AGENDA_SIZE)] -= 1
    if m[u(AGENDA_SIZE)] > 0:
        _agenda_down(m, m[u(m[u(AGENDA)] + m[u(AGENDA_SIZE)])])
