"""How leakage follows node and voltage: the width of transistors, and what the drain pulls in.

The current of a transistor that is off is a target for each micrometre of its width that hardly
changes from node to node (ITRS 2013, process integration: 100 nA/um of high-performance logic, at
every node), so that power goes with the width, hence with the node. A higher drain voltage lowers
the barrier: Kim et al., Leakage Current: Moore's Law Meets Static Power, IEEE Computer 36(12),
2003.
Not modelled: temperature, and gate leakage beside that of the channel.
"""

from __future__ import annotations

import math

BARRIER_V_per_V = 0.1
"""assumed: 100 mV of threshold a volt at the drain, DIBL of planar and FD-SOI transistors of 28 and
22 nm (70 to 150 mV/V)"""
SWING_V = 0.09
"""assumed: 90 mV of gate for ten times the current, likewise"""


def voltage_ratio(volts: float, reference_V: float) -> float:
    """Leakage power at a supply over that at `reference_V`: V I, I = 10^(DIBL dV / swing).

    Source: Kim et al., IEEE Computer 36(12), 2003, with the constants above.
    """
    more_V = volts - reference_V
    return volts / reference_V * math.pow(10.0, BARRIER_V_per_V * more_V / SWING_V)


def node_ratio(node_nm: float, reference_nm: float) -> float:
    """Leakage power of as many transistors at a node over that at `reference_nm`: their width.

    Source: ITRS 2013, process integration, the same current a micrometre at every node.
    """
    return node_nm / reference_nm
