"""Programming of analog cells: levels, pulses, energy, time and wear."""

from cimsim.costs.programming.cells import (
    CellChange,
    CellWrite,
    cell_write,
    change_of,
    changed_levels,
)
from cimsim.costs.programming.joint import level_change
from cimsim.costs.programming.pulses import PulseCounts, mixed, summed
from cimsim.costs.programming.timing import Limit, cells_time_s

__all__ = [
    "CellChange",
    "CellWrite",
    "Limit",
    "PulseCounts",
    "cell_write",
    "cells_time_s",
    "change_of",
    "changed_levels",
    "level_change",
    "mixed",
    "summed",
]
