"""Leakage of a machine: a sum over blocks, for the units in use."""

from __future__ import annotations

from cimsim.spec import Architecture
from cimsim.unit_kinds import KINDS, ports


def leakage_W(architecture: Architecture, used: dict[str, int]) -> dict[str, float]:
    """Leakage (W) by unit kind of the units in use; units without work are powered down."""
    link_uW = sum(
        count * getattr(architecture, link).leakage_uW for link, count in ports(used).items()
    )
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds |= {n: unit.leakage_W(used.get(n, 0)) for n, unit in architecture.units.items()}
    return kinds | {
        "link": link_uW * 1e-6,
        "buffer": architecture.buffer.leakage_mW * 1e-3,
        "dram": architecture.dram.background_mW * 1e-3,
    }
