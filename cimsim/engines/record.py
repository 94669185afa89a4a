"""What an engine hands back: start and end of every interval as flat arrays, or some ends alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Protocol, TypeAlias

import numpy as np

from cimsim.engines.cover import Cover
from cimsim.engines.program import Actor, Crew, Duration, IntArray, Program, rows_of, timed_verbs
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
        intervals, iterations = np.zeros((2, program.actor_count + 1), np.int64)
        for company in program.companies:
            here = company.numbers + 1
            intervals[here] = company.sizes * len(timed_verbs(company.actor.steps))
            iterations[here] = company.sizes
        offsets = (np.cumsum(each).tolist() for each in (intervals, iterations))
        return cls(*map(tuple, offsets))


def name_of(program: Program, actor: int) -> str:
    """The name of an actor, given by its number; raises IndexError for one that is not there."""
    first = 0
    for group in program.groups:
        roles: tuple[Actor, ...] = group.actors if isinstance(group, Crew) else (group,)
        numbers = group.numbers if isinstance(group, Crew) else ("",)
        member, own = divmod(actor - first, len(roles))
        if member < len(numbers):
            return f"{roles[own].name}{numbers[member]}"
        first += len(roles) * len(numbers)
    raise IndexError(f"actor {actor} asked for, the program has {first}")


def timed_in_turn(actor: Actor) -> tuple[int, ...]:
    """Positions of the verbs of a role that take time among the steps of each of its actors."""
    through = [0, *accumulate(map(rows_of, actor.steps))]
    return tuple([through[step] for step in timed_verbs(actor.steps)])


def _through(program: Program, counts: Iterable[IntArray]) -> list[int]:
    """Sums of `counts`, given role by role, up to each actor and over all."""
    each = np.zeros(program.actor_count + 1, np.int64)
    for (numbers, _), count in zip(program.cast, counts, strict=True):
        each[numbers + 1] = count
    found: list[int] = np.cumsum(each).tolist()
    return found


INTERVALS_KEPT_MAX = 2**27
"""Most intervals of which start and end are kept: choice, each takes 24 bytes or more."""


def check_kept(program: Program) -> None:
    """Raise SimulationError for a program of more intervals than are kept."""
    intervals = sum(
        company.numbers.shape[0] * int(company.sizes.sum()) * len(timed_verbs(company.actor.steps))
        for company in program.companies
    )
    if intervals > INTERVALS_KEPT_MAX:
        raise SimulationError(
            f"start and end of {intervals} intervals are asked for (timed verbs x iterations of "
            f"all actors), cimsim keeps at most {INTERVALS_KEPT_MAX}; the report needs none: "
            "what bounds a run and its timeline take a shorter prompt or decode, or fewer layers"
        )


Marks: TypeAlias = Sequence[IntArray | None]
"""For each role the iterations whose ends are kept, in order and with the last one of every member;
None: all."""


Part: TypeAlias = tuple[int, Duration | None]
"""Part of an interval: its cell, and its time (ps) in each iteration, None for all there is."""


@brief
@dataclass(frozen=True, eq=False)
class Kept:
    """What is wanted of a run: ends of iterations, and the time in which groups are at work.

    `parts` has the parts of every timed verb of every role, one after another within an interval
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
        nothing = [((),) * len(timed_verbs(actor.steps)) for actor in program.roles]
        return cls(marks, nothing)


def check_marks(program: Program, marks: Marks) -> None:
    """Raise ValueError for marks that are not of `program`, or that lack the end of an actor."""
    ordered: set[int] = set()
    known: set[tuple[int, int]] = set()
    for actor, (_, sizes), kept in zip(program.roles, program.cast, marks, strict=True):
        if kept is None or (id(kept), id(sizes)) in known:
            continue
        if id(kept) not in ordered and kept.size and (kept[0] < 0 or (np.diff(kept) < 1).any()):
            raise ValueError(f"actor {actor.name!r}: marks must rise from 0 on, got {kept}")
        ordered.add(id(kept))
        lasts = np.cumsum(sizes) - 1
        last = int(kept[-1]) if kept.size else -1
        if last != lasts[-1] or not np.isin(lasts[:-1], kept).all():
            raise ValueError(
                f"actor {actor.name!r}: the last mark must be its last iteration, "
                f"{actor.iterations - 1}, got {last}"
            )
        known.add((id(kept), id(sizes)))


def marked(program: Program, marks: Marks) -> list[IntArray]:
    """For each role how many ends are kept of each of its actors."""
    found, known = [], dict[tuple[int, int], IntArray]()
    for (_, sizes), kept in zip(program.cast, marks, strict=True):
        if kept is None:
            found.append(sizes)
        elif sizes.size == 1:
            found.append(np.array([kept.size]))
        else:
            key = id(kept), id(sizes)
            if key not in known:
                known[key] = np.diff(np.searchsorted(kept, np.cumsum(sizes)), prepend=0)
            found.append(known[key])
    return found


def entries_through(program: Program, marks: Marks | None) -> IntArray:
    """Where the log of each actor begins, and its end: of its `marks`, else all there is.

    All there is are its intervals and the ends of its iterations.
    """
    if marks is not None:
        return np.array(_through(program, marked(program, marks)), np.int64)
    each = np.zeros(program.actor_count + 1, np.int64)
    for company in program.companies:
        each[company.numbers + 1] = company.sizes * (1 + len(timed_verbs(company.actor.steps)))
    return np.cumsum(each)


def in_order(program: Program, counts: Iterable[IntArray]) -> tuple[list[IntArray], int]:
    """Where the entries of each actor begin, role by role, and all there are.

    Actors stand in order, each has as many entries as `counts` says for its role.
    """
    through = np.array(_through(program, counts), np.int64)
    return [through[numbers] for numbers, _ in program.cast], int(through[-1])


