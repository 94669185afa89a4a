"""What a finished simulation did, actor by actor and charge by charge, for tests of any module."""

from __future__ import annotations

import math
from collections import defaultdict

from cimsim.engines.program import Hold, Use
from cimsim.simulation import Simulation


def actor(done: Simulation, name: str) -> int:
    """Index of the actor `name`."""
    return next(i for i, a in enumerate(done.plan.program.actors) if a.name == name)


def starts_ps(done: Simulation, name: str) -> list[list[int]]:
    """When each interval of an actor starts: a list for each timed step, an entry an iteration."""
    return [spans[0] for spans in _intervals(done, name)]


def takes_ps(done: Simulation, name: str) -> list[list[int]]:
    """Length of each interval of an actor: a list for each timed step, an entry an iteration."""
    return [[b - a for a, b in zip(*spans, strict=True)] for spans in _intervals(done, name)]


def _intervals(done: Simulation, name: str) -> list[tuple[list[int], list[int]]]:
    """Starts and ends; what a transfer takes longer than its share of a memory belongs to it."""
    index = actor(done, name)
    steps = enumerate(done.plan.program.actors[index].steps)
    timed = [done.run.intervals(index, i) for i, verb in steps if isinstance(verb, Hold | Use)]
    found: list[tuple[list[int], list[int]]] = []
    units = done.plan.actors[index].occupies
    for number, (start, end) in enumerate(timed):
        unit, count = units[number]
        if count == 0 and number and units[number - 1][0] == unit:
            found[-1] = found[-1][0], end.tolist()
        else:
            found.append((start.tolist(), end.tolist()))
    return found


def ends_ps(done: Simulation, name: str) -> list[int]:
    """When an actor has done each iteration, its puts included."""
    return [int(end) for end in done.run.finish_ps(actor(done, name))]


def occupied(done: Simulation, name: str) -> tuple[tuple[str, int], ...]:
    """Units of each timed step of an actor; all banks are named once, latencies not at all."""
    steps = done.plan.actors[actor(done, name)].occupies
    return tuple(
        (unit, 1 if unit in ("buffer", "dram") else units) for unit, units in steps if units
    )


def charged_J(done: Simulation, stage: str) -> dict[str, list[float]]:
    """Energy (J) of a stage by unit and component: an entry a phase."""
    parts: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for charge in done.plan.charges(done.architecture):
        if charge.stage == stage:
            parts[f"{charge.unit}.{charge.component}"].append(charge.energy_J)
    return {k: [math.fsum(e) for e in zip(*v, strict=True)] for k, v in parts.items()}
