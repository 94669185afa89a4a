"""Area and leakage of a machine: sums over blocks, for all units built or for those in use."""

from __future__ import annotations

from cimsim.spec import Architecture
from cimsim.unit_kinds import KINDS
from cimsim.units import UM2_PER_MM2


def area_mm2(architecture: Architecture, used: dict[str, int] | None = None) -> dict[str, float]:
    """Area (mm2) by unit kind; `used` counts the units of each kind that are in use.

    Without `used`, everything that is built. DRAM is off the chip.
    """
    units = architecture.units
    counts = {name: unit.count for name, unit in units.items()} if used is None else used
    tiles, clusters = _ports(counts)
    ports = tiles * architecture.tile_link.port_area_um2
    ports += clusters * architecture.cluster_link.port_area_um2
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds |= {name: unit.area_mm2(counts.get(name, 0)) for name, unit in units.items()}
    return kinds | {"link": ports / UM2_PER_MM2, "buffer": architecture.buffer.area_mm2}


def leakage_W(architecture: Architecture, used: dict[str, int]) -> dict[str, float]:
    """Leakage (W) by unit kind of the units in use; units without work are powered down."""
    tiles, clusters = _ports(used)
    ports = tiles * architecture.tile_link.leakage_uW
    ports += clusters * architecture.cluster_link.leakage_uW
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds |= {n: unit.leakage_W(used.get(n, 0)) for n, unit in architecture.units.items()}
    return kinds | {
        "link": ports * 1e-6,
        "buffer": architecture.buffer.leakage_mW * 1e-3,
        "dram": architecture.dram.background_mW * 1e-3,
    }


def _ports(counts: dict[str, int]) -> tuple[int, int]:
    """Ports on the tiles' link and on the clusters' link: one for each unit."""
    on = dict.fromkeys(("tile_link", "cluster_link"), 0)
    for kind in KINDS.values():
        on[kind.port] += counts.get(kind.name, 0)
    return on["tile_link"], on["cluster_link"]
