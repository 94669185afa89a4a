"""What a cluster is busy with: how long, and which of its parts for how long."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap
from operator import add


@dataclass(frozen=True, slots=True)
class Busy:
    """Cycles of one cluster, cycles of all its cores at work together, cycles in which its matrix
    engine multiplies, and bytes that they read from the TCDM and write to it.
    """

    cycles: int
    core_cycles: int = 0
    engine_cycles: int = 0
    tcdm_bytes: int = 0

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """The four numbers."""
        return self.cycles, self.core_cycles, self.engine_cycles, self.tcdm_bytes

    def then(self, other: Busy) -> Busy:
        """Both, one after the other."""
        return Busy(*starmap(add, zip(self.counts, other.counts, strict=True)))

    def times(self, count: int) -> Busy:
        """The work `count` times."""
        return Busy(*(count * number for number in self.counts))


IDLE = Busy(0)
