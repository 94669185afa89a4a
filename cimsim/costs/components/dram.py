"""External memory by kind: energy of a bit, background power by channels, their rate and capacity.

Half of the background is the interface of a channel and goes with its bandwidth, half is refresh
and goes with the bits that are kept. Source: assumed; refresh has a share that grows with capacity
(Liu et al., RAIDR, ISCA 2012), data sheets of idle parts lie around a half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cimsim.costs.components.component import Component, Entry, Law


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel: energy of a bit, power while nothing is moved, at a rate and a capacity."""

    energy_pJ_per_bit: float
    background_mW: float
    bandwidth_GBps: float
    capacity_GiB: float


# assumed: 12.5 mW a channel of 128 bits, 100 mW a stack of 8, standby and refresh, 2 GiB each
HBM2 = Channel(3.9, 12.5, 32.0, 2.0)
"""Source: O'Connor et al., MICRO 2017: 3.9 pJ a bit, 32 GB/s a channel."""
# assumed: as HBM2, to which it is a faster generation
HBM2E = Channel(3.9, 12.5, 32.0, 2.0)
# assumed: 12.5 mW a chip of one channel, as a channel of HBM2
GDDR5 = Channel(14.0, 12.5, 32.0, 1.0)
"""Source: O'Connor et al., MICRO 2017: 14 pJ a bit."""
# assumed: 4 pJ a bit with its interface, 2 mW a channel of 16 bits in self-refresh or standby
LPDDR5 = Channel(4.0, 2.0, 12.8, 1.0)


def background_mW(
    channel: Channel, channels: float, bandwidth_GBps: float, capacity_GiB: float
) -> float:
    """Standby (mW) of `channels` of a bandwidth, and refresh of the capacity of all together.

    Source: definition: every channel has its own pins, every bit is refreshed.
    """
    pins = channels * bandwidth_GBps / channel.bandwidth_GBps
    return channel.background_mW / 2.0 * (pins + capacity_GiB / channel.capacity_GiB)


def _law(channel: Channel) -> Law:
    def law(entry: Entry, at: Mapping[str, float]) -> dict[str, float]:
        return {
            "energy_pJ_per_bit": channel.energy_pJ_per_bit,
            "background_mW": background_mW(
                channel, at["channels"], at["bandwidth_GBps"], at["capacity_GiB"]
            ),
        }

    return law


_READS = ("channels", "bandwidth_GBps", "capacity_GiB")


def _kind(channel: Channel, source: str, *assumed: str) -> Component:
    gives = ("energy_pJ_per_bit", "background_mW")
    return Component(_law(channel), _READS, gives, source, assumed=frozenset(assumed))


_FINE_GRAINED = "O'Connor et al., Fine-Grained DRAM, MICRO 2017"
DEVICES = {
    "hbm2": _kind(
        HBM2, f"{_FINE_GRAINED}: 3.9 pJ a bit; 12.5 mW a channel",
        "background_mW",
    ),
    "hbm2e": _kind(
        HBM2E, "as HBM2: 3.9 pJ a bit, 12.5 mW a channel",
        "energy_pJ_per_bit", "background_mW",
    ),
    "gddr5": _kind(
        GDDR5, f"{_FINE_GRAINED}: 14 pJ a bit; 12.5 mW a channel",
        "background_mW",
    ),
    "lpddr5": _kind(
        LPDDR5, "4 pJ a bit with its interface, 2 mW a channel of 16 bits",
        "energy_pJ_per_bit", "background_mW",
    ),
}  # fmt: skip
"""Memories by kind, one channel's numbers each."""
