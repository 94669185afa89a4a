"""The critical path of a run: the chain of work that ends last and of which every part starts at
the picosecond at which the part before it ends.

The walk goes back from the last end to time 0. What made a verb go on at time t happened at t:
the verb before it in its actor, the Put of the token that a Get took, the Get that freed the slot
that a Put filled, or the Use that gave back the server. Moves of tokens take no time and have no
record; a search among the causes at t, pruned by the recorded times around each, finds the work
that ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cimsim.engines.program import IntArray
from cimsim.engines.record import Run, name_of
from cimsim.values.display import brief

Wait: TypeAlias = Literal["data", "order", "full", "shared"]
WAITS: tuple[Wait, ...] = ("data", "order", "full", "shared")
"""What the next part of a path waited for while this one worked.

"data": this work itself, in the same block or for the token that it puts; "order": the block before
in the same actor; "full": a slot in a full buffer; "shared": a server of a shared resource. Where
several things happened at one instant the actor's own work goes first; a chain of moves is named
after the last of this list that it contains.
"""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class CriticalPath:
    """Intervals from time 0 to the makespan, in order, one entry each in all arrays.

    `step` is the Hold or Use among the steps of `actor`, `wait` the position in `WAITS` of what the
    next interval waited for (0 for the last one). Each ends where the next one starts.
    """

    actor: IntArray
    iteration: IntArray
    step: IntArray
    start_ps: IntArray
    end_ps: IntArray
    wait: IntArray

    def _facts(self) -> dict[str, object]:
        return {"intervals": self.actor.size, "length_ps": int((self.end_ps - self.start_ps).sum())}


def critical_path(run: Run) -> CriticalPath:
    """The critical path of `run`; empty where the makespan is 0.

    Raises ValueError for records that no run of the program has.
    """
    from cimsim.engines.flat import flat
    from cimsim.engines.walk import walk

    makespan = run.makespan_ps
    columns = np.empty((6, 0), np.int64)
    if makespan:
        tables = flat(run)
        actor, iteration = _last(run, tables.actors, makespan)
        row = int(tables.actors[actor, :2].sum()) - 1
        columns, now, waiting = walk(tables, row, iteration, makespan)
        if now:
            actor, step = tables.steps[waiting, :2].tolist()
            name = name_of(run.program, actor)
            raise ValueError(
                f"actor {name!r} goes on to step {step} at {now} ps: nothing ends then"
            )
    return CriticalPath(*columns)


def _last(run: Run, actors: IntArray, makespan_ps: int) -> tuple[int, int]:
    """The first of `actors` (see `FlatRun`) that ends at the makespan, and its last iteration."""
    _, steps, iterations, first = actors.T
    able = np.flatnonzero((steps > 0) & (iterations > 0))
    last = run.iteration_end_ps[first[able] + iterations[able] - 1]
    ending = able[last == makespan_ps]
    if not ending.size:
        raise ValueError("no actor ends at the makespan")
    return int(ending[0]), int(iterations[ending[0]]) - 1
