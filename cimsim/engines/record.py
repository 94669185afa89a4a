"""What an engine hands back: start and end of every interval as flat arrays, or some ends alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol, TypeAlias

import numpy as np

from cimsim.engines.cover import Cover
from cimsim.engines.program import Duration, IntArray, Program, timed_verbs
from cimsim.errors import SimulationError
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, eq=False)
class Layout:
    """Where each actor's records lie in the flat arrays.

    Intervals of actor a: `interval_offset[a]` up to `interval_offset[a + 1]`, one stretch of
    `iterations` entries for each timed verb (Hold or Use), in the order of its steps.
    Iterations of actor a: `iteration_offset[a]` up to `iteration_offset[a + 1]`.
    """

    interval_offset: tuple[int, ...]
    iteration_offset: tuple[int, ...]

    @classmethod
    def of(cls, program: Program) -> Layout:
        """The layout of `program`'s records."""
        timed = (actor.iterations * len(timed_verbs(actor.steps)) for actor in program.actors)
        iterations = (actor.iterations for actor in program.actors)
        return cls(tuple(accumulate(timed, initial=0)), tuple(accumulate(iterations, initial=0)))


INTERVALS_KEPT_MAX = 2**27
"""Most intervals of which start and end are kept: choice, each takes 24 bytes or more."""


def check_kept(program: Program) -> None:
    """Raise SimulationError for a program of more intervals than are kept."""
    intervals = Layout.of(program).interval_offset[-1]
    if intervals > INTERVALS_KEPT_MAX:
        raise SimulationError(
            f"start and end of {intervals} intervals are asked for (timed verbs x iterations of "
            f"all actors), cimsim keeps at most {INTERVALS_KEPT_MAX}; the report needs none: "
            "what bounds a run and its timeline take a shorter prompt or decode, or fewer layers"
        )


Marks: TypeAlias = Sequence[IntArray | None]
"""For each actor the iterations whose ends are kept, in order and with the last one; None: all."""


Part: TypeAlias = tuple[int, Duration | None]
"""Part of an interval: its cell, and its time (ps) in each iteration, None for all there is."""


@brief
@dataclass(frozen=True, eq=False)
class Kept:
    """What is wanted of a run: ends of iterations, and the time in which groups are at work.

    `parts` has the parts of every timed verb of every actor, one after another within an interval
    and with it at their end. `cells` gives the group of each cell, a position in `groups`:
    intervals of a cell are best those that lie close together, as those of one stage do.
    """

    marks: Marks
    parts: Sequence[tuple[tuple[Part, ...], ...]]
    cells: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()

    @classmethod
    def ends(cls, program: Program, marks: Marks) -> Kept:
        """Ends of iterations and nothing else."""
        nothing = [((),) * len(timed_verbs(actor.steps)) for actor in program.actors]
        return cls(marks, nothing)


def check_marks(program: Program, marks: Marks) -> None:
    """Raise ValueError for marks that are not of `program`, or that lack the end of an actor."""
    ordered: set[int] = set()
    for actor, kept in zip(program.actors, marks, strict=True):
        if kept is None:
            continue
        if id(kept) not in ordered and kept.size and (kept[0] < 0 or (np.diff(kept) < 1).any()):
            raise ValueError(f"actor {actor.name!r}: marks must rise from 0 on, got {kept}")
        ordered.add(id(kept))
        last = int(kept[-1]) if kept.size else -1
        if last != actor.iterations - 1:
            raise ValueError(
                f"actor {actor.name!r}: the last mark must be its last iteration, "
                f"{actor.iterations - 1}, got {last}"
            )


class Finished(Protocol):
    """What is known of a complete run: when iterations ended (ps)."""

    @property
    def makespan_ps(self) -> int:
        """When the last actor was done (ps)."""

    def finish_ps(self, actor: int) -> IntArray:
        """When each iteration of `actor` was done (ps)."""

    def end_ps_of(self, actor: int, iteration: int) -> int:
        """When `iteration` of `actor` was done (ps)."""


