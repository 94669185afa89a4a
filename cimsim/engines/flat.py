"""A Run as flat tables of whole numbers: what machine code that walks over a run reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import Count, Get, Hold, IntArray, Put, Use, Verb
from cimsim.engines.record import Run
from cimsim.engines.tokens import NONE, Tokens

_KINDS = {Get: 0, Put: 1, Hold: 2, Use: 3}
GET, PUT, HOLD, USE = range(4)


class FlatRun(NamedTuple):
    """The steps of all actors of a run, a row each, and where their records lie; -1 for none.

    `actors`: first row in `steps`, number of steps, iterations, place of iteration 0 among the
    iterations.
    `steps`: actor; step; kind; end of a buffer (as in `Tokens`), or resource; tokens, or where
    they vary -1 and in the next column their place in `amounts`; the timed step at or before it
    in the actor, and the place of iteration 0 of that among the intervals; the same place for the
    timed step behind it; how often all steps above it are executed.
    `ends`: actor, then as `Tokens.ends`. `moves`: rows of `steps`, end by end. `users`: rows of
    `steps` by resource, those of resource r from `first_user[r]` up to `first_user[r + 1]`.
    `start_ps`, `end_ps` and `iteration_end_ps` are those of the run.
    """

    actors: IntArray
    steps: IntArray
    ends: IntArray
    moves: IntArray
    users: IntArray
    first_user: IntArray
    amounts: IntArray
    start_ps: IntArray
    end_ps: IntArray
    iteration_end_ps: IntArray


def flat(run: Run) -> FlatRun:
    """The tables of `run`."""
    program = run.program
    verbs = [verb for actor in program.actors for verb in actor.steps]
    kind = np.array([_KINDS[type(verb)] for verb in verbs], np.int64)
    target = np.array([_target(verb) for verb in verbs], np.int64)
    users, first_user = _by_target(kind == USE, target, len(program.resources))
    moves, first_move = _by_target(kind <= PUT, target, 2 * len(program.buffers))
    counted = Tokens(program, [_count(verbs[row]) for row in moves.tolist()], first_move)
    tokens = np.full((kind.size, 2), NONE)
    tokens[moves] = counted.moves()
    actors, place, recorded = _places(run, kind)
    steps = np.column_stack([place, kind, target, tokens, recorded])
    ends = np.column_stack([place[moves[first_move[:-1]], 0], counted.ends()])
    records = (np.ascontiguousarray(r) for r in (run.start_ps, run.end_ps, run.iteration_end_ps))
    tables = actors, steps, ends, moves, users, first_user, counted.amounts()
    return FlatRun(*tables, *records)


def _target(verb: Verb) -> int:
    if type(verb) is Get:
        return 2 * verb.buffer
    if type(verb) is Put:
        return 2 * verb.buffer + 1
    return verb.resource if type(verb) is Use else NONE


def _count(verb: Verb) -> Count:
    assert isinstance(verb, Get | Put)
    return verb.count


def _by_target(
    chosen: npt.NDArray[np.bool_], target: IntArray, targets: int
) -> tuple[IntArray, IntArray]:
    """The chosen rows sorted by their target, and where those of each target begin and end."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(target[rows], kind="stable")]
    return rows, np.searchsorted(target[rows], np.arange(targets + 1))


def _places(run: Run, kind: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """`actors`, and the columns of `steps` for the place in the program and for the records."""
    actors, layout = run.program.actors, run.layout
    lengths = np.array([len(actor.steps) for actor in actors], np.int64)
    first = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(lengths.size), lengths)
    times = np.array([actor.iterations for actor in actors], np.int64)
    iterations, row, timed = times[owner], np.arange(owner.size), kind >= HOLD
    latest = np.maximum.accumulate(np.where(timed, row, NONE))
    known = latest >= first[owner]
    through = np.append(0, np.cumsum(timed))
    more = through[1:] < through[(first + lengths)[owner]]
    behind = np.array(layout.interval_offset, np.int64)[owner]
    behind += (through[1:] - through[first[owner]]) * iterations
    recorded = [
        np.where(known, latest - first[owner], NONE),
        np.where(known, behind - iterations, NONE),
        np.where(more, behind, NONE),
        np.cumsum(iterations) - iterations,
    ]
    first_iteration = np.array(layout.iteration_offset[:-1], np.int64)
    return (
        np.column_stack([first, lengths, times, first_iteration]),
        np.column_stack([owner, row - first[owner]]),
        np.column_stack(recorded),
    )
