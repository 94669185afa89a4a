"""Work of a cluster on a weight of which only some values are held, each with its place.

Values stand by output, so that the sum of an output stays in a register. A multiply-add takes the
place of its value, the input there, and the value by stream; the engine has no part in it.
"""

from __future__ import annotations

import math

from cimsim.blocks import PmcaClusters
from cimsim.costs.busy import IDLE, Busy

INSTRUCTIONS = 4
"""counted: load of the place as an offset, addition of the row's address, load of the input, and
the multiply-add, whose value is streamed. Cores with indirect streams take 1 (Scheffler et al.,
DATE 2021, arXiv 2011.08070); those of the shipped machines have none."""
OUTPUT_INSTRUCTIONS = 3
"""counted: load of the number of an output's values, start of its loop, store of its sum."""


def sparse_busy(pmca: PmcaClusters, rows: int, nonzeros: int, outputs: int) -> Busy:
    """One cluster with `rows` vectors times a weight of `nonzeros` values and `outputs` columns.

    set-up + ceil(share of a core * instructions * contention) + barrier: values are dealt evenly to
    the cores, one at a time. IDLE for nothing to multiply.
    """
    if rows * nonzeros == 0:
        return IDLE
    core = pmca.core
    work = rows * (nonzeros * INSTRUCTIONS + outputs * OUTPUT_INSTRUCTIONS)
    each = math.ceil(work / pmca.cores * core.tcdm_contention_ratio)
    at_work = math.ceil(work * core.tcdm_contention_ratio) + pmca.cores * core.stream_setup_cycles
    # counted: the value, its place and the input of each, and the sums
    touched = math.ceil(rows * (3 * nonzeros + outputs) * pmca.value_bits / 8)
    cycles = core.stream_setup_cycles + each + pmca.barrier_cycles
    return Busy(cycles, at_work, tcdm_bytes=touched)
