"""Analog cell: its area by the node, its read energy by conductance, voltage and time."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.values.bounds import Positive


class CellEntry(Entry):
    """Parameters of a cell."""

    area_F2: Positive = Field(description="squares of the feature size: 4 crossbar, 48 to 53 1T1R")
    read_V: Positive = Field(description="voltage over the cell while it is read")


def cell_um2(squares_F2: float, node_nm: float) -> float:
    """Area (um2): so many squares of the feature size, taken as the node.

    Source: definition; 53 F2 1T1R and 4 F2 crossbar are those of NVSim and NeuroSim.
    """
    return squares_F2 * (node_nm * 1e-3) ** 2


def read_fJ(volts: float, mean_uS: float, time_ns: float) -> float:
    """Energy (fJ) of a cell that conducts for `time_ns`: V^2 G t.

    Source: Joule's law; G is the mean of both ends of the cell's range, inputs at full scale.
    """
    return volts**2 * mean_uS * time_ns


def _cell(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    assert isinstance(entry, CellEntry)
    mean = (at["g_min_uS"] + at["g_max_uS"]) / 2.0
    return {
        "cell_area_um2": cell_um2(entry.area_F2, at[NODE]),
        "cell_read_energy_fJ": read_fJ(entry.read_V, mean, at["integration_ns"]),
    }


CELL = Component(
    law=_cell,
    reads=("g_min_uS", "g_max_uS", "integration_ns", NODE),
    gives=("cell_area_um2", "cell_read_energy_fJ"),
    source="squares of the node (NVSim); V^2 G t, mean conductance",
    entry=CellEntry,
)
"""A resistive cell with or without its transistor."""
