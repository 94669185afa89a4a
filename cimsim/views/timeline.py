"""What works when, for a page: shares over the whole run, and single pieces of work in a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cimsim.engines.program import IntArray
from cimsim.simulation import Simulation
from cimsim.units import PS_PER_S, ps_to_seconds, quantity
from cimsim.values.display import brief
from cimsim.views.part import RunPart, part_of, stepped_phase
from cimsim.views.rows import TimedVerb, share, works
from cimsim.views.slices import ENERGY, PJ, Floats, Slices, Teller, slices_of

MOST = 1500
"""Choice: pieces of work in a page, which browsers still draw at once."""
LANES = 60
"""Choice: lanes of a timeline that a page shows at a time, the busiest units first."""
BINS = 150
"""Choice: times at which a page tells the shares of kinds of unit."""
PATH = "critical path"


@brief
@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work: its unit and lane, from when to when (ps), and what it tells."""

    unit: str
    lane: int
    start_ps: int
    end_ps: int
    told: Mapping[str, str]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A window of a run: the names of its lanes from the top, and the pieces of work on them.

    A name stands at the first lane of a unit, the busiest unit first. `of` counts the pieces of
    the whole run. Lane 0 is the critical path.
    """

    part: RunPart
    lanes: tuple[str, ...]
    pieces: tuple[Piece, ...]
    units: int
    of: int

    @property
    def title(self) -> str:
        """Which part is shown, in a line."""
        whole = len(self.pieces)
        return (
            f"{self.part.name}: {whole:,} pieces of work on {self.units:,} units, {self.of:,} in "
            "the whole run"
        )

    @property
    def views(self) -> list[tuple[int, int]]:
        """First lane and the one behind the last of what is shown at a time: LANES at most.

        Those of a unit stay together where they are not more than that.
        """
        starts = [lane for lane, name in enumerate(self.lanes) if name]
        cuts = [0]
        for lane, behind in zip(starts, [*starts[1:], len(self.lanes)], strict=True):
            if behind - cuts[-1] > LANES and lane > cuts[-1]:
                cuts.append(lane)
            while behind - cuts[-1] > LANES:
                cuts.append(cuts[-1] + LANES)
        return list(pairwise([*cuts, len(self.lanes)]))


def timeline_of(simulation: Simulation, part: RunPart | None = None) -> Timeline:
    """The timeline of a part of a run.

    Without one it is the whole run if that has few pieces of work, else the step in the middle of
    the generation, if there is one. Of more than MOST pieces the first are shown: the window ends
    where they do.
    """
    every = _starts(simulation, None)
    window = part or _default(simulation, every)
    starts = _starts(simulation, window)
    if starts.size > MOST:
        behind = int(np.partition(starts, MOST)[MOST])
        end_ps = max(behind, window.start_ps + 1)
        cut = part_of(
            simulation, layer=window.layer,
            window_s=(window.start_ps / PS_PER_S, end_ps / PS_PER_S),
        )  # fmt: skip
        window = RunPart(window.start_ps, end_ps, cut.name, window.layer)
    found, rows = slices_of(simulation, window)
    rows.sort(key=lambda row: -int((row.end_ps - row.start_ps).sum()))
    names = [PATH]
    pieces: list[Piece] = []
    teller = Teller(simulation)
    for row in rows:
        several = int(row.lane.max(initial=0)) + 1
        pieces += [
            _piece(found[int(row.work[piece])], row, piece, len(names), teller)
            for piece in range(row.start_ps.size)
        ]
        unit, name = row.key
        whole = f"{name}: {unit}" if unit not in name else name
        names += [whole, *[""] * (several - 1)]
    pieces += _on_path(simulation, window, found, teller)
    return Timeline(window, tuple(names), tuple(pieces), len(rows), every.size)


def shares(simulation: Simulation) -> dict[str, Floats]:
    """By kind of unit the share of its units at work, in each of BINS parts of the run."""
    edges = np.linspace(0, max(simulation.run.makespan_ps, 1), BINS + 1)
    counts = simulation.plan.unit_counts
    found: dict[str, Floats] = {}
    for work in works(simulation.plan):
        if work.key is not None:
            spans = np.stack(simulation.run.intervals(work.actor, work.step), axis=1)
            at_work = share(spans, edges) * work.units / max(counts.get(work.unit, 1), 1)
            found[work.unit] = found.get(work.unit, np.zeros(BINS)) + at_work
    return found


def _default(simulation: Simulation, every: IntArray) -> RunPart:
    phase = stepped_phase(simulation.workload)
    if every.size <= MOST or phase is None:
        return part_of(simulation)
    return part_of(simulation, step=(simulation.workload.phases[phase].steps + 1) // 2)


def _starts(simulation: Simulation, part: RunPart | None) -> IntArray:
    """When pieces of work of a part start, of the whole run if left out (ps)."""
    found = [np.zeros(0, np.int64)]
    for work in works(simulation.plan):
        if work.key is None or (part is not None and not part.shows(work.info.layer)):
            continue
        start, end = simulation.run.intervals(work.actor, work.step)
        here = end > start
        if part is not None:
            here &= (end > part.start_ps) & (start < part.end_ps)
        found.append(start[here])
    return np.concatenate(found)


def _piece(work: TimedVerb, row: Slices, piece: int, lane: int, teller: Teller) -> Piece:
    start, end = int(row.start_ps[piece]), int(row.end_ps[piece])
    told = teller.told(work, int(row.iteration[piece]))
    told[ENERGY] = float(row.energy_J[piece]) / PJ
    return Piece(
        row.key[0], lane + int(row.lane[piece]), start, end, _words(start, end, told)
    )  # fmt: skip


def _words(start: int, end: int, told: Mapping[str, object]) -> dict[str, str]:
    times = {
        "from": f"{start} ps", "to": f"{end} ps",
        "takes": quantity(ps_to_seconds(end - start), "s"),
    }  # fmt: skip
    return {**times, **{key: str(value) for key, value in told.items()}}


def _on_path(
    simulation: Simulation, part: RunPart, found: list[TimedVerb], teller: Teller
) -> list[Piece]:
    """The pieces of the critical path that touch a part."""
    path = simulation.critical_path
    by_step = {(work.actor, work.step): work for work in found}
    here = np.flatnonzero((path.end_ps > part.start_ps) & (path.start_ps < part.end_ps))
    pieces = []
    for at in here[:MOST].tolist():
        work = by_step[int(path.actor[at]), int(path.step[at])]
        start, end = int(path.start_ps[at]), int(path.end_ps[at])
        told = teller.told(work, int(path.iteration[at]))
        pieces.append(Piece(work.unit, 0, start, end, _words(start, end, told)))
    return pieces
