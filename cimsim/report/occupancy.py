"""How long units are occupied, and how full the global buffer gets: folds over a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from cimsim.engines.program import Actor, Count, Get, Hold, IntArray, Put, Use
from cimsim.engines.record import Finished
from cimsim.report.parts import UnitTime
from cimsim.schedule.plan import Plan
from cimsim.units import ps_to_seconds

_WINDOWS = 4096
"""Choice: into so many equal parts a run is cut to find where the buffer is fullest."""


def phase_ends_s(plan: Plan, run: Finished) -> list[float]:
    """When the last actor finished each phase (s); the last is the makespan."""
    return [ps_to_seconds(end) for end in phase_ends_ps(plan, run)]


def phase_ends_ps(plan: Plan, run: Finished) -> list[int]:
    """When the last actor finished each phase (ps)."""
    ends = [0] * len(plan.phases)
    last = LastOfPhases()
    for index, info in enumerate(plan.actors):
        for iteration in last.of(info.phase).tolist():
            phase = int(info.phase[iteration])
            ends[phase] = max(ends[phase], run.end_ps_of(index, iteration))
    return ends


def phase_marks_ps(plan: Plan, run: Finished) -> list[int]:
    """Where phases begin and the last one ends (ps): each ends no sooner than those before it."""
    return [0, *accumulate(phase_ends_ps(plan, run), max)]


class LastOfPhases:
    """The last iteration of every phase, found once for all actors that go the same way."""

    def __init__(self) -> None:
        self.known: dict[int, IntArray] = {}

    def of(self, phase: IntArray) -> IntArray:
        """Iterations of an actor after which its phase is another one, and its last."""
        found = self.known.get(id(phase))
        if found is None:
            found = np.append(np.flatnonzero(np.diff(phase)), phase.size - 1)
            self.known[id(phase)] = found = found[found >= 0].astype(np.int64)
        return found


def last_of_phases(plan: Plan) -> list[IntArray]:
    """The iterations of each actor whose ends tell when it finished the phases."""
    last = LastOfPhases()
    return [last.of(info.phase) for info in plan.actors]


def unit_times(plan: Plan, run: Finished) -> dict[str, UnitTime]:
    """Busy and idle time by unit kind, mean over the units in use."""
    busy_ps = {unit: 0 for unit, units in sorted(plan.unit_counts.items()) if units}
    for actor, info in zip(plan.program.actors, plan.actors, strict=True):
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
    held = [_Held(born[k], dies[k], size[k]) for k in born]
    return _peak(held, run.makespan_ps)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Tokens of one size in the buffer: when each of them came and went (ps), in order.

    `before` are there besides, at every moment that is asked for.
    """

    born: IntArray
    dies: IntArray
    bytes_per_token: float
    before: int = 0

    def come(self, moments: IntArray) -> IntArray:
        """Tokens that have come up to each moment, those of the moment with them."""
        return np.searchsorted(self.born, moments, side="right")

    def gone(self, moments: IntArray) -> IntArray:
        """Tokens that have gone before each moment."""
        return np.searchsorted(self.dies, moments, side="left")

    def there(self, moments: IntArray) -> int | IntArray:
        """Tokens at each moment, those that come or go then with them; one number if always so."""
        if not (self.born.size or self.dies.size):
            return self.before
        return self.come(moments) - self.gone(moments) + self.before

    def within(self, after: int, until: int) -> _Held:
        """The same for moments after `after` and up to `until` alone."""
        first, end = np.searchsorted(self.born, (after, until), side="right").tolist()
        gone = int(np.searchsorted(self.dies, after, side="right"))
        left = max(gone, int(np.searchsorted(self.dies, until, side="left")))
        born, dies = self.born[first:end], self.dies[gone:left]
        return _Held(born, dies, self.bytes_per_token, first - gone)


def _peak(held: list[_Held], makespan_ps: int) -> float:
    """Most bytes at any moment; what goes at a moment is still there with what comes at it.

    Between two moments there is no more than at the first with all that comes until the second.
    Only where that could be above what is at some moment are the comings looked at one by one.
    """
    edges = np.unique(np.linspace(0, makespan_ps, _WINDOWS + 1).astype(np.int64))
    there, ahead = np.zeros(edges.size), np.zeros(edges.size)
    for tokens in held:
        come = tokens.come(edges)
        left = (come - tokens.gone(edges)) * tokens.bytes_per_token
        there += left
        ahead += left + np.diff(come, append=come[-1]) * tokens.bytes_per_token
    most = float(there.max(initial=0.0))
    for window in np.argsort(-ahead, kind="stable").tolist():
        if ahead[window] <= most:
            break
        span = edges[window], edges[min(window + 1, edges.size - 1)]
        inside = [tokens.within(*span) for tokens in held]
        moments = np.unique(np.concatenate([tokens.born for tokens in inside]))
        alive = np.zeros(moments.size)
        for tokens in inside:
            alive += tokens.there(moments) * tokens.bytes_per_token
        most = max(most, float(alive.max(initial=0.0)))
    return most


def _moments(plan: Plan, run: Finished, verb_type: type[Get] | type[Put]) -> dict[int, IntArray]:
    """Buffer -> end of the iteration that moved each token, token by token (ps)."""
    wanted = {edge.buffer for edge in plan.activations}
    moments: dict[int, IntArray] = {}
    for index, actor in enumerate(plan.program.actors):
        for verb in actor.steps:
            if isinstance(verb, verb_type) and verb.buffer in wanted:
                counts = _counts(verb.count, actor.iterations)
                moments[verb.buffer] = np.repeat(run.finish_ps(index), counts)
    return moments


def _counts(count: Count, iterations: int) -> IntArray:
    if isinstance(count, np.ndarray):
        return count
    return np.full(iterations, count, np.int64)
