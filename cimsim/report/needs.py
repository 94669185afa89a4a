"""What a report needs to know of a run."""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.engines import Kept
from cimsim.engines.program import Get, Put
from cimsim.engines.record import Part
from cimsim.report.kinds import times_by_kind
from cimsim.report.occupancy import LastOfPhases
from cimsim.schedule.plan import Plan


def needed(plan: Plan, kinds: Mapping[str, str]) -> Kept:
    """Ends of iterations, and the time in which at least one unit works on each kind of work.

    All ends of the actors that fill or empty the global buffer, of others the last one of each
    phase. `kinds` is the kind of each op's work, `vector` where it has none. The ops of a verb work
    one after another within its interval.
    """
    wanted = {edge.buffer for edge in plan.activations}
    last = LastOfPhases()
    marks = [
        None
        if any(isinstance(verb, Get | Put) and verb.buffer in wanted for verb in actor.steps)
        else last.of(info.phase)
        for actor, info in zip(plan.program.actors, plan.actors, strict=True)
    ]
    cells: dict[tuple[str, str], int] = {}
    parts: list[tuple[tuple[Part, ...], ...]] = []
    for info in plan.actors:
        found = (times_by_kind(info, at, kinds) for at in range(len(info.occupies)))
        parts.append(
            tuple(
                tuple((cells.setdefault((info.stage, k), len(cells)), time) for k, time in verb)
                for verb in found
            )
        )
    groups = sorted({kind for _, kind in cells})
    return Kept(marks, parts, tuple(groups.index(kind) for _, kind in cells), tuple(groups))
