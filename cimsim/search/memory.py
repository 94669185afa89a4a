"""What earlier runs came to, for runs that agree with them in all that they depend on.

A run is a function of the adapted workload, the strategy, the mapper, the adaptation, and of the
fields of the machine that mapping, schedule and engine read (`cimsim.values.reads`). Machines that
differ in others, such as energies and areas, share it: only their report is folded anew. Machines
that differ in no more than times that the schedule does not depend on share mapping, schedule and
code: the same program is run with other times.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cimsim.adaptation import Adaptation
from cimsim.ir import Workload
from cimsim.report.parts import ModelWrite
from cimsim.report.writes import model_write
from cimsim.search.outcomes import Essentials, LaidOut, Ran, RunOnce
from cimsim.spec import Architecture
from cimsim.values.latest import Latest
from cimsim.values.reads import Remembered

RUNS_KEPT = 128
"""Choice: runs without their programs, up to half a megabyte each."""
SCHEDULES_KEPT = 8
"""Choice: whole programs as objects and as code, tens of megabytes each."""
TRIALS_KEPT = 256
"""Choice: runs of parts of a workload in a search, of which one takes about 100."""
WORKLOADS_KEPT = 32
"""Choice: adapted workloads and mappings, a megabyte each."""


@dataclass(eq=False)
class Memory:
    """Results by what they depend on, those that were used last; memory stays flat."""

    outcomes: Remembered[RunOnce] = field(default_factory=lambda: Remembered(RUNS_KEPT))
    schedules: Remembered[LaidOut] = field(default_factory=lambda: Remembered(SCHEDULES_KEPT))
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
