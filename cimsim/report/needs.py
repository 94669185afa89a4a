"""What a report needs to know of a run."""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.engines import Kept
from cimsim.engines.program import Actor, Get, Put
from cimsim.engines.record import Part
from cimsim.report.kinds import times_by_kind
from cimsim.report.occupancy import LastOfPhases
from cimsim.schedule.plan import ActorInfo, Plan


def needed(plan: Plan, kinds: Mapping[str, str]) -> Kept:
    """Ends of iterations, and the time in which at least one unit works on each kind of work.

    All ends of the actors that fill or empty the global buffer, of others the last one of each
    phase. `kinds` is the kind of each op's work, `vector` where it has none. The ops of a verb work
    one after another within its interval.
    """
    wanted = {edge.buffer for edge in plan.activations}
    last = LastOfPhases()
    marks = [
        None if _moves_some(actor, wanted) else last.of(info.phase, sizes)
        for actor, (_, sizes), info in zip(
            plan.program.roles, plan.program.cast, plan.roles, strict=True
        )
    ]
    cells: dict[tuple[str, str], int] = {}
    wholes: dict[str, tuple[Part, ...]] = {}

    def parts_of(info: ActorInfo, at: int) -> tuple[Part, ...]:
        if not info.portions[at] and info.stage in wholes:
            return wholes[info.stage]
        found = tuple(
            (cells.setdefault((info.stage, kind), len(cells)), time)
            for kind, time in times_by_kind(info, at, kinds)
        )
        if not info.portions[at]:
            wholes[info.stage] = found
        return found

    parts = [tuple([parts_of(info, at) for at in range(len(info.occupies))]) for info in plan.roles]
    groups = sorted({kind for _, kind in cells})
    return Kept(marks, parts, tuple(groups.index(kind) for _, kind in cells), tuple(groups))


def _moves_some(actor: Actor, buffers: set[int]) -> bool:
    """Whether `actor` gets from or puts into some of `buffers`, at which no crew is."""
    for verb in actor.steps:
        if (type(verb) is Get or type(verb) is Put) and verb.buffer in buffers:
            return True
    return False
