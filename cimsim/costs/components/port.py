"""Port of a link: registers and drivers of its wires, by bandwidth and node."""

from __future__ import annotations

from collections.abc import Mapping

from cimsim.costs.components.cluster import leakage_mW
from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.components.gates import FLIP_FLOP_um2, scaled_um2
from cimsim.costs.components.memory import wires

REGISTERS = 4.0
"""counted: a wire has a register out and in, each of two words, so that words follow each other"""


def port_um2(bandwidth_GBps: float, node_nm: float) -> float:
    """Area (um2) of a port: registers of all its wires, a byte a nanosecond each 8 of them.

    Source: counted, flip-flops of the ZigZag IMC cost model.
    """
    return scaled_um2(wires(bandwidth_GBps) * REGISTERS * FLIP_FLOP_um2, node_nm)


def port_uW(area_um2: float, node_nm: float) -> float:
    """Leakage (uW) of a port: that of a cluster's logic on the same area.

    Source: assumed, see `cluster.LEAKAGE_mW_per_mm2`: nothing is gated.
    """
    return leakage_mW(area_um2 * 1e-6, node_nm) * 1e3


def _port(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    area = port_um2(at["bandwidth_GBps"], at[NODE])
    return {"port_area_um2": area, "leakage_uW": port_uW(area, at[NODE])}


REGISTERED = Component(
    law=_port,
    reads=("bandwidth_GBps", NODE),
    gives=("port_area_um2", "leakage_uW"),
    source="counted registers of its wires, 28 nm gates (ZigZag IMC cost model)",
    # choice: nodes of published digital macros
    fitted={NODE: (3.0, 130.0)},
    assumed=frozenset({"leakage_uW"}),
)
"""A register in and out for every wire."""
