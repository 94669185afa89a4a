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
from cimsim.costs.programming.timing import CellsTime, Limit, cells_time

__all__ = [
    "CellChange",
    "CellWrite",
    "CellsTime",
    "Limit",
    "PulseCounts",
    "cell_write",
    "cells_time",
    "change_of",
    "changed_levels",
    "level_change",
    "mixed",
    "summed",
]
