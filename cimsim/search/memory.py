"""What earlier runs came to, for runs that agree with them in all that they depend on.

A run is a function of the adapted workload, the strategy, the mapper, the adaptation, and of the
fields of the machine that mapping, schedule and engine read (`cimsim.values.reads`). Machines that
differ in others, such as energies and areas, share it: only their report is folded anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from cimsim.adaptation import Adaptation
from cimsim.engines import Ends
from cimsim.engines.program import Program
from cimsim.ir import Workload
from cimsim.mapping import Mapping
from cimsim.report.findings import Findings
from cimsim.report.parts import ModelWrite
from cimsim.report.writes import model_write
from cimsim.schedule import Plan
from cimsim.spec import Architecture
from cimsim.values.display import brief
from cimsim.values.latest import Latest
from cimsim.values.reads import Remembered

RUNS_KEPT = 128
"""Choice: runs without their programs, up to half a megabyte each."""
TRIALS_KEPT = 256
"""Choice: runs of parts of a workload in a search, of which one takes about 100."""
WORKLOADS_KEPT = 32
"""Choice: adapted workloads and mappings, a megabyte each."""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Scheduled:
    """`workload`, as adapted, mapped and scheduled."""

    workload: Workload
    mapping: Mapping
    plan: Plan


@brief
@dataclass(frozen=True, eq=False)
class Ran:
    """A finished run of `workload`, as adapted, whatever the machine's costs."""

    workload: Workload
    mapping: Mapping
    plan: Plan
    ends: Ends

    @cached_property
    def findings(self) -> Findings:
        """What a report needs of it, found once."""
        return Findings.of(self.workload, self.plan, self.ends)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Essentials:
    """What a report needs of a run: `plan` has no program. `bound` is what binds, where told."""

    mapping: Mapping
    mapping_sha256: str
    plan: Plan
    findings: Findings
    bound: str | None = None

    @classmethod
    def of(cls, ran: Ran | Scheduled, findings: Findings, bound: str | None = None) -> Self:
        """That of `ran`, or of what is not run yet."""
        plan = replace(ran.plan, program=Program((), (), ()), roles=(), activations=())
        return cls(ran.mapping, ran.mapping.digest(), plan, findings, bound)


class RunOnce:
    """What a design comes to at least, and what it comes to once it is asked for.

    It holds its plan until it is run or let go; `again` makes the same one anew.
    """

    def __init__(self, made: Scheduled) -> None:
        self._made: Scheduled | None = made
        self._least: Essentials | None = None
        self._done: Essentials | None = None

    def least(self, again: Callable[[], Scheduled]) -> Essentials:
        """What every run of the plan has at least."""
        if self._least is None:
            made = self._made = self._made or again()
            self._least = Essentials.of(made, Findings.least(made.workload, made.plan))
        return self._least

    def done(
        self, again: Callable[[], Scheduled], finish: Callable[[Scheduled], Essentials]
    ) -> Essentials:
        """What the run has, which `finish` makes where there was none."""
        if self._done is None:
            self._done = finish(self._made or again())
        self._made = self._least = None
        return self._done

    @property
    def is_done(self) -> bool:
        """Whether it was run."""
        return self._done is not None

    def let_go(self) -> None:
        """Hold the plan no longer, which takes megabytes."""
        self._made = None


@dataclass(eq=False)
class Memory:
    """Results by what they depend on, those that were used last; memory stays flat."""

    outcomes: Remembered[RunOnce] = field(default_factory=lambda: Remembered(RUNS_KEPT))
    trials: Remembered[Ran] = field(default_factory=lambda: Remembered(TRIALS_KEPT))
    writes: Remembered[ModelWrite] = field(default_factory=lambda: Remembered(WORKLOADS_KEPT))
    _adapted: Latest[Workload] = field(default_factory=lambda: Latest(WORKLOADS_KEPT))

    def adapted(self, workload: Workload, adaptation: Adaptation) -> Workload:
        """`workload` as adapted."""
        if not is_own(adaptation):
            return adaptation.apply(workload)
        key = workload.digest(), adaptation
        return self._adapted.get(key, lambda: adaptation.apply(workload))

    def write(
        self, workload: Workload, architecture: Architecture, outcome: Essentials
    ) -> ModelWrite:
        """What programming takes, see `model_write`."""
        mapping = outcome.mapping
        if not is_own(mapping.adaptation):
            return model_write(workload, architecture, mapping)
        key = workload.digest(), outcome.mapping_sha256, mapping.adaptation
        return self.writes.get(key, architecture, lambda m: model_write(workload, m, mapping))


def is_own(*values: object) -> bool:
    """Whether values are of cimsim's own types, which have no state: those of users may."""
    return all(type(value).__module__.startswith("cimsim.") for value in values)
