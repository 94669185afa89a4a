"""Pieces of work of units that are gated: woken for each, on until it is done."""

from __future__ import annotations

import numpy as np

from cimsim.costs.power import is_gated, wake_ps
from cimsim.engines.program import Duration
from cimsim.schedule.graph import plain
from cimsim.unit_kinds import Arrays, Units


def gated(units: Units) -> bool:
    """Whether units have their clock or their power off while they have no work."""
    return is_gated(units.power_states)


def woken_ps(units: Units, work_ps: Duration) -> Duration:
    """Time (ps) of a piece of work behind its wake-up; 0 where there is no work."""
    wake = wake_ps(units.power_states)
    if not wake:
        return work_ps
    woken = work_ps + wake * (work_ps > 0)
    return plain(woken) if isinstance(woken, np.ndarray) else woken


def piece_ps(
    arrays: Arrays, block: tuple[int, int], vectors: int, *, one_by_one: bool = False
) -> int:
    """Time (ps) that an array is on for `vectors` vectors: its wake-up, itself, its converter.

    The converter has the first vector while the array has the next; it starts the last one when the
    array has ended. Or array and converter take turns, `one_by_one`.
    """
    if not vectors:
        return 0
    wake = wake_ps(arrays.power_states)
    if arrays.converter is None:
        return wake + arrays.passage_ps(block, vectors)[0]
    first, last = arrays.passage_ps(block, 1)
    array, converter = arrays.passage_ps(block, vectors - 1)[0], (vectors - 1) * last
    others = array + converter if one_by_one else max(array, converter)
    return wake + first + others + last
