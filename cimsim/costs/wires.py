"""Wires and routers: energy and time of a bit over a distance, over a mesh or a tree of blocks.

A transfer pays every router that it passes and every millimetre between them. Published figures of
full-swing wires with repeaters, by node, and one published router; between nodes they are
interpolated. Not modelled: low-swing wires, data that toggle less than random ones, contention
inside the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cimsim.costs.floorplan import Floorplan

WIRE_PJ_PER_BIT_MM: dict[float, float] = {
    7.0: 0.046,
    10.0: 0.062,
    14.0: 0.075,
    20.0: 0.089,
    28.0: 0.100,
    40.0: 0.121,
    130.0: 0.313,
}
"""Energy of a random bit over a millimetre by node (nm). 28 nm: Dally, SC10 and SC12 keynotes, 256
pJ for 256 bits over 10 mm. 20 to 7 nm: Villa et al., Scaling the Power Wall, SC14, Table II, wires
of fixed length, 0.89, 0.75, 0.62 and 0.46 times 28 nm. 40 nm: Keckler et al., IEEE Micro 31(5),
2011, Table 1, 310 pJ for 256 bits over 10 mm. 130 nm: Dally et al., ACM Queue 2(1), 2004, Table
1, 100 pJ for 32 bits over 10 mm."""
SUPPLY_V: dict[float, float] = {
    7.0: 0.70,
    10.0: 0.725,
    14.0: 0.75,
    20.0: 0.85,
    28.0: 0.90,
    40.0: 0.90,
    130.0: 1.20,
}
"""Nominal supply (V) by node (nm): Villa et al., Keckler et al. and Dally et al., as above."""
ROUTER_PJ_PER_BIT = 0.15 / 8.0
"""One hop: Fischer et al., FlooNoC, IEEE TVLSI 33(4), 2025, arXiv 2409.17606: 0.15 pJ a byte and
hop, routers with 512-bit links beside Snitch clusters."""
ROUTER_NM, ROUTER_V = 12.0, 0.8
"""Node and supply of that router: Fischer et al., as above."""


def covered_nm(table: Mapping[float, float]) -> tuple[float, float]:
    """The smallest and the largest node of a table."""
    return min(table), max(table)


def by_node(table: Mapping[float, float], technology_nm: float) -> float:
    """The value of a table at a node within it: straight lines between its logarithms.

    Raises ValueError outside the table, with its range.
    """
    low, high = covered_nm(table)
    if not low <= technology_nm <= high:
        raise ValueError(f"published from {low:g} to {high:g} nm, not at {technology_nm:g} nm")
    nodes = sorted(table)
    upper = next(node for node in nodes if node >= technology_nm)
    if upper == technology_nm:
        return table[upper]
    lower = nodes[nodes.index(upper) - 1]
    share = math.log(technology_nm / lower) / math.log(upper / lower)
    step: float = (table[upper] / table[lower]) ** share
    return table[lower] * step


def wire_pJ_per_bit_mm(technology_nm: float) -> float:
    """Energy (pJ) of a bit over a millimetre of wire with repeaters; see `WIRE_PJ_PER_BIT_MM`."""
    return by_node(WIRE_PJ_PER_BIT_MM, technology_nm)


def router_pJ_per_bit(technology_nm: float) -> float:
    """Energy (pJ) of a bit through a router: that of FlooNoC by C V^2, C as the node.

    Assumed: gates and the wires between them shrink with the node.
    """
    volts = by_node(SUPPLY_V, technology_nm) / ROUTER_V
    return ROUTER_PJ_PER_BIT * technology_nm / ROUTER_NM * volts * volts


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a transfer: routers passed and millimetres of wire."""

    hops: int
    length_mm: float

    def energy_pJ_per_bit(self, router_pJ_per_bit: float, wire_pJ_per_bit_mm: float) -> float:
        """Energy (pJ) of a bit over the whole way."""
        return self.hops * router_pJ_per_bit + self.length_mm * wire_pJ_per_bit_mm

    def hop_ns(self, router_ns: float, wire_ns_per_mm: float) -> float:
        """Time (ns) of one hop: a router and the wire behind it."""
        return router_ns + self.length_mm / self.hops * wire_ns_per_mm


def mesh_route(plan: Floorplan, length_mm: float) -> Route:
    """A way of `length_mm` over a mesh with a router in every block."""
    # choice: a length that is whole blocks but for rounding has no further hop
    return Route(max(1, math.ceil(length_mm / plan.pitch_mm - 1e-9)), length_mm)


def hops_route(plan: Floorplan, hops: int) -> Route:
    """A way over `hops` routers, a block apart each."""
    return Route(hops, hops * plan.pitch_mm)


def tree_route(blocks_across: int, width_mm: float, *, down: bool) -> Route:
    """From a leaf of an H-tree with four branches a node to its root; `down` to a leaf again.

    The tree spans a square of `width_mm`; every level halves what is left of both sides, so that
    the root is width_mm (1 - 2^-levels) away from all leaves of `levels` levels.
    """
    levels = max(1, math.ceil(math.log2(blocks_across)))
    length = width_mm * (1 - 1 / 2**levels)
    return Route(2 * levels - 1, 2 * length) if down else Route(levels, length)