@brief
@dataclass(frozen=True, eq=False)
class Ends:
    """A complete run of `program` of which only the ends of some iterations were kept.

    `end_ps` has the iterations of `marks`, actor after actor, from `offset[actor]` on; `working_ps`
    the time in which some interval of each group ran.
    """

    program: Program
    marks: Marks
    offset: tuple[int, ...]
    end_ps: IntArray
    working_ps: dict[str, int]

    @classmethod
    def of(cls, program: Program, kept: Kept, end_ps: IntArray, times: Sequence[int]) -> Ends:
        """What was kept: ends as an engine wrote them, times (ps) that groups were at work."""
        marks = kept.marks
        sizes = (
            actor.iterations if kept is None else kept.size
            for actor, kept in zip(program.actors, marks, strict=True)
        )
        return cls(
            program,
            marks,
            tuple(accumulate(sizes, initial=0)),
            end_ps,
            dict(zip(kept.groups, times, strict=True)),
        )

    def _facts(self) -> dict[str, object]:
        return {"makespan_ps": self.makespan_ps, "ends": self.end_ps.size}

    def finish_ps(self, actor: int) -> IntArray:
        """When each iteration of `actor` was done, its PUTs included (ps).

        Raises ValueError for an actor of which not all were kept.
        """
        if self.marks[actor] is not None:
            name = self.program.actors[actor].name
            raise ValueError(f"actor {name!r}: only some ends were kept, mark it with None")
        return self._kept(actor)

    def end_ps_of(self, actor: int, iteration: int) -> int:
        """When `iteration` of `actor` was done (ps).

        Raises ValueError for one that was not kept.
        """
        marks = self.marks[actor]
        if iteration == self.program.actors[actor].iterations - 1:
            return int(self.end_ps[self.offset[actor + 1] - 1])
        at = iteration if marks is None else int(np.searchsorted(marks, iteration))
        if marks is not None and (at == marks.size or marks[at] != iteration):
            name = self.program.actors[actor].name
            raise ValueError(f"actor {name!r}: the end of iteration {iteration} was not kept")
        return int(self._kept(actor)[at])

    def _kept(self, actor: int) -> IntArray:
        return self.end_ps[self.offset[actor] : self.offset[actor + 1]]

    @property
    def makespan_ps(self) -> int:
        """When the last actor was done (ps); 0 for a program without iterations."""
        return int(self.end_ps.max(initial=0))


@brief
@dataclass(frozen=True, eq=False)
class Run:
    """A complete run of `program`; times in ps, arrays laid out as `layout` says.

    `start_ps` and `end_ps` have one entry an interval, that is an execution of a Hold or a Use; a
    Use starts when it is granted, and an interval of 0 ps has start = end. `iteration_end_ps` has
    one entry an iteration of an actor: when its last verb, PUT included, was done.
    """

    program: Program
    layout: Layout
    start_ps: IntArray
    end_ps: IntArray
    iteration_end_ps: IntArray

    def _facts(self) -> dict[str, object]:
        return {
            "makespan_ps": self.makespan_ps,
            "intervals": self.start_ps.size,
            "actors": len(self.program.actors),
        }

    def intervals(self, actor: int, verb: int) -> tuple[IntArray, IntArray]:
        """Start and end (ps) over the iterations of `actor`, for the Hold or Use at step `verb`.

        Raises ValueError if that step is a Get or a Put, which takes no time of its own.
        """
        owner = self.program.actors[actor]
        timed = timed_verbs(owner.steps)
        if verb not in timed:
            raise ValueError(
                f"actor {owner.name!r}: step {verb} is not a Hold or Use; those are {timed}"
            )
        first = self.layout.interval_offset[actor] + timed.index(verb) * owner.iterations
        span = slice(first, first + owner.iterations)
        return self.start_ps[span], self.end_ps[span]

    def finish_ps(self, actor: int) -> IntArray:
        """When each iteration of `actor` was done, its PUTs included (ps)."""
        offset = self.layout.iteration_offset
        return self.iteration_end_ps[offset[actor] : offset[actor + 1]]

    def end_ps_of(self, actor: int, iteration: int) -> int:
        """When `iteration` of `actor` was done (ps)."""
        return int(self.finish_ps(actor)[iteration])

    def ends(self, kept: Kept) -> Ends:
        """What `kept` asks for, and no more."""
        ends = [
            self.finish_ps(number)[slice(None) if chosen is None else chosen]
            for number, chosen in enumerate(kept.marks)
        ]
        cover = Cover(len(kept.groups))
        for number, (actor, verbs) in enumerate(zip(self.program.actors, kept.parts, strict=True)):
            for step, parts in zip(timed_verbs(actor.steps), verbs, strict=True):
                start, end = self.intervals(number, step)
                for at, (cell, time) in enumerate(parts, 1):
                    over = end if time is None or at == len(parts) else start + time
                    group = np.full(end.size, kept.cells[cell])
                    cover.add(np.stack([group, start, over], axis=1)[over > start])
                    start = over
        joined_ends = np.concatenate([np.zeros(0, np.int64), *ends])
        return Ends.of(self.program, kept, joined_ends, cover.time_ps())

    @property
    def makespan_ps(self) -> int:
        """When the last actor was done (ps); 0 for a program without iterations."""
        if self.iteration_end_ps.size == 0:
            return 0
        last = np.array(self.layout.iteration_offset[1:], np.int64) - 1
        return int(self.iteration_end_ps[last[last >= 0]].max())

    @property
    def verbs_executed(self) -> int:
        """Verbs executed, the skipped ones (of 0 tokens or 0 ps) included."""
        return self.program.verb_count
