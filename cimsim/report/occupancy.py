"""How long units are occupied, and how full the global buffer gets: folds over a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import Count, Duration, Get, IntArray, Put
from cimsim.engines.record import Finished
from cimsim.report.parts import UnitTime
from cimsim.schedule.plan import Plan
from cimsim.units import ps_to_seconds

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def phase_ends_ps(plan: Plan, run: Finished) -> list[int]:
    """When the last actor finished each phase (ps)."""
    return [int(times.max(initial=0)) for times in ends_by_phase(plan, run)]


def ends_by_phase(plan: Plan, run: Finished) -> list[IntArray]:
    """By phase when each of its actors finished it (ps)."""
    last = LastOfPhases()
    phases, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for role, (info, (_, sizes)) in enumerate(zip(plan.roles, plan.program.cast, strict=True)):
        iterations = last.of(info.phase, sizes)
        phases.append(info.phase[iterations])
        times.append(run.ends_ps(role, iterations))
    phase, time = np.concatenate(phases), np.concatenate(times)
    return [time[phase == p] for p in range(len(plan.phases))]


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
            last = np.zeros(phase.size, bool)
            last[:-1] = phase[1:] != phase[:-1]
            last[np.cumsum(sizes[sizes > 0]) - 1] = True
            self.known[key] = np.flatnonzero(last)
        return self.known[key]


def last_of_phases(plan: Plan) -> list[IntArray]:
    """The iterations of each role whose ends tell when it finished the phases."""
    last = LastOfPhases()
    casts = zip(plan.roles, plan.program.cast, strict=True)
    return [last.of(info.phase, sizes) for info, (_, sizes) in casts]


class BusyUnits:
    """Which times of a plan occupy units, and how many: busy and idle time by unit kind."""

    def __init__(self, plan: Plan) -> None:
        self._counts = dict(sorted(plan.unit_counts.items()))
        self._units = {unit: Counter[tuple[int, int]]() for unit, n in self._counts.items() if n}
        for actor, info in zip(plan.program.roles, plan.roles, strict=True):
            for time, (unit, units) in zip(info.times, info.occupies, strict=True):
                found = self._units.setdefault(unit, Counter())
                found[time, actor.iterations] += units

    def times(self, times: Sequence[Duration], makespan_ps: int) -> dict[str, UnitTime]:
        """Busy and idle time, mean over the units in use, in a run with `times` by number."""
        whole = [int(time.sum()) if isinstance(time, np.ndarray) else time for time in times]
        varies = [isinstance(time, np.ndarray) for time in times]
        result: dict[str, UnitTime] = {}
        for unit, found in self._units.items():
            total = sum(
                whole[time] * (1 if varies[time] else iterations) * units
                for (time, iterations), units in found.items()
            )
            units = self._counts.get(unit, 1)
            busy = ps_to_seconds(total) / units
            idle = ps_to_seconds(makespan_ps) - busy
            result[unit] = UnitTime(units=units, busy_s=busy, idle_s=idle)
        return result


class BufferedTokens:
    """Which ends of a run say when tokens come into the global buffer and go.

    A token is alive from the end of the iteration that put it to the end of the last iteration
    that took it; readers of the same tokens share one copy. `places` are ends that are their own
    places among those of a run.
    """

    def __init__(self, plan: Plan, places: Finished) -> None:
        puts = _moments(plan, places, Put)
        gets = _moments(plan, places, Get)
        born: dict[tuple[str, int], IntArray] = {}
        dies: dict[tuple[str, int], list[IntArray]] = {}
        size: dict[tuple[str, int], float] = {}
        for edge in plan.activations:
            start, end = puts[edge.buffer], gets[edge.buffer]
            key = (edge.producer, start.size)
            born[key] = start
            dies.setdefault(key, []).append(end)
            size[key] = edge.bytes_per_token
        self.held = [(born[key], dies[key], size[key]) for key in born]
        self._peak = _Peak([entry for entry in self.held if entry[0].size])

    def peak_bytes(self, end_ps: IntArray) -> float:
        """Largest number of bytes alive at once, of a run with these ends."""
        return self._peak.bytes(end_ps)


def buffer_bytes(plan: Plan, run: Finished, times_ps: IntArray) -> FloatArray:
    """Bytes alive in the global buffer at each time (ps) of a run."""
    found = np.zeros(times_ps.size)
    for born, dies, size in BufferedTokens(plan, run).held:
        gone = np.sort(np.maximum.reduce(dies))
        there = np.searchsorted(np.sort(born), times_ps, "right")
        found += size * (there - np.searchsorted(gone, times_ps, "left"))
    return found


class _Peak:
    """Most bytes at any moment; what goes at a moment is still there with what comes at it.

    Tokens that come and go are each in one array, entry by entry (`held` as in `BufferedTokens`).
    The moment is found in whole numbers, as many to a byte as a sum over all tokens has room for.
    """

    def __init__(self, held: Sequence[tuple[IntArray, list[IntArray], float]]) -> None:
        tokens = [born.size for born, _, _ in held]
        gone = [dies[0].size for _, dies, _ in held]
        self._sizes = [size for _, _, size in held]
        every = sum(count * size for count, size in zip(tokens, self._sizes, strict=True))
        self._none = not every
        if self._none:
            return
        # counted: bits of a signed word, less one for rounding and for the largest sum
        scale = 2.0 ** (61 - math.frexp(every)[1])
        each = np.array([round(size * scale) for size in self._sizes], np.int64)
        self._moves = np.concatenate([np.repeat(each, tokens), -np.repeat(each, gone)])
        self._come = np.concatenate([born for born, _, _ in held])
        self._go = np.concatenate([dies[0] for _, dies, _ in held])
        self._came, self._went = (np.cumsum([0, *counts]) for counts in (tokens, gone))
        self._later = [
            (slice(int(start), int(start) + dies[0].size), dies[1:])
            for start, (_, dies, _) in zip(self._went[:-1], held, strict=True)
            if len(dies) > 1
        ]

    def bytes(self, end_ps: IntArray) -> float:
        """That of a run with these ends."""
        if self._none:
            return 0.0
        come, go = end_ps[self._come], end_ps[self._go]
        for where, more in self._later:
            for dies in more:
                np.maximum(go[where], end_ps[dies], out=go[where])
        times = np.concatenate([come, go])
        order = np.argsort(times, kind="stable")
        moment = times[order[np.argmax(np.cumsum(self._moves[order]))]]
        there = _by_part(come <= moment, self._came) - _by_part(go < moment, self._went)
        most = 0.0
        for count, size in zip(there.tolist(), self._sizes, strict=True):
            most += float(count) * size
        return most


def _by_part(marks: BoolArray, ends: IntArray) -> IntArray:
    """How many of `marks` are set between each two of `ends`."""
    counts: IntArray = np.diff(np.append(0, np.cumsum(marks, dtype=np.int64))[ends])
    return counts


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
