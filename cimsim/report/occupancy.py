"""How long units are occupied, and how full the global buffer gets: folds over a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import Duration, Get, IntArray, Put
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


SLOTS = 2**12
"""Choice: spans into which a run is cut to find the one of the peak."""
TOGETHER = 2**15
"""Choice: tokens that are looked at together, a few megabytes."""


class _Peak:
    """Most bytes at any moment; what goes at a moment is still there with what comes at it.

    The moment is found in whole numbers, as many to a byte as a sum over all tokens has room for,
    among those of the spans of the run that reach as high as the beginning of any. `held` is as in
    `BufferedTokens`.
    """

    def __init__(
        self, held: Sequence[tuple[IntArray, list[IntArray], float]], slots: int = SLOTS
    ) -> None:
        self._slots = slots
        self._sizes = [size for _, _, size in held]
        every = sum(born.size * size for born, _, size in held)
        self._none = not every
        if self._none:
            return
        # counted: bits of a signed word, less one for rounding and for the largest sum
        scale = 2.0 ** (61 - math.frexp(every)[1])
        self._some: list[_Some] = []
        together: list[tuple[IntArray, list[IntArray], int]] = []
        tokens = 0
        for born, dies, size in held:
            if tokens + born.size > TOGETHER and together:
                self._some.append(_Some(together))
                together, tokens = [], 0
            together.append((born, dies, round(size * scale)))
            tokens += born.size
        self._some.append(_Some(together))

    def bytes(self, end_ps: IntArray) -> float:
        """That of a run with these ends."""
        if self._none:
            return 0.0
        moment = self._moment(end_ps)
        there = [count for some in self._some for count in some.there(end_ps, moment)]
        most = 0.0
        for count, size in zip(there, self._sizes, strict=True):
            most += float(count) * size
        return most

    def _moment(self, end_ps: IntArray) -> int:
        """The first moment with most bytes."""
        width = int(end_ps.max()) // self._slots + 1
        rise, fall = np.zeros((2, self._slots), np.int64)
        for some in self._some:
            for into, times, moves in zip(
                (rise, fall), some.times(end_ps), some.moves, strict=True
            ):
                np.add.at(into, times // width, moves)
        net = rise - fall
        before = np.cumsum(net) - net
        able = before + rise >= before.max()
        both = zip(*(some.within(end_ps, width, able) for some in self._some), strict=True)
        time, move = np.concatenate(list(chain.from_iterable(both)), axis=1)
        order = np.argsort(time, kind="stable")
        net[~able] = 0
        skipped = before - (np.cumsum(net) - net)
        level = np.cumsum(move[order]) + skipped[time[order] // width]
        return int(time[order[np.argmax(level)]])


class _Some:
    """Tokens that come and go, each in one array, entry by entry, and how much each weighs."""

    def __init__(self, held: list[tuple[IntArray, list[IntArray], int]]) -> None:
        born, dies, weights = zip(*held, strict=True)
        tokens, gone = [b.size for b in born], [d[0].size for d in dies]
        self._come, self._go = _joined(born), _joined([d[0] for d in dies])
        self._came, self._went = (np.cumsum([0, *counts]) for counts in (tokens, gone))
        self._later = [
            (slice(int(start), int(start) + each[0].size), each[1:])
            for start, each in zip(self._went[:-1], dies, strict=True)
            if len(each) > 1
        ]
        weight = np.array(weights, np.int64)
        self.moves = np.repeat(weight, tokens), np.repeat(weight, gone)
        """What each that comes brings, and each that goes takes."""

    def times(self, end_ps: IntArray) -> tuple[IntArray, IntArray]:
        """When tokens come and go in a run with these ends."""
        come, go = end_ps[self._come], end_ps[self._go]
        for where, more in self._later:
            for dies in more:
                np.maximum(go[where], end_ps[dies], out=go[where])
        return come, go

    def within(self, end_ps: IntArray, width: int, able: BoolArray) -> tuple[IntArray, IntArray]:
        """Of those that come, and that go, within spans of `width` that are `able`: when, and what
        that adds; a row each.
        """
        found = []
        for sign, times, moves in zip((1, -1), self.times(end_ps), self.moves, strict=True):
            here = able[times // width]
            found.append(np.stack([times[here], sign * moves[here]]))
        return found[0], found[1]

    def there(self, end_ps: IntArray, moment: int) -> list[int]:
        """How many tokens of each entry are there at a moment."""
        come, go = self.times(end_ps)
        there = _by_part(come <= moment, self._came) - _by_part(go < moment, self._went)
        return list(there.tolist())


def _joined(parts: Sequence[IntArray]) -> IntArray:
    """One behind the other; one alone is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


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
                ends = run.ends_ps(role)
                alone = isinstance(verb.count, int) and verb.count == 1
                moments[verb.buffer] = ends if alone else np.repeat(ends, verb.count)
    return moments
