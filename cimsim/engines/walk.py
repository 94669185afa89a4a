"""The walk back along the critical path, as machine code over the tables of a `FlatRun`.

The constants stand in this file because Numba's cache looks only at the file of a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import IntArray
from cimsim.runtime.jit import njit

if TYPE_CHECKING:
    from cimsim.engines.flat import FlatRun

Int32Array: TypeAlias = npt.NDArray[np.int32]
_njit = njit(cache=True, counted=False)
_inline = njit(cache=True, counted=False, inline="always")
"""Nothing is allocated here: what is to grow is made anew by `walk`, and the walk goes on."""

GET, PUT, HOLD, USE = range(4)
DATA, ORDER, FULL, SHARED = range(4)
NONE = -1

FIRST_STEP, STEPS, ITERATIONS, FIRST_ITERATION = range(4)
"""Columns of `actors`."""
ACTOR, STEP, KIND, TARGET, COUNT, COUNTS_AT, IDLE_AT, TIMED, BEFORE, AFTER, EXECUTED = range(11)
"""Columns of `steps`."""
MOVER, FIRST_MOVE, THROUGH, THROUGH_AT, SHIFT = range(5)
"""Columns of `ends`."""


class Services(NamedTuple):
    """Services that take time: when each ended, its row in `steps` and its iteration.

    Those of resource r stand from `first[r]` on, one behind the other by `end >> shift[r]` and then
    in the order of rows; in `behind`, from the same place on, how many have ended up to each of
    these spans. `shift` is `NONE` for a resource that is not listed yet.
    """

    first: IntArray
    shift: IntArray
    end: IntArray
    user: Int32Array
    of: Int32Array
    behind: Int32Array


NOW, ROW, ITERATION, WAIT, WAITING, LENGTH, SEARCH, RESOURCE = range(8)
"""Where a walk is: the time; the step that was done then, its iteration and how it is waited for;
the work that began then, `NONE` at first; entries of the path that are not put aside, searches,
and the resource whose services are wanted."""
PATH_ROOM = 2**16
"""Choice: intervals of a path that are found before they are put aside, 1.5 MB."""
DONE, PATH_FULL, UNLISTED, PENDING_FULL, SEEN_FULL = 0, 1, 2, -2, -3
"""Why a walk stops."""


def walk(f: FlatRun, row: int, iteration: int, now: int) -> tuple[IntArray, int, int]:
    """The critical path that ends at `now` with the step in `row`: actor, iteration, step, start,
    end and wait of its intervals, a row each and the first interval first.

    Then the time to which it could be followed, and the row of its first interval: 0 in every
    run, and `NONE` without intervals.
    """
    turns = f.actors[f.steps[f.users, ACTOR], ITERATIONS]
    first = np.append(0, np.cumsum(turns))[f.first_user]
    shift, ends = np.full(first.size - 1, np.int64(NONE)), np.empty(first[-1], np.int64)
    services = Services(first, shift, ends, *np.empty((3, first[-1]), np.int32))
    path, parts = np.empty((PATH_ROOM, 3), np.int64), [np.empty((0, 3), np.int64)]
    pending = np.empty((64, 4), np.int64)
    seen = np.full((128, 3), np.int64(NONE))
    makespan, at = now, np.array([now, row, iteration, DATA, NONE, 0, 0, NONE], np.int64)
    while stopped := _go_on(f, at, path, services, pending, seen):
        if stopped == PATH_FULL:
            parts.append(path.copy())
            at[LENGTH] = 0
        elif stopped == PENDING_FULL:
            pending = _longer(pending)
        elif stopped == SEEN_FULL:
            seen = np.full((2 * seen.shape[0], 3), np.int64(NONE))
        else:
            _list(f, int(at[RESOURCE]), makespan, services)
    parts.append(path[: at[LENGTH]])
    row_of, of, wait = np.concatenate(parts)[::-1].T
    start = f.start_ps[f.steps[row_of, BEFORE] + of]
    end = np.append(start[1:], makespan)[: start.size]
    columns = np.stack([f.steps[row_of, ACTOR], of, f.steps[row_of, STEP], start, end, wait])
    return columns, int(at[NOW]), int(at[WAITING])


@_njit
def _go_on(
    f: FlatRun, at: IntArray, path: IntArray, services: Services, pending: IntArray, seen: IntArray
) -> int:
    """Walk on until the path begins, or until there is no room; a search is then made again."""
    now, row, iteration, wait = at[NOW], at[ROW], at[ITERATION], at[WAIT]
    waiting, length, search = at[WAITING], at[LENGTH], at[SEARCH]
    stopped = DONE
    while now > 0:
        if length == path.shape[0]:
            stopped = PATH_FULL
            break
        found, of, waited = NONE, 0, wait
        if row != NONE:
            search += 1
            found, of, waited = _cause(f, row, iteration, wait, now, search, pending, seen)
            if found < NONE:
                stopped = found
                break
        if found == NONE and waiting != NONE and f.steps[waiting, KIND] == USE:
            resource = f.steps[waiting, TARGET]
            if services.shift[resource] == NONE:
                at[RESOURCE] = resource
                stopped = UNLISTED
                break
            waited = SHARED
            found, of = _given_back(now, resource, services)
        if found == NONE:
            break
        path[length, 0], path[length, 1] = found, of
        path[length, 2] = DATA if waiting == NONE else waited
        length += 1
        now, waiting = f.start_ps[f.steps[found, BEFORE] + of], found
        row, iteration = _previous(f, found, of)
        wait = DATA if f.steps[found, STEP] else ORDER
    at[NOW], at[ROW], at[ITERATION], at[WAIT] = now, row, iteration, wait
    at[WAITING], at[LENGTH], at[SEARCH] = waiting, length, search
    return stopped


@_njit
def _cause(
    f: FlatRun, row: int, iteration: int, wait: int, now: int, search: int,
    pending: IntArray, seen: IntArray,
) -> tuple[int, int, int]:  # fmt: skip
    """The work that ended at `now` and made the step in `row` be done at `now`: its row, `NONE`
    where the step was done before; its iteration; how it was waited for.

    `pending` (row, iteration, token, wait) is what is still to be looked at, `seen` (execution,
    token, search) the set of what was; token -1 is the last one. `PENDING_FULL` or `SEEN_FULL` for
    a row where there is no room.
    """
    _set(pending[0], row, iteration, NONE, wait)
    top, known = 1, 0
    while top:
        top -= 1
        row, iteration, token, wait = pending[top]
        if _passed(f, row, iteration) < now:
            continue
        if 2 * known >= seen.shape[0]:
            return SEEN_FULL, 0, wait
        if not _add(seen, f.steps[row, EXECUTED] + iteration, token, search):
            continue
        known += 1
        own = f.steps[row, BEFORE] + iteration
        ended = f.end_ps[own] if f.steps[row, BEFORE] >= 0 else NONE
        if ended == now and f.start_ps[own] < now:
            first = f.actors[f.steps[row, ACTOR], FIRST_STEP]
            return first + f.steps[row, TIMED], iteration, wait
        if top + 2 > pending.shape[0]:
            return PENDING_FULL, 0, wait
        kind = f.steps[row, KIND]
        if kind in (GET, PUT):
            other, of, moved = _other_end(f, row, iteration, token)
            if other != NONE:
                _set(pending[top], other, of, moved, wait if kind == GET else max(wait, FULL))
                top += 1
        elif ended < now:
            continue
        if f.steps[row, IDLE_AT] >= 0:
            row -= f.amounts[f.steps[row, IDLE_AT] + iteration]
        before, of = _previous(f, row, iteration)
        if before != NONE:
            _set(pending[top], before, of, NONE, wait if f.steps[row, STEP] else max(wait, ORDER))
            top += 1
    return NONE, 0, wait


@_inline
def _passed(f: FlatRun, row: int, iteration: int) -> int:
    """The latest time at which the step in `row` can have been done, by the record behind it."""
    after = f.steps[row, AFTER]
    if after >= 0:
        return int(f.start_ps[after + iteration])
    return int(f.iteration_end_ps[f.actors[f.steps[row, ACTOR], FIRST_ITERATION] + iteration])


@_inline
def _previous(f: FlatRun, row: int, iteration: int) -> tuple[int, int]:
    """The step before the one in `row`, and its iteration; `NONE` for the first of an actor."""
    if f.steps[row, STEP]:
        return row - 1, iteration
    if iteration:
        return row + f.actors[f.steps[row, ACTOR], STEPS] - 1, iteration - 1
    return NONE, 0


@_inline
def _tokens(f: FlatRun, row: int, iteration: int) -> int:
    """Tokens that the Get or Put in `row` moves in `iteration`."""
    count = f.steps[row, COUNT]
    return int(count if count >= 0 else f.amounts[f.steps[row, COUNTS_AT] + iteration])


@_inline
def _moved(f: FlatRun, e: int, iteration: int) -> int:
    """Tokens that have been moved at end `e` when `iteration` begins."""
    each = f.ends[e, THROUGH]
    if each >= 0:
        return int(each * iteration)
    return int(f.amounts[f.ends[e, THROUGH_AT] + iteration - 1]) if iteration else 0


@_inline
def _other_end(f: FlatRun, row: int, iteration: int, token: int) -> tuple[int, int, int]:
    """What let the move in `row` move `token` (-1: its last): the Put of this token, or the Get
    that freed its slot; row, iteration and token there.

    `NONE` where nothing is moved, or the token or slot is there from the beginning.
    """
    e = f.steps[row, TARGET]
    if token < 0:
        if _tokens(f, row, iteration) == 0:
            return NONE, 0, 0
        at = f.ends[e, FIRST_MOVE]
        token = _moved(f, e, iteration) + _tokens(f, f.moves[at], iteration) - 1
        while f.moves[at] != row:
            at += 1
            token += _tokens(f, f.moves[at], iteration)
    token += f.ends[e, SHIFT]
    if token < 0:
        return NONE, 0, 0
    e ^= 1
    of = _iteration_of(f, e, token)
    at = f.ends[e, FIRST_MOVE]
    left = token - _moved(f, e, of) - _tokens(f, f.moves[at], of)
    while left >= 0:
        at += 1
        left -= _tokens(f, f.moves[at], of)
    return f.moves[at], of, token


@_inline
def _iteration_of(f: FlatRun, e: int, token: int) -> int:
    """The iteration that moves `token` at end `e`."""
    each = f.ends[e, THROUGH]
    if each >= 0:
        return int(token // each)
    first = f.ends[e, THROUGH_AT]
    low, high = 0, f.actors[f.ends[e, MOVER], ITERATIONS] - 1
    while low < high:
        middle = (low + high) >> 1
        if f.amounts[first + middle] > token:
            high = middle
        else:
            low = middle + 1
    return int(low)


@_inline
def _given_back(now: int, resource: int, services: Services) -> tuple[int, int]:
    """The first service of `resource`, in the order of rows, that takes time and ends at `now`:
    row and iteration, or `NONE`.
    """
    first, span = services.first[resource], now >> services.shift[resource]
    at = first + (services.behind[first + span - 1] if span else 0)
    while at < first + services.behind[first + span]:
        if services.end[at] == now:
            return int(services.user[at]), int(services.of[at])
        at += 1
    return NONE, 0


@_njit
def _list(f: FlatRun, resource: int, latest: int, services: Services) -> None:
    """List the services of `resource` that end up to `latest`, in two passes."""
    begin, stop = services.first[resource], services.first[resource + 1]
    shift = 0
    while latest >> shift >= stop - begin:
        shift += 1
    services.shift[resource] = shift
    behind = services.behind[begin:stop]
    behind[:] = 0
    users = f.users[f.first_user[resource] : f.first_user[resource + 1]]
    for row in users:
        place = f.steps[row, BEFORE]
        for n in range(place, place + f.actors[f.steps[row, ACTOR], ITERATIONS]):
            if max(f.start_ps[n], 0) < f.end_ps[n] <= latest:
                behind[f.end_ps[n] >> shift] += 1
    total = 0
    for span in range(behind.size):
        count = behind[span]
        behind[span] = total
        total += count
    for row in users:
        place = f.steps[row, BEFORE]
        for n in range(place, place + f.actors[f.steps[row, ACTOR], ITERATIONS]):
            end = f.end_ps[n]
            if max(f.start_ps[n], 0) < end <= latest:
                at = begin + behind[end >> shift]
                behind[end >> shift] += 1
                services.end[at], services.user[at], services.of[at] = end, row, n - place


@_inline
def _set(row: IntArray, a: int, b: int, c: int, d: int) -> None:
    row[0], row[1], row[2], row[3] = a, b, c, d


def _longer(table: IntArray) -> IntArray:
    """A table of twice the rows, which begins with those of `table`."""
    longer = np.empty((2 * table.shape[0], table.shape[1]), np.int64)
    longer[: table.shape[0]] = table
    return longer


@_inline
def _add(seen: IntArray, execution: int, token: int, search: int) -> bool:
    """Put a pair into the set of a search, in which there is room; False if it was there."""
    mask = seen.shape[0] - 1
    mixed = execution * 2654435769 + token * 40503
    at = (mixed ^ (mixed >> 21)) & mask
    while seen[at, 2] == search:
        if seen[at, 0] == execution and seen[at, 1] == token:
            return False
        at = (at + 1) & mask
    seen[at, 0], seen[at, 1], seen[at, 2] = execution, token, search
    return True
