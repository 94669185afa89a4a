"""On-chip memory of banks: area, access energy and leakage by capacity, banks and their ports.

Source of the constants: Ankit et al., PUMA, ASPLOS 2019, simulator constants, 32 nm, and the
registers of Shafiee et al., ISAAC, ISCA 2016, from CACTI. A bank has what it takes however small it
is (decoder, sense amplifiers, control), its cells, and a bus of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from cimsim.costs.components.component import NODE, Component, Entry
from cimsim.costs.components.gates import NAND_ns, scaled_ns

NODE_NM = 32.0
"""Source: PUMA simulator constants, ISAAC: their node."""
CELLS_um2_PER_KiB = 760.0
"""Source: ISAAC registers: 256 B in 770 um2, 2 KiB in 2,100 um2; the slope between them."""
BANK_um2 = 580.0
"""Source: ISAAC registers: what the same line leaves for no capacity."""
CELLS_uW_PER_KiB = 2.1
"""Source: PUMA memories: 2 KiB leak 0.33 mW, 64 KiB leak 0.46 mW; the slope between them."""
BANK_uW = 325.8
"""Source: PUMA memories: what the same line leaves for no capacity."""
WIRE_um2 = 90_000.0 / 384.0
"""Source: PUMA bus of a tile: 384 wires in 0.090 mm2."""
WIRE_uW = 1000.0 / 384.0
"""Source: PUMA bus of a tile: 384 wires leak 1 mW."""
ACCESS_pJ = 10.0 / 64.0
"""Source: Horowitz, ISSCC 2014, 45 nm: 64 bit of 8 KiB take 10 pJ."""
ACCESS_KiB = 8.0
"""Source: Horowitz, ISSCC 2014."""
ACCESS_NM = 45.0
"""Source: Horowitz, ISSCC 2014."""


def wires(bandwidth_GBps: float) -> float:
    """Wires of the bus of one bank at 1 GHz: 8 bits a byte.

    Source: definition; 1 GHz is the clock of PUMA.
    """
    return 8.0 * bandwidth_GBps


def banks_um2(capacity_KiB: float, banks: float, node_nm: float) -> float:
    """Area (um2) of cells and banks without buses, with the square of the node.

    Source: line through ISAAC's registers (CACTI 6.5).
    """
    return (CELLS_um2_PER_KiB * capacity_KiB + BANK_um2 * banks) * (node_nm / NODE_NM) ** 2


def bus_um2(bandwidth_GBps: float, banks: float, node_nm: float) -> float:
    """Area (um2) of a bus for every bank, with the square of the node.

    Source: bus of a PUMA tile.
    """
    return WIRE_um2 * wires(bandwidth_GBps) * banks * (node_nm / NODE_NM) ** 2


def leakage_uW(capacity_KiB: float, banks: float, bandwidth_GBps: float, node_nm: float) -> float:
    """Leakage (uW) of cells, banks and buses; with the node, as the width of transistors.

    Source: line through PUMA's memories, its bus.
    """
    each = BANK_uW + WIRE_uW * wires(bandwidth_GBps)
    return (CELLS_uW_PER_KiB * capacity_KiB + each * banks) * node_nm / NODE_NM


def access_pJ(bank_KiB: float, node_nm: float) -> float:
    """Energy (pJ) of a bit of a bank: its lines are as long as the root of its cells.

    Source: Horowitz, ISSCC 2014, 64 bit in 10, 20, 100 pJ of 8, 32, 1,024 KiB; with the node.
    """
    return ACCESS_pJ * math.sqrt(bank_KiB / ACCESS_KiB) * node_nm / ACCESS_NM


def _banked(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    capacity, banks, node = at["capacity_KiB"], at["banks"], at[NODE]
    rate = at["bandwidth_GBps"]
    area_um2 = banks_um2(capacity, banks, node) + bus_um2(rate, banks, node)
    return {
        "area_mm2": area_um2 * 1e-6,
        "energy_pJ_per_bit": access_pJ(capacity / banks, node),
        "leakage_mW": leakage_uW(capacity, banks, rate, node) * 1e-3,
    }


BANKED = Component(
    law=_banked,
    reads=("capacity_KiB", "banks", "bandwidth_GBps", NODE),
    gives=("area_mm2", "energy_pJ_per_bit", "leakage_mW"),
    source="banks and buses by PUMA's and ISAAC's CACTI points, access by the root of a bank "
    "(Horowitz, ISSCC 2014)",
    # choice: around 32 nm and 45 nm, as far as shipped machines go
    fitted={NODE: (14.0, 130.0)},
)
"""A memory of equal banks, each with a bus."""


def bank_ns(bank_KiB: float, bank_um2: float, node_nm: float) -> float:
    """Time (ns) of an access: gates of decoder and sense amplifier, wires over the bank and back.

    Twelve gates for 8 KiB and one for every doubling. Source: Amrutur and Horowitz, Speed and Power
    Scaling of SRAMs, JSSC 35(2), 2000, abstract: about one gate delay a doubling up to 1 Mb, wires
    beyond; gates of the ZigZag IMC cost model, wires of 0.3 ns/mm (Das et al., SLIP, ISCA 2015).
    Assumed: the twelve.
    """
    gates = 12.0 + math.log2(bank_KiB / ACCESS_KiB)
    way_mm = 2.0 * math.sqrt(bank_um2 * 1e-6)
    return max(1.0, gates) * scaled_ns(NAND_ns, node_nm) + way_mm * 0.3


def _access(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
    banks = at["banks"]
    each_um2 = at["area_mm2"] * 1e6 / banks
    return {"access_ns": bank_ns(at["capacity_KiB"] / banks, each_um2, at[NODE])}


ACCESS = Component(
    law=_access,
    reads=("capacity_KiB", "banks", "area_mm2", NODE),
    gives=("access_ns",),
    source="gates and wires of a bank (Amrutur and Horowitz, JSSC 2000)",
    # choice: as for the area
    fitted={NODE: (14.0, 130.0)},
    assumed=frozenset({"access_ns"}),
)
"""Time before the first byte, by the size of a bank."""
