"""Lines of a tile: their charge, the driver in front of them, and how long they take to settle.

A line crosses the cells of a row or column: wire as long as the cells, and at each the
gate or drain of an access transistor.
"""

from __future__ import annotations

import math

from cimsim.costs.components.gates import NODE_NM as GATES_NM
from cimsim.costs.components.gates import (
    NAND_fF,
    NAND_um2,
    WIRE_fF_per_um,
    scaled_um2,
)

DRAIN_fF = NAND_fF / 2.0
"""Source: ZigZag IMC cost model: half of a NAND2 at every cell of a bit line, 28 nm."""
FAN_OUT = 4.0
"""Source: Sutherland et al., Logical Effort, 1999: each stage four times the last."""
END_ohm = 1000.0
"""assumed: what holds a line at its end, a clamp or driver of 1 mS"""
SEGMENT_ohm = 2.5
"""assumed: a wire of copper from cell to cell, some ohm at 28 nm; a file may say rram.accuracy.*"""


def line_fF(cells: float, cell_um2: float, node_nm: float) -> float:
    """Capacitance (fF) of a line over `cells` square cells: wire, and a drain at each.

    Source: see the constants.
    """
    return cells * (math.sqrt(cell_um2) * WIRE_fF_per_um + DRAIN_fF * node_nm / GATES_NM)


def driver_share() -> float:
    """What the stages of a driver take beside its line: 1/4 + 1/16 + ... of the charge.

    Source: definition of a geometric series, see `FAN_OUT`.
    """
    return 1.0 / (FAN_OUT - 1.0)


def driver_um2(load_fF: float, node_nm: float) -> float:
    """Area (um2) of the stages in front of a line: their gates are a third of its charge.

    Source: counted, as NAND2 with as much gate (ZigZag IMC cost model).
    """
    gates = load_fF * driver_share() / (NAND_fF * node_nm / GATES_NM)
    return scaled_um2(gates * NAND_um2, node_nm)


def driven_fJ(load_fF: float, volts: float) -> float:
    """Energy (fJ) of a line and the stages of its driver: C V^2.

    Source: definition.
    """
    return load_fF * (1.0 + driver_share()) * volts**2


def settling_ns(load_fF: float, line_ohm: float, end_ohm: float, bits: float) -> float:
    """Time (ns) of a line to within half a step of `bits`: ln 2^(bits + 1) time constants.

    Source: Elmore delay of a line with its resistance spread over it, behind a resistance at its
    end: C (R / 2 + R_end).
    """
    tau_ns = load_fF * (line_ohm / 2.0 + end_ohm) * 1e-6
    return (bits + 1.0) * math.log(2.0) * tau_ns
