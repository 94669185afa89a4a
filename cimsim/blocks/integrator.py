"""Columns that add up the charge of several pulses before they convert it."""

from __future__ import annotations

from pydantic import Field

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount, Count, Time_ns

# choice: 2^16 cycles of 0.3 us are 20 ms, beyond any input that is integrated
PULSES_LIMIT = 16
"""Most pulses of a phase; NeuRRAM goes to 5, and cuts more than 3 magnitude bits in two."""


class Integrator(MachineBlock):
    """A neuron circuit for each column: it samples, integrates and converts, one at a time.

    NeuRRAM (Wan et al., Nature 608, 2022, Methods). The pulses of an MVM are cut into phases, the
    most significant first. Pulse n of a phase is sampled once and integrated for 2^(n - 1) cycles,
    the least significant for one; the phase ends in one conversion, and results of phases are
    shifted and added. Later phases are converted to as many bits fewer as they stand lower.
    """

    phases: Count = Field(description="1 or 2 on NeuRRAM: one- or two-phase input")
    start_ns: Time_ns = Field(description="precharge and discharge before a phase")
    cycle_ns: Time_ns = Field(description="one cycle of sampling and integration")
    start_energy_fJ: Amount = Field(description="one column, one phase")
    cycle_energy_fJ: Amount = Field(description="one column, one cycle")

    def pulses(self, total: int) -> tuple[int, ...]:
        """Pulses of each phase of `total`, the most significant phase first."""
        each, more = divmod(total, self.phases)
        return (each + 1,) * more + (each,) * (self.phases - more)

    def cycles(self, total: int) -> int:
        """Integration cycles of `total` pulses."""
        return sum(2**pulses - 1 for pulses in self.pulses(total))

    def converted_bits(self, total: int, adc_bits: int) -> int:
        """Bits that all phases of `total` pulses are converted to together, at least one each."""
        lower, bits = 0, adc_bits
        for pulses in self.pulses(total)[1:]:
            lower += pulses
            bits += max(1, adc_bits - lower)
        return bits
