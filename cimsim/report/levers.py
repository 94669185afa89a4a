"""Levers: which numbers of the machine move what bounds a run, and by how much.

The predicted gain is half the time on the critical path that a knob acts on (its units at work,
without latency that occupies none of them, or the path's wait for its shared units), but no more
than the bounds leave: no other unit kind gets shorter, and more servers do not
shorten the dependency chain. It is an estimate: it takes all of
that time to follow the knob, and sees neither a second path that is nearly as long nor another
layout. `measured_s` of `Lever` tells the simulation beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cimsim.errors import CimsimError
from cimsim.report.bounds import Bottlenecks, Lever, PhaseBounds
from cimsim.spec import Architecture
from cimsim.values.display import brief

LEVERS = 3
"""Choice: levers told of a phase."""
SAVED = 0.5
"""Counted: the share of a time that goes where a rate or a number of servers doubles."""


@brief
@dataclass(frozen=True, slots=True)
class Knob:
    """Numbers of the machine, each with the factor on it that doubles a rate or what is there.

    It acts on the `work` of `units`, or on waiting for those that are `shared`.
    """

    units: tuple[str, ...]
    acts_on: Literal["work", "shared"]
    factors: tuple[tuple[str, float], ...]


# counted: a time halved is a rate doubled
KNOBS = (
    Knob(("rram",), "work", (("rram.integration_ns", 0.5),)),
    Knob(("adc",), "work", (("rram.adc_time_ns", 0.5),)),
    Knob(("sram",), "work", (("sram.clock_MHz", 2),)),
    Knob(("pmca",), "work", (("pmca.clock_MHz", 2),)),
    Knob(("pmca", "dma"), "shared", (("pmca.pool_clusters", 2),)),
    Knob(("dma",), "work", (("pmca.dma_bytes_per_cycle", 2), ("cluster_link.bandwidth_GBps", 2))),
    Knob(("link",), "work", (("tile_link.bandwidth_GBps", 2),)),
    Knob(("buffer",), "work", (("buffer.bandwidth_GBps", 2),)),
    Knob(("buffer",), "shared", (("buffer.banks", 2),)),
    Knob(("dram",), "work", (("dram.bandwidth_GBps", 2),)),
    Knob(("dram",), "shared", (("dram.channels", 2),)),
    Knob(("die_to_die",), "work", (("package.bandwidth_GBps", 2),)),
)
"""Which numbers belong to which unit and wait."""

Latencies = Mapping[str, float]
"""Latency (s) of each phase by name, and of the whole run as `total`."""
TOTAL = "total"


def with_levers(
    found: Bottlenecks, machine: Architecture, again: Callable[[Architecture], Latencies] | None
) -> Bottlenecks:
    """`found` with the levers of every phase and of the run, in the order of their gains.

    With `again`, which simulates another machine, each has its measured gain too, or why it has
    none.
    """
    tried: dict[Knob, Latencies | str] = {}

    def levers(name: str, part: PhaseBounds) -> PhaseBounds:
        gains = [(predicted_s(knob, part), knob) for knob in KNOBS]
        best = sorted((g for g in gains if g[0] > 0), key=lambda g: -g[0])[:LEVERS]
        made = tuple(_lever(knob, gain, name, part) for gain, knob in best)
        return part.model_copy(update={"levers": made})

    def _lever(knob: Knob, gain_s: float, name: str, part: PhaseBounds) -> Lever:
        old = {field: _value(machine, field) for field, _ in knob.factors}
        new = {field: old[field] * factor for field, factor in knob.factors}
        if knob not in tried:
            tried[knob] = _tried(machine, new, again)
        outcome = tried[knob]
        measured = refused = None
        if isinstance(outcome, str):
            refused = outcome
        elif outcome:
            measured = part.latency_s - outcome[name]
        return Lever(
            units=knob.units, acts_on=knob.acts_on, old=old, new=new,
            predicted_s=gain_s, measured_s=measured, refused=refused,
        )  # fmt: skip

    phases = {name: levers(name, part) for name, part in found.phases.items()}
    return found.model_copy(update={"total": levers(TOTAL, found.total), "phases": phases})


def predicted_s(knob: Knob, part: PhaseBounds) -> float:
    """The gain (s) to expect of `knob`, at least 0; see the head of this module."""
    times = part.shared_by_unit_s()
    if knob.acts_on == "work":
        idle = part.latency_by_unit_s
        times = {unit: time - idle.get(unit, 0.0) for unit, time in part.by_unit_s.items()}
    saved = SAVED * sum(times.get(unit, 0.0) for unit in knob.units)
    floors = [t for unit, t in part.busiest_by_unit_s.items() if unit not in knob.units]
    if knob.acts_on == "shared" and part.chain is not None:
        floors.append(part.chain.time_s)
    return max(0.0, min(saved, part.latency_s - max(floors, default=0.0)))


def _value(machine: Architecture, field: str) -> Any:
    value: Any = machine
    for name in field.split("."):
        value = getattr(value, name)
    return value


def _tried(
    machine: Architecture,
    new: dict[str, Any],
    again: Callable[[Architecture], Latencies] | None,
) -> Latencies | str:
    """Latencies on the changed machine, none where it is not simulated, or why it cannot be."""
    try:
        changed = machine.with_values(new, "a lever, on trial")
        return again(changed) if again is not None else {}
    except CimsimError as error:
        return str(error)
