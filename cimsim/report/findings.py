"""What a report needs of a run that no cost of the machine is in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cimsim.engines import Ends
from cimsim.engines.floor import floor_ps
from cimsim.engines.program import Duration
from cimsim.engines.record import Marks
from cimsim.ir import Workload
from cimsim.report.kinds import OTHER, kinds_of
from cimsim.report.occupancy import BufferedTokens, BusyUnits, ends_by_phase
from cimsim.report.parts import UnitTime
from cimsim.schedule import Plan
from cimsim.schedule.plan import Tally
from cimsim.units import ps_to_seconds
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Times of a finished run, the bytes in the buffer at the peak, and what energy is spent on.

    `spent_on` has every tally with the kinds of work of the ops that it counts, and how often.
    """

    phase_ends_s: tuple[float, ...]
    makespan_s: float
    unit_times: dict[str, UnitTime]
    latency_by_kind_s: dict[str, float]
    buffer_peak_bytes: float
    spent_on: tuple[tuple[Tally, tuple[str, ...], int], ...]

    @classmethod
    def least(cls, adapted: Workload, plan: Plan) -> Self:
        """What every run of `plan` has at least; all its time is in the last phase."""
        makespan_s = ps_to_seconds(floor_ps(plan.program))
        ends = (0.0,) * (len(plan.phases) - 1)
        return cls((*ends, makespan_s), makespan_s, {}, {}, 0.0, _spent_on(adapted, plan))

    @property
    def latencies_s(self) -> list[float]:
        """Latency (s) of each phase."""
        return [b - a for a, b in zip((0.0, *self.phase_ends_s), self.phase_ends_s, strict=False)]


@brief
class RunFold:
    """What a report seeks in every run of the program of `plan`, of the workload as `adapted`.

    `marks` are those of the runs.
    """

    def __init__(self, adapted: Workload, plan: Plan, marks: Marks) -> None:
        self._spent_on = _spent_on(adapted, plan)
        places = Ends.places(plan.program, marks)
        self._ends = ends_by_phase(plan, places)
        self._units, self._tokens = BusyUnits(plan), BufferedTokens(plan, places)

    def _facts(self) -> dict[str, object]:
        return {"phases": len(self._ends), "tallies": len(self._spent_on)}

    def found(self, run: Ends, times: Sequence[Duration]) -> Findings:
        """What `run`, with `times` by number, came to."""
        ends = [int(run.end_ps[places].max(initial=0)) for places in self._ends]
        return Findings(
            tuple(map(ps_to_seconds, ends)),
            ps_to_seconds(run.makespan_ps),
            self._units.times(times, run.makespan_ps),
            {kind: ps_to_seconds(time) for kind, time in run.working_ps.items()},
            self._tokens.peak_bytes(run.end_ps),
            self._spent_on,
        )


def _spent_on(adapted: Workload, plan: Plan) -> tuple[tuple[Tally, tuple[str, ...], int], ...]:
    kinds = kinds_of(adapted)
    tallies = {id(entry.tally): entry.tally for entry in plan.booked}
    counts = Counter(
        (id(entry.tally), tuple([kinds.get(op, OTHER) for op in entry.ops]))
        for entry in plan.booked
    )
    return tuple((tallies[tally], of_ops, n) for (tally, of_ops), n in counts.items())
