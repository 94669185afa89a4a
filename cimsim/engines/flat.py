"""A Run as flat tables of whole numbers: what machine code that walks over a run reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cimsim.engines.actors import resources_of
from cimsim.engines.program import (
    Actor,
    Crew,
    Get,
    Hold,
    IntArray,
    Program,
    Put,
    Use,
    Verb,
    rows_of,
)
from cimsim.engines.record import Run
from cimsim.engines.tokens import NONE, Tokens, Varying

_KINDS = {Get: 0, Put: 1, Hold: 2, Use: 3}
GET, PUT, HOLD, USE = range(4)


class FlatRun(NamedTuple):
    """The steps of all actors of a run, a row each, and where their records lie; -1 for none.

    `actors`: first row in `steps`, number of steps, iterations, place of iteration 0 among the
    iterations.
    `steps`: actor; step; kind; end of a buffer (as in `Tokens`), or resource; tokens, or where
    they vary -1, in the next column their place in `amounts`, and in the one behind that of the
    steps directly above that move nothing; the timed step at or before it in the actor, and the
    place of iteration 0 of that among the intervals; the same place for the timed step behind it;
    how often all steps above it are executed.
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
    listed = _Listed(program)
    kind, target, fixed = listed.columns()
    users, first_user = _by_target(kind == USE, target, len(program.resources))
    moves, first_move = _by_target(kind <= PUT, target, 2 * program.buffer_count)
    actors, place, recorded = _places(run, kind)
    which = np.empty(kind.size, np.int64)
    which[moves] = np.arange(moves.size)
    varying = (found._replace(at=which[found.at]) for found in listed.varying)
    turns = actors[place[moves, 0], 2]
    counted = Tokens(program, first_move, fixed[moves], turns, varying)
    tokens = np.full((kind.size, 3), NONE)
    tokens[moves] = counted.moves()
    steps = np.column_stack([place, kind, target, tokens, recorded])
    ends = np.column_stack([place[moves[first_move[:-1]], 0], counted.ends()])
    records = (np.ascontiguousarray(r) for r in (run.start_ps, run.end_ps, run.iteration_end_ps))
    tables = actors, steps, ends, moves, users, first_user, counted.amounts()
    return FlatRun(*tables, *records)


class _Listed:
    """The single verbs of a program, a row each: kind; end of a buffer, or resource; tokens, -1
    where they vary. `varying` has the rows of those.
    """

    def __init__(self, program: Program) -> None:
        self.varying: list[Varying] = []
        self._parts: list[IntArray] = [np.empty((0, 3), np.int64)]
        self._alone: list[tuple[int, int, int]] = []
        self._size = 0
        for group in program.groups:
            if isinstance(group, Crew):
                self._crew(group)
            else:
                self._actor(group)

    def columns(self) -> IntArray:
        """A column behind the other."""
        self._flush()
        return np.ascontiguousarray(np.concatenate(self._parts).T)

    def _flush(self) -> None:
        if self._alone:
            self._parts.append(np.array(self._alone, np.int64))
            self._size += len(self._alone)
            self._alone = []

    def _actor(self, actor: Actor) -> None:
        """An actor that stands alone."""
        for verb in actor.steps:
            kind, target, count = _single(verb)
            rows = rows_of(verb)
            if count == NONE:
                at = self._size + len(self._alone) + np.arange(rows)
                self._vary(verb, at, np.full(rows, actor.iterations))
            self._alone += [(kind, target + 2 * behind, count) for behind in range(rows)]

    def _crew(self, crew: Crew) -> None:
        """All members of a crew, one behind the other."""
        self._flush()
        verbs = [verb for actor in crew.actors for verb in actor.steps]
        members = np.arange(len(crew.numbers))
        table = np.tile(np.array([_single(v) for v in verbs], np.int64), (members.size, 1, 1))
        for at, verb in enumerate(verbs):
            if isinstance(verb, Use):
                table[:, at, 1] = resources_of(crew, verb)
            elif isinstance(verb, Get | Put):
                table[:, at, 1] += 2 * members
                if isinstance(verb.count, np.ndarray):
                    self._vary(verb, self._size + at + len(verbs) * members, crew.sizes)
        self._parts.append(table.reshape(-1, 3))
        self._size += table.shape[0] * table.shape[1]

    def _vary(self, verb: Verb, rows: IntArray, sizes: IntArray) -> None:
        assert isinstance(verb, Get | Put)
        assert isinstance(verb.count, np.ndarray)
        self.varying.append(Varying(rows, verb.buffer, verb.count, sizes))


def _single(verb: Verb) -> tuple[int, int, int]:
    """The row of a verb, or of the first one that it stands for."""
    kind = _KINDS[type(verb)]
    if isinstance(verb, Get | Put):
        count = NONE if isinstance(verb.count, np.ndarray) else verb.count
        return kind, 2 * verb.buffer + kind, count
    return kind, verb.resource if isinstance(verb, Use) else NONE, 0


def _by_target(
    chosen: npt.NDArray[np.bool_], target: IntArray, targets: int
) -> tuple[IntArray, IntArray]:
    """The chosen rows sorted by their target, and where those of each target begin and end."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(target[rows], kind="stable")]
    return rows, np.searchsorted(target[rows], np.arange(targets + 1))


def _places(run: Run, kind: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """`actors`, and the columns of `steps` for the place in the program and for the records."""
    program, layout = run.program, run.layout
    lengths, times = np.empty((2, program.actor_count), np.int64)
    for role, (numbers, sizes) in zip(program.roles, program.cast, strict=True):
        lengths[numbers], times[numbers] = sum(map(rows_of, role.steps)), sizes
    first = np.cumsum(lengths) - lengths
    owner = np.repeat(np.arange(lengths.size), lengths)
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
