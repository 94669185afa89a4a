"""What clusters are busy with in every block: the numbers of `Busy` as columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cimsim.costs import Busy
from cimsim.engines.program import IntArray
from cimsim.schedule.assembler import within_64_bits
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class BusyBlocks:
    """The numbers of `Busy`, one for every block."""

    cycles: IntArray
    core_cycles: IntArray
    engine_cycles: IntArray
    tcdm_bytes: IntArray

    def times(self, counts: IntArray) -> BusyBlocks:
        """The work of every block as often as `counts` says."""
        return BusyBlocks(
            self.cycles * counts, self.core_cycles * counts,
            self.engine_cycles * counts, self.tcdm_bytes * counts,
        )  # fmt: skip


def busy_blocks(make: Callable[[Callable[[Busy], int]], IntArray]) -> BusyBlocks:
    """The columns of the blocks that `make` numbers with the function that it is given.

    That function gives equal work the same number.
    """
    found: dict[Busy, int] = {}
    numbers = make(lambda busy: found.setdefault(busy, len(found)))
    columns = zip(*(busy.counts for busy in found), strict=True)
    return BusyBlocks(*(within_64_bits(list(column))[numbers] for column in columns))
