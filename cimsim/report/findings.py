"""What a report needs of a run that no cost of the machine is in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

from cimsim.engines import Ends
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
        kinds = kinds_of(adapted)
        tallies = {id(entry.tally): entry.tally for entry in plan.booked}
        counts = Counter(
            (id(entry.tally), tuple([kinds.get(op, OTHER) for op in entry.ops]))
            for entry in plan.booked
        )
        return cls(
            tuple(phase_ends_s(plan, run)),
            ps_to_seconds(run.makespan_ps),
            unit_times(plan, run),
            {kind: ps_to_seconds(time) for kind, time in run.working_ps.items()},
            buffer_peak_bytes(plan, run),
            tuple((tallies[tally], of_ops, n) for (tally, of_ops), n in counts.items()),
        )

    @property
    def latencies_s(self) -> list[float]:
        """Latency (s) of each phase."""
        return [b - a for a, b in zip((0.0, *self.phase_ends_s), self.phase_ends_s, strict=False)]