def places(first: IntArray, counts: IntArray) -> IntArray:
    """`counts` places from each of `first` on."""
    through = np.cumsum(counts)
    total = int(through[-1])
    return np.repeat(first - through + counts, counts) + np.arange(total)


class Finished(Protocol):
    """What is known of a complete run: when iterations ended (ps)."""

    @property
    def makespan_ps(self) -> int:
        """When the last actor was done (ps)."""

    def ends_ps(self, role: int, iterations: IntArray | None = None) -> IntArray:
        """When `iterations` of a role were done (ps), or all of them, member after member."""


@brief
@dataclass(frozen=True, eq=False)
class Ends:
    """A complete run of `program` of which only the ends of some iterations were kept.

    `end_ps` has the iterations of `marks`, actor after actor; `working_ps` the time in which some
    interval of each group ran.
    """

    program: Program
    marks: Marks
    end_ps: IntArray
    working_ps: dict[str, int]

    @classmethod
    def of(cls, program: Program, kept: Kept, end_ps: IntArray, times: Sequence[int]) -> Ends:
        """What was kept: ends as an engine wrote them, times (ps) that groups were at work."""
        return cls(program, kept.marks, end_ps, dict(zip(kept.groups, times, strict=True)))

    @classmethod
    def places(cls, program: Program, marks: Marks) -> Ends:
        """Ends that are their own places in `end_ps`: where to look in every such run."""
        _, count = in_order(program, marked(program, marks))
        return cls(program, marks, np.arange(count), {})

    @cached_property
    def _lying(self) -> tuple[list[IntArray], list[IntArray]]:
        """For each role how many ends of each actor were kept, and where they begin."""
        counts = marked(self.program, self.marks)
        return counts, in_order(self.program, counts)[0]

    def _facts(self) -> dict[str, object]:
        return {"makespan_ps": self.makespan_ps, "ends": self.end_ps.size}

    def ends_ps(self, role: int, iterations: IntArray | None = None) -> IntArray:
        """When `iterations` of a role were done, their PUTs included (ps), or all of them.

        Raises ValueError for some that were not kept.
        """
        marks, name = self.marks[role], self.program.roles[role].name
        if iterations is None and marks is not None:
            raise ValueError(f"actor {name!r}: only some ends were kept, mark it with None")
        counts, first = (of_role[role] for of_role in self._lying)
        at = iterations
        if marks is not None and iterations is not None:
            at = np.minimum(np.searchsorted(marks, iterations), marks.size - 1)
            lost = iterations[marks[at] != iterations]
            if lost.size:
                raise ValueError(f"actor {name!r}: the end of iteration {lost[0]} was not kept")
        if first.size == 1:
            here = self.end_ps[first[0] : first[0] + counts[0]]
        else:
            here = self.end_ps[places(first, counts)]
        return here if at is None else here[at]

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

    def ends_ps(self, role: int, iterations: IntArray | None = None) -> IntArray:
        """When `iterations` of a role were done (ps), or all of them, member after member."""
        numbers, sizes = self.program.cast[role]
        if numbers.size == 1:
            here = self.finish_ps(int(numbers[0]))
        else:
            here = self.iteration_end_ps[places(self._first_iterations[numbers], sizes)]
        return here if iterations is None else here[iterations]

    def ends(self, kept: Kept) -> Ends:
        """What `kept` asks for, and no more."""
        program = self.program
        counts = marked(program, kept.marks)
        first, size = in_order(program, counts)
        found = np.zeros(size, np.int64)
        cover = Cover(len(kept.groups))
        for role, (actor, verbs) in enumerate(zip(program.roles, kept.parts, strict=True)):
            found[places(first[role], counts[role])] = self.ends_ps(role, kept.marks[role])
            for step, parts in zip(timed_verbs(actor.steps), verbs, strict=True):
                start, end = self.intervals_of(role, step)
                for at, (cell, time) in enumerate(parts, 1):
                    over = end if time is None or at == len(parts) else start + time
                    group = np.full(end.size, kept.cells[cell])
                    cover.add(np.stack([group, start, over], axis=1)[over > start])
                    start = over
        return Ends.of(program, kept, found, cover.time_ps())

    def intervals_of(self, role: int, verb: int) -> tuple[IntArray, IntArray]:
        """As `intervals` for a Hold or Use of a role, actor after actor."""
        numbers, sizes = self.program.cast[role]
        at = timed_verbs(self.program.roles[role].steps).index(verb)
        if numbers.size == 1:
            first = self.layout.interval_offset[int(numbers[0])] + at * int(sizes[0])
            span = slice(first, first + int(sizes[0]))
            return self.start_ps[span], self.end_ps[span]
        here = places(self._first_intervals[numbers] + at * sizes, sizes)
        return self.start_ps[here], self.end_ps[here]

    def starts_ps(self, role: int, verb: int, iterations: IntArray) -> IntArray:
        """When a Hold or Use of a role started (ps) in `iterations`, counted actor after actor."""
        numbers, sizes = self.program.cast[role]
        through = np.cumsum(sizes)
        before = timed_verbs(self.program.roles[role].steps).index(verb) * sizes - through + sizes
        first = self._first_intervals[numbers] + before
        return self.start_ps[first[np.searchsorted(through, iterations, "right")] + iterations]

    @cached_property
    def _first_iterations(self) -> IntArray:
        return np.array(self.layout.iteration_offset, np.int64)

    @cached_property
    def _first_intervals(self) -> IntArray:
        return np.array(self.layout.interval_offset, np.int64)

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
