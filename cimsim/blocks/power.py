"""What units do while they have no work: run on, with their clock stopped, or without power."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cimsim.blocks.sourced import MachineBlock
from cimsim.values.bounds import Amount, Time_ns


class PowerStates(MachineBlock):
    """States of one unit. It leaves `idle` for each piece of work and goes back after it.

    The leakage of the block that this stands in is that of a unit which is on. What must be kept
    while power-gated (weights in SRAM, a TCDM) is part of `gated_leakage_uW`.
    """

    idle: Literal["on", "clock_gated", "power_gated"] = Field(
        description="state of a unit without work"
    )
    clock_uW: Amount = Field(
        description="clock of a unit whose `idle` is `on`, all the time; where it is gated the "
        "energies of the work hold it"
    )
    clock_wake_up_ns: Time_ns = Field(description="from clock-gated to work, before each piece")
    gated_leakage_uW: Amount = Field(description="one unit while it is power-gated")
    wake_up_ns: Time_ns = Field(description="from power-gated to work, before each piece")
    wake_up_energy_pJ: Amount = Field(description="from power-gated to work, one unit once")


def check_gated(states: PowerStates | None, leakage_uW: float) -> None:
    """Raise ValueError for a unit that leaks more while power-gated than while it is on."""
    if states is not None and states.gated_leakage_uW > leakage_uW:
        raise ValueError(
            f"power_states.gated_leakage_uW {states.gated_leakage_uW:g} exceeds the leakage of a "
            f"unit that is on, {leakage_uW:g} uW: raise that or lower gated_leakage_uW"
        )
