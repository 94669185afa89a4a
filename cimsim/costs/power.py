"""Power states: the time to wake a unit, and what units draw beside the energies of their work.

A unit leaves its idle state for each piece of work, the wake-up first, and goes back after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cimsim.blocks import PowerStates
from cimsim.units import ns_to_ps

PJ = 1e-12
UW = 1e-6


def is_gated(states: PowerStates | None) -> bool:
    """Whether units without work have their clock or their power off."""
    return states is not None and states.idle != "on"


def wake_ps(states: PowerStates | None) -> int:
    """Time (ps) from the idle state to work; 0 for units that are always on."""
    if states is None or states.idle == "on":
        return 0
    gated = states.idle == "power_gated"
    return ns_to_ps(states.wake_up_ns if gated else states.clock_wake_up_ns)


def standing_J(
    leakage_W: float,
    states: PowerStates | None,
    unit_s: Sequence[float],
    on_s: Sequence[float],
    wakes: Sequence[float],
) -> dict[str, tuple[float, ...]]:
    """Energy (J) by phase that units draw beside their work, by state; `""` is leakage while on.

    `leakage_W` is that of one unit that is on. By phase: `unit_s` is the time (s) of all units,
    `on_s` the part of it in which they are woken or work, `wakes` how often one was woken.

    * on, clock-gated: leakage x time; on: clock x time beside it
    * power-gated: leakage x time on, gated leakage x the rest, and the energy of each wake-up
    """
    if states is None or states.idle == "clock_gated":
        return {"": tuple(leakage_W * t for t in unit_s)}
    if states.idle == "on":
        clock = tuple(states.clock_uW * UW * t for t in unit_s)
        return {"": tuple(leakage_W * t for t in unit_s), "clock": clock}
    rest = (whole - on for whole, on in zip(unit_s, on_s, strict=True))
    return {
        "": tuple(leakage_W * t for t in on_s),
        "gated": tuple(states.gated_leakage_uW * UW * t for t in rest),
        "wake_up": tuple(states.wake_up_energy_pJ * PJ * n for n in wakes),
    }
