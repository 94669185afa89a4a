"""Work of a run as slices on tracks of hardware, each with what it is for and what it takes.

A track is a unit, or a lane of one on which several pieces of work run at a time. The energy of a
stage on a kind of unit is spread over its work there in proportion to time; where a stage spends
on a kind of unit that it never occupies, over all of its work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import Get, IntArray, Put
from cimsim.ir import Workload
from cimsim.schedule.plan import Plan
from cimsim.simulation import Simulation
from cimsim.spec import Architecture
from cimsim.values.display import brief
from cimsim.views.part import RunPart
from cimsim.views.rows import Key, TimedVerb, lanes, works

ENERGY, BYTES, PJ = "energy (pJ)", "bytes", 1e-12
"""counted: what slices call their energy and what they move, and joules of a picojoule."""
Floats = npt.NDArray[np.float64]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Work on the units of one row, in the order of its starts, one entry each in all arrays.

    `work` is the place in `TimedVerb`s, `iteration` that of its actor, `energy_J` its part of the
    dynamic energy.
    """

    key: Key
    start_ps: IntArray
    end_ps: IntArray
    lane: IntArray
    work: IntArray
    iteration: IntArray
    energy_J: Floats


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """Where iterations of an actor stand: phase, step (from 1) and tokens (first, behind the last).

    Steps and tokens are 0 where an actor does not go by them.
    """

    phase: IntArray
    step: IntArray
    first_token: IntArray
    behind_token: IntArray


def slices_of(simulation: Simulation, part: RunPart) -> tuple[list[TimedVerb], list[Slices]]:
    """All work that runs within a part of a run, uncut, and what each piece is for."""
    found = list(works(simulation.plan))
    energies = _energies(simulation, found)
    rows: dict[Key, list[tuple[IntArray, ...]]] = defaultdict(list)
    spent: dict[Key, list[Floats]] = defaultdict(list)
    for number, work in enumerate(found):
        if work.key is None or not part.shows(work.info.layer):
            continue
        start, end = simulation.run.intervals(work.actor, work.step)
        here = np.flatnonzero((end > start) & (end > part.start_ps) & (start < part.end_ps))
        if here.size:
            rows[work.key].append((start[here], end[here], np.full(here.size, number), here))
            spent[work.key].append(energies[number][here])
    return found, [_row(key, columns, spent[key]) for key, columns in rows.items()]


def _row(key: Key, columns: list[tuple[IntArray, ...]], spent: list[Floats]) -> Slices:
    start, end, work, iteration = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((end, start))
    lane = lanes(np.stack([start, end], axis=1)[order])
    energy = np.concatenate(spent)[order]
    return Slices(key, start[order], end[order], lane, work[order], iteration[order], energy)


def _energies(simulation: Simulation, found: list[TimedVerb]) -> list[Floats]:
    """The dynamic energy (J) of every iteration of every work."""
    run = simulation.run
    times = [np.subtract(*run.intervals(w.actor, w.step)[::-1]).astype(np.float64) for w in found]
    on: dict[tuple[str, str], list[int]] = defaultdict(list)
    of: dict[str, list[int]] = defaultdict(list)
    for number, work in enumerate(found):
        if work.key is not None and times[number].any():
            on[work.info.stage, work.unit].append(number)
            of[work.info.stage].append(number)
    energies = [np.zeros(time.size) for time in times]
    for (stage, unit), by_phase in _charges(simulation).items():
        for phase, energy in enumerate(by_phase):
            for numbers in (on[stage, unit], of[stage]):
                here = [(n, found[n].info.phase == phase) for n in numbers]
                total = sum(float(times[n][mask].sum()) for n, mask in here)
                if total:
                    for n, mask in here:
                        energies[n][mask] += energy / total * times[n][mask]
                    break
    return energies


def _charges(simulation: Simulation) -> Mapping[tuple[str, str], Floats]:
    """Dynamic energy (J) by phase of each stage on each kind of unit."""
    found: dict[tuple[str, str], Floats] = {}
    for charge in simulation.plan.charges(simulation.architecture):
        key = charge.stage, charge.unit
        found[key] = found.get(key, 0.0) + np.array(charge.energy_J)
    return found


def position_of(plan: Plan, workload: Workload, work: TimedVerb) -> Position:
    """Phase, step and tokens of every iteration of a work's actor."""
    phase = work.info.phase
    step, first, behind = (np.zeros(phase.size, np.int64) for _ in range(3))
    counts = _counts(plan, work.actor, phase.size)
    for number, found in enumerate(workload.phases):
        here = np.flatnonzero(phase == number)
        if not here.size or here.size % found.steps:
            continue
        if found.tokens_growth or workload.sequences > 1:
            continue  # steps of unequal length, or several sequences in each
        each = here.size // found.steps
        step[here] = np.arange(here.size) // each + 1
        for moved in counts:
            if moved[here].sum() == found.tokens * found.steps:
                ends = np.cumsum(moved[here])
                first[here], behind[here] = ends - moved[here], ends
                break
    return Position(phase, step, first, behind)


class Teller:
    """Says of a piece of work what it is for, by words; numbers are as they are."""

    def __init__(self, simulation: Simulation) -> None:
        self.plan, self.workload = simulation.plan, simulation.workload
        self._machine = simulation.architecture
        self._positions: dict[int, Position] = {}
        self._bits: dict[tuple[int, int], Floats | None] = {}

    def told(self, work: TimedVerb, iteration: int) -> dict[str, object]:
        """Layer, stage, part and phase; step, tokens and bytes where it has some."""
        if work.actor not in self._positions:
            self._positions[work.actor] = position_of(self.plan, self.workload, work)
        at = self._positions[work.actor]
        phase = int(at.phase[iteration])
        found: dict[str, object] = {
            "layer": work.info.layer,
            "stage": work.info.stage,
            "part": work.info.part,
            "phase": self.plan.phases[phase],
        }
        if at.step[iteration] and self.workload.phases[phase].steps > 1:
            found["step"] = int(at.step[iteration])
        if at.behind_token[iteration] > at.first_token[iteration]:
            first, last = int(at.first_token[iteration]) + 1, int(at.behind_token[iteration])
            found["tokens"] = f"{first}" if first == last else f"{first} to {last}"
        moved = self._moved(work)
        if moved is not None and moved[iteration]:
            found[BYTES] = float(moved[iteration]) / 8  # counted: bits of a byte
        return found

    def _moved(self, work: TimedVerb) -> Floats | None:
        """Bits that move in every iteration of a work."""
        key = work.actor, work.step
        if key not in self._bits:
            self._bits[key] = moved_bits(work, self._machine)
        return self._bits[key]


def moved_bits(work: TimedVerb, machine: Architecture) -> Floats | None:
    """Bits that move in every iteration of a work, in or out of a memory or over links, if any.

    Over several ports at a time they are those of all, over links between dies once for each link.
    """
    if work.bits is None:
        return None
    found = work.bits(machine) if callable(work.bits) else work.bits
    return np.broadcast_to(np.asarray(found, np.float64), work.info.phase.shape)


def _counts(plan: Plan, actor: int, iterations: int) -> list[IntArray]:
    """Tokens that each Get and Put of an actor moves in its iterations."""
    verbs = (v for v in plan.program.actors[actor].steps if isinstance(v, Get | Put))
    return [
        np.broadcast_to(np.asarray(verb.count), iterations)
        for verb in verbs
        if np.ndim(verb.count) < 2
    ]
