"""What is laid out, what a run of it comes to, and what of that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from cimsim import engines
from cimsim.engines import Ends, Kept, TimeTable
from cimsim.engines.program import Program
from cimsim.engines.times import retimed
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report.bottlenecks import binding
from cimsim.report.findings import Findings, RunFold
from cimsim.report.kinds import kinds_of
from cimsim.report.needs import needed
from cimsim.report.occupancy import phase_ends_ps
from cimsim.schedule import Plan
from cimsim.spec import Architecture
from cimsim.values.display import brief

if TYPE_CHECKING:
    from cimsim.engines.compiled import Prepared


@brief
@dataclass(frozen=True, eq=False)
class Ran:
    """A finished run of `workload`, as adapted, whatever the machine's costs."""

    workload: Workload
    mapping: Mapping
    plan: Plan
    ends: Ends

    @cached_property
    def mapping_sha256(self) -> str:
        """The digest of the mapping."""
        return self.mapping.digest()

    @cached_property
    def phase_ends_ps(self) -> tuple[int, ...]:
        """When the last actor finished each phase (ps)."""
        return tuple(phase_ends_ps(self.plan, self.ends))

    @cached_property
    def findings(self) -> Findings:
        """What a report needs of it, found once."""
        return RunFold(self.workload, self.plan, self.ends.marks).found(self.ends, self.plan.times)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Essentials:
    """What a report needs of a run: `plan` has no program and no times. `bound` is what binds,
    where told.
    """

    mapping: Mapping
    mapping_sha256: str
    plan: Plan
    findings: Findings
    bound: str | None = None

    @classmethod
    def of(cls, ran: Ran | Scheduled, findings: Findings, bound: str | None = None) -> Self:
        """That of `ran`, or of what is not run yet."""
        plan = replace(
            ran.plan, program=Program((), (), ()), roles=(), activations=(), times=(), formulas=(),
            wakings=(),
        )  # fmt: skip
        return cls(ran.mapping, ran.mapping_sha256, plan, findings, bound)


@brief
@dataclass(frozen=True, eq=False)
class LaidOut:
    """`workload`, as adapted, mapped and scheduled, for every machine on which that is the same."""

    workload: Workload
    mapping: Mapping
    plan: Plan

    def on(self, machine: Architecture) -> Scheduled:
        """The schedule with its times on `machine`; raises SimulationError as `build_plan`."""
        return Scheduled(self, self.plan.on(machine))

    @cached_property
    def mapping_sha256(self) -> str:
        """The digest of the mapping."""
        return self.mapping.digest()

    @cached_property
    def kept(self) -> Kept:
        """What is kept of runs for a report."""
        return needed(self.plan, kinds_of(self.workload))

    @cached_property
    def prepared(self) -> Prepared:
        """The program, encoded once."""
        return engines.prepared(self.plan.program, self.kept, times_of(self.plan))

    @cached_property
    def fold(self) -> RunFold:
        """What a report needs of runs, found once."""
        return RunFold(self.workload, self.plan, self.kept.marks)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Scheduled:
    """What is laid out with the times of one machine: `plan.times`, which its program may lack."""

    laid_out: LaidOut
    plan: Plan

    @property
    def mapping(self) -> Mapping:
        """Where everything is."""
        return self.laid_out.mapping

    @property
    def mapping_sha256(self) -> str:
        """Its digest, worked out once a layout."""
        return self.laid_out.mapping_sha256

    def run(self, *, bound: bool) -> Essentials:
        """Run it; of a run of which all is kept it can be told what binds it.

        Raises SimulationError.
        """
        laid_out, times = self.laid_out, self.plan.times
        if not bound:
            ends = laid_out.prepared.run(times_of(self.plan))
            return Essentials.of(self, laid_out.fold.found(ends, times))
        plan = self.whole()
        whole = engines.run(plan.program)
        findings = laid_out.fold.found(whole.ends(laid_out.kept), times)
        return Essentials.of(self, findings, binding(plan, whole))

    def least(self) -> Essentials:
        """What every run has at least."""
        return Essentials.of(self, Findings.least(self.laid_out.workload, self.whole()))

    def whole(self) -> Plan:
        """The plan, its program with the same times."""
        return replace(self.plan, program=retimed(self.plan.program, times_of(self.plan)))


def times_of(plan: Plan) -> TimeTable:
    """The times of a plan's program."""
    return TimeTable([info.times for info in plan.roles], plan.times)


class RunOnce:
    """What a design comes to at least, and what it comes to once it is asked for.

    It holds its plan until it is run or let go; `again` makes the same one anew. Where it is the
    first with its layout (`is_first`), bounds cost less than a run; where that is known, more.
    """

    def __init__(self, made: Scheduled, *, is_first: bool) -> None:
        self._made: Scheduled | None = made
        self._is_first = is_first
        self._least: Essentials | None = None
        self._done: Essentials | None = None

    def least(self, again: Callable[[], Scheduled]) -> Essentials:
        """What every run of the plan has at least."""
        if self._least is None:
            made = self._made = self._made or again()
            self._least = made.least()
        return self._least

    def done(self, again: Callable[[], Scheduled], *, bound: bool) -> Essentials:
        """What the run has, with what binds it if that is wanted."""
        if self._done is None:
            self._done = (self._made or again()).run(bound=bound)
        self._made = self._least = None
        return self._done

    @property
    def is_dear(self) -> bool:
        """Whether its run is still to come, and costs more than its bounds."""
        return self._is_first and self._done is None

    def let_go(self) -> None:
        """Hold the plan no longer, which takes megabytes; its layout is known from now on."""
        self._made, self._is_first = None, False
