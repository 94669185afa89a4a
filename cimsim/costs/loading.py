"""Bringing an adapter to the network: out of DRAM into the buffer and out of that, or out of it.

Its bits lie in stripes over all channels or banks. Stages that overlap hand on stripe by stripe:
latencies add up, and the slowest stage sets the pace. Stages one after the other each take theirs.
What the links and the units' ports take is for the units to say.
"""

from __future__ import annotations

from cimsim.blocks import Buffer, Dram
from cimsim.costs.memory import access_energy_J, access_ps, share_ps
from cimsim.units import ns_to_ps, ps_to_seconds


def fetch_energy_J(buffer: Buffer, dram: Dram | None, bits: int) -> float:
    """Energy (J) to read `bits` from the buffer, and from `dram` into it where they begin there."""
    read = access_energy_J(buffer, bits)
    return read if dram is None else access_energy_J(dram, bits) + 2.0 * read


def loaded_s(
    buffer: Buffer, dram: Dram | None, bits: int, written_s: float, *, overlapped: bool
) -> float:
    """Time (s) until `bits` are written that take `written_s` over links and ports alone."""
    stages: tuple[Buffer | Dram, ...] = (buffer,) if dram is None else (dram, buffer, buffer)
    if not overlapped:
        return ps_to_seconds(sum(access_ps(stage, bits) for stage in stages)) + written_s
    latencies = sum(ns_to_ps(stage.access_ns) for stage in stages)
    passes = len(stages) - (dram is not None)
    shares = [share_ps(buffer, passes * bits), 0 if dram is None else share_ps(dram, bits)]
    return ps_to_seconds(latencies) + max(*map(ps_to_seconds, shares), written_s)
