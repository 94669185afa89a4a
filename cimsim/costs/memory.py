"""Buffer and DRAM: a transfer costs one access latency and its bits at one bank's bandwidth."""

from __future__ import annotations

from cimsim.blocks import Buffer, Dram
from cimsim.costs.tile import PJ
from cimsim.units import ns_to_ps


def access_ps(memory: Buffer | Dram, bits: float) -> int:
    """Time (ps) that a transfer of `bits` holds one bank or channel."""
    return ns_to_ps(memory.access_ns + bits / 8.0 / memory.bandwidth_GBps)


def access_energy_J(memory: Buffer | Dram, bits: float) -> float:
    """Energy (J) of moving `bits` in or out."""
    return bits * memory.energy_pJ_per_bit * PJ
