"""Buffer and DRAM: banks (or channels) over which consecutive bytes lie in stripes.

A transfer takes its share of the bandwidth of all banks together, so that no more bytes move than
they carry; it ends an access latency and the bits of its fullest bank after it has begun, or later
where others were first. Latency occupies no bank: accesses are pipelined. Not modelled: small
transfers that meet in one bank while others are idle, and rows of DRAM that are open or not.
"""

from __future__ import annotations

from cimsim.blocks import Buffer, Dram
from cimsim.costs.tile import PJ
from cimsim.units import PS_PER_NS, ns_to_ps


def ways(memory: Buffer | Dram) -> int:
    """Banks or channels that move data side by side."""
    return memory.banks if isinstance(memory, Buffer) else memory.channels


def fullest_bits(memory: Buffer | Dram, bits: int) -> int:
    """Bits of a transfer in the bank that holds most of them: that of its first stripe."""
    stripe = 8 * memory.interleave_bytes
    rounds, rest = divmod(bits, stripe * ways(memory))
    return rounds * stripe + min(rest, stripe)


def body_ns(memory: Buffer | Dram, bits: int) -> float:
    """Time (ns) for which a transfer of `bits` keeps its fullest bank, without latency."""
    return fullest_bits(memory, bits) / 8.0 / memory.bandwidth_GBps


def share_ps(memory: Buffer | Dram, bits: int) -> int:
    """Time (ps, rounded up) for which `bits` take the whole bandwidth of all banks."""
    bytes_, ns = memory.bandwidth_GBps.as_integer_ratio()
    return -(-PS_PER_NS * bits * ns // (8 * ways(memory) * bytes_))


def access_ps(memory: Buffer | Dram, bits: int) -> int:
    """Time (ps) of a transfer of `bits` that waits for no other one, its share included."""
    return max(ns_to_ps(memory.access_ns + body_ns(memory, bits)), share_ps(memory, bits))


def access_energy_J(memory: Buffer | Dram, bits: float) -> float:
    """Energy (J) of moving `bits` in or out."""
    return bits * memory.energy_pJ_per_bit * PJ
