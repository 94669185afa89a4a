"""What an engine hands back: the start and end of every interval, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from cimsim.engines.program import IntArray, Program, timed_verbs
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
