"""How long units are occupied, and how full the global buffer gets: folds over a run."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from cimsim.engines.program import Actor, Count, Get, Hold, IntArray, Put, Use
from cimsim.engines.record import Finished
from cimsim.report.parts import UnitTime
from cimsim.schedule.plan import Plan
from cimsim.units import ps_to_seconds


def phase_ends_s(plan: Plan, run: Finished) -> list[float]:
    """When the last actor finished each phase (s); the last is the makespan."""
    return [ps_to_seconds(end) for end in phase_ends_ps(plan, run)]


def phase_ends_ps(plan: Plan, run: Finished) -> list[int]:
    """When the last actor finished each phase (ps)."""
    ends = np.zeros(len(plan.phases), np.int64)
    last = LastOfPhases()
    phases, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for role, (info, (_, sizes)) in enumerate(zip(plan.roles, plan.program.cast, strict=True)):
        iterations = last.of(info.phase, sizes)
        phases.append(info.phase[iterations])
        times.append(run.ends_ps(role, iterations))
    np.maximum.at(ends, np.concatenate(phases), np.concatenate(times))
    found: list[int] = ends.tolist()
    return found


def phase_marks_ps(plan: Plan, run: Finished) -> list[int]:
    """Where phases begin and the last one ends (ps): each ends no sooner than those before it."""
    return [0, *accumulate(phase_ends_ps(plan, run), max)]


class LastOfPhases:
    """The last iteration of every phase, found once for all actors that go the same way."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], IntArray] = {}

    def of(self, phase: IntArray, sizes: IntArray) -> IntArray:
        """Iterations of a role after which its phase is another one, and the last of each member.

        A member has `sizes` of them.
        """
        key = id(phase), id(sizes) if sizes.size > 1 else 0
        if key not in self.known:
            changes = np.flatnonzero(np.diff(phase))
            self.known[key] = np.union1d(changes, np.cumsum(sizes[sizes > 0]) - 1)
        return self.known[key]


def last_of_phases(plan: Plan) -> list[IntArray]:
    """The iterations of each role whose ends tell when it finished the phases."""
    last = LastOfPhases()
    casts = zip(plan.roles, plan.program.cast, strict=True)
    return [last.of(info.phase, sizes) for info, (_, sizes) in casts]


def unit_times(plan: Plan, run: Finished) -> dict[str, UnitTime]:
    """Busy and idle time by unit kind, mean over the units in use."""
    busy_ps = {unit: 0 for unit, units in sorted(plan.unit_counts.items()) if units}
    for actor, info in zip(plan.program.roles, plan.roles, strict=True):
        for total, (unit, units) in zip(_busy_ps(actor), info.occupies, strict=True):
            busy_ps[unit] = busy_ps.get(unit, 0) + total * units
    result: dict[str, UnitTime] = {}
    for unit, total in busy_ps.items():
        units = plan.unit_counts.get(unit, 1)
        busy = ps_to_seconds(total) / units
        idle = ps_to_seconds(run.makespan_ps) - busy
        result[unit] = UnitTime(units=units, busy_s=busy, idle_s=idle)
    return result


def _busy_ps(actor: Actor) -> list[int]:
    """Time (ps) in each Hold or Use of `actor` over all its iterations, in order."""
    durations = [verb.duration for verb in actor.steps if isinstance(verb, Hold | Use)]
    return [int(d.sum()) if isinstance(d, np.ndarray) else d * actor.iterations for d in durations]


def buffer_peak_bytes(plan: Plan, run: Finished) -> float:
    """Largest number of bytes alive at once.

    A token is alive from the end of the iteration that put it to the end of the last iteration
    that took it; readers of the same tokens share one copy.
    """
    puts = _moments(plan, run, Put)
    gets = _moments(plan, run, Get)
    born: dict[tuple[str, int], IntArray] = {}
    dies: dict[tuple[str, int], IntArray] = {}
    size: dict[tuple[str, int], float] = {}
    for edge in plan.activations:
        start, end = puts[edge.buffer], gets[edge.buffer]
        key = (edge.producer, start.size)
        born[key] = start
        dies[key] = np.maximum(dies[key], end) if key in dies else end
        size[key] = edge.bytes_per_token
    return _peak([_Held(born[k], dies[k], size[k]) for k in born])


class _Held(NamedTuple):
    """Tokens of one size in the buffer: when each of them came and went (ps), in order."""

    born: IntArray
    dies: IntArray
    bytes_per_token: float


def _peak(held: list[_Held]) -> float:
    """Most bytes at any moment; what goes at a moment is still there with what comes at it.

    The moment is found in whole numbers, as many to a byte as a sum over all tokens has room for.
    """
    held = [entry for entry in held if entry.born.size]
    tokens = [entry.born.size for entry in held]
    every = sum(count * entry.bytes_per_token for count, entry in zip(tokens, held, strict=True))
    if not every:
        return 0.0
    # counted: bits of a signed word, less one for rounding and for the largest sum
    scale = 2.0 ** (61 - math.frexp(every)[1])
    each = np.array([round(entry.bytes_per_token * scale) for entry in held], np.int64)
    come, go = (np.concatenate(times) for times in zip(*(h[:2] for h in held), strict=True))
    moves = np.concatenate([np.repeat(each, tokens), -np.repeat(each, [h.dies.size for h in held])])
    order = np.argsort(np.concatenate([come, go]), kind="stable")
    moment = np.append(come, go)[order[np.argmax(np.cumsum(moves[order]))]]
    most = 0.0
    for born, dies, size in held:
        there = np.searchsorted(born, moment, "right") - np.searchsorted(dies, moment, "left")
        most += float(there) * size
    return most


def _moments(plan: Plan, run: Finished, verb_type: type[Get] | type[Put]) -> dict[int, IntArray]:
    """Buffer -> end of the iteration that moved each token, token by token (ps)."""
    wanted = {edge.buffer for edge in plan.activations}
    moments: dict[int, IntArray] = {}
    for role, actor in enumerate(plan.program.roles):
        for verb in actor.steps:
            if isinstance(verb, verb_type) and verb.buffer in wanted:
                counts = _counts(verb.count, actor.iterations)
                moments[verb.buffer] = np.repeat(run.ends_ps(role), counts)
    return moments


def _counts(count: Count, iterations: int) -> IntArray:
    if isinstance(count, np.ndarray):
        return count
    return np.full(iterations, count, np.int64)
