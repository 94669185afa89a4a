"""What a report needs of a run that no cost of the machine is in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from cimsim.engines import Ends
from cimsim.engines.floor import floor_ps
from cimsim.ir import Workload
from cimsim.report.kinds import OTHER, kinds_of
from cimsim.report.occupancy import buffer_peak_bytes, phase_ends_s, unit_times
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
    def of(cls, adapted: Workload, plan: Plan, run: Ends) -> Self:
        """Those of `run`, of the workload as `adapted`."""
        return cls(
            tuple(phase_ends_s(plan, run)),
            ps_to_seconds(run.makespan_ps),
            unit_times(plan, run),
            {kind: ps_to_seconds(time) for kind, time in run.working_ps.items()},
            buffer_peak_bytes(plan, run),
            _spent_on(adapted, plan),
        )

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


def _spent_on(adapted: Workload, plan: Plan) -> tuple[tuple[Tally, tuple[str, ...], int], ...]:
    kinds = kinds_of(adapted)
    tallies = {id(entry.tally): entry.tally for entry in plan.booked}
    counts = Counter(
        (id(entry.tally), tuple([kinds.get(op, OTHER) for op in entry.ops]))
        for entry in plan.booked
    )
    return tuple((tallies[tally], of_ops, n) for (tally, of_ops), n in counts.items())
