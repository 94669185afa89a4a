"""Logic of a 28 nm process and how it scales: what converters and digital parts are made of.

Source: ZigZag IMC cost model, 28 nm, 0.9 V: NAND2 of 0.7 fF and 0.614 um2; a flip-flop has 3 times
its capacitance and 6 times its area, an XOR2 1.5 times and 2.4 times, a gate takes 47.8 ps.
"""

from __future__ import annotations

NODE_NM = 28.0
"""Source: ZigZag IMC cost model: the node of its constants."""
SUPPLY_V = 0.9
"""Source: ZigZag IMC cost model: their supply."""
NAND_fF = 0.7
"""Source: ZigZag IMC cost model."""
FLIP_FLOP_fF = 3.0 * NAND_fF
"""Source: ZigZag IMC cost model."""
NAND_um2 = 0.614
"""Source: ZigZag IMC cost model."""
FLIP_FLOP_um2 = 6.0 * NAND_um2
"""Source: ZigZag IMC cost model."""
ADDER_fF = 3.0 * NAND_fF + 2.0 * 1.5 * NAND_fF
"""Source: ZigZag IMC cost model: a full adder is three NAND2 and two XOR2."""
ADDER_um2 = 3.0 * NAND_um2 + 2.0 * 2.4 * NAND_um2
"""Source: ZigZag IMC cost model, likewise."""
NAND_ns = 0.0478
"""Source: ZigZag IMC cost model: delay of a NAND2."""
CARRY_ns = 2.0 * NAND_ns
"""Source: ZigZag IMC cost model: carry to carry of a full adder, two NAND2."""
SUM_ns = 2.0 * 2.4 * NAND_ns
"""Source: ZigZag IMC cost model: input to sum of a full adder, two XOR2."""
FLIP_FLOP_ns = 3.4 * NAND_ns
"""Source: ZigZag IMC cost model."""
WIRE_fF_per_um = 0.2
"""assumed: 0.2 fF/um, what local wires have at every node (capacitance a length hardly scales)"""


def switched_pJ(capacitance_fF: float, node_nm: float, supply_V: float) -> float:
    """Energy (pJ) to charge gates of `capacitance_fF` at 28 nm: C V^2, C with the node."""
    return capacitance_fF * node_nm / NODE_NM * supply_V**2 * 1e-3


def scaled_ns(delay_ns: float, node_nm: float) -> float:
    """Delay (ns) of gates that take `delay_ns` at 28 nm and their supply: with the node."""
    return delay_ns * node_nm / NODE_NM


def scaled_um2(area_um2: float, node_nm: float) -> float:
    """Area (um2) of what takes `area_um2` at 28 nm: with the square of the node."""
    return area_um2 * (node_nm / NODE_NM) ** 2
