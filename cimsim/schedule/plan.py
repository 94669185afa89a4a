"""Plan: a Program with what each actor stands for and what its energy is spent on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import Crew, Duration, IntArray, Program
from cimsim.schedule.formulas import Formula, worked_out
from cimsim.schedule.graph import Stream, phase_sums
from cimsim.spec import Architecture
from cimsim.units import PS_PER_S
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class Charge:
    """Dynamic energy (J) of one component for one op of one stage, one entry a phase."""

    stage: str
    op: str
    unit: str
    component: str
    energy_J: tuple[float, ...]


class Priced(NamedTuple):
    """Dynamic energy (J by phase) of one component for the op at place `op` of its stage."""

    op: int
    unit: str
    component: str
    energy_J: tuple[float, ...]


class Tally(Protocol):
    """What a stage does, counted by phase: the part of its energy that no cost of a machine is in.

    Equal stages may have the same one.
    """

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """What it costs on a machine on which the stage does the same."""


@brief
@dataclass(frozen=True, slots=True)
class Booked:
    """A tally of `stage`, whose `ops` it counts by their place."""

    stage: str
    ops: tuple[str, ...]
    tally: Tally


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """The part of a timed verb that is work on one op: its time (ps) in every iteration."""

    op: str
    duration: Duration


Bits: TypeAlias = Callable[[Architecture], float | npt.NDArray[Any]] | int | IntArray
"""Bits that move in every iteration, one number where they are the same; on a machine where they
depend on it.
"""


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ActorInfo:
    """What an actor stands for.

    `part` is what it does; the actors of a crew have one such value for all members, with their
    iterations one member behind the other, and the number of each behind `part`.
    `occupies` has one (unit, number of units) for each timed verb of the actor, in order;
    `phase` gives the phase of each iteration. `portions` has for each timed verb the ops that it
    works on, one after another, whose times sum to the verb's; none where the op that names the
    stage is the only one. `times` has the number of the duration of each, see `Plan`,
    `bits` what each moves in or out of a memory or over links, None where it moves nothing there.
    """

    stage: str
    layer: str
    part: str
    occupies: tuple[tuple[str, int], ...]
    phase: IntArray
    portions: tuple[tuple[Portion, ...], ...]
    times: tuple[int, ...] = ()
    bits: tuple[Bits | None, ...] = ()

    def members(self, crew: Crew) -> list[ActorInfo]:
        """What each member of a crew stands for."""
        cuts = [0, *np.cumsum(crew.sizes).tolist()]

        def of(here: slice, portion: Portion) -> Portion:
            time = portion.duration
            return Portion(portion.op, time[here] if isinstance(time, np.ndarray) else time)

        return [
            replace(
                self,
                part=f"{self.part}{number}",
                phase=self.phase[a:b],
                portions=tuple(tuple(of(slice(a, b), p) for p in each) for each in self.portions),
                bits=tuple(x[a:b] if isinstance(x, np.ndarray) else x for x in self.bits),
            )
            for number, (a, b) in zip(crew.numbers, pairwise(cuts), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Activation:
    """Tokens of `producer` that pass through the global buffer in the program's `buffer`."""

    producer: str
    buffer: int
    bytes_per_token: float


@dataclass(frozen=True, slots=True)
class Woken:
    """Pieces of work of all units of a kind that is gated, one entry a phase.

    `on_s` is the time (s) in which units wake or work, over all units; no unit has two pieces at a
    time. `wakes` counts the pieces, each of one unit.
    """

    on_s: tuple[float, ...]
    wakes: tuple[float, ...]


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Waking:
    """A piece of work of `units` units of a kind that is gated in every iteration of `stream` in
    which `time`, the number of its time with the wake-up, is not 0.
    """

    unit: str
    units: int | IntArray
    stream: Stream
    time: int


@brief
@dataclass(frozen=True, eq=False)
class Plan:
    """A scheduled workload: program, meaning and what energy is spent on.

    `roles` says what each role of the program stands for, `booked` what is counted for energy.
    `unit_counts` says how many units of each kind the mapping uses; `block_tokens` the block that
    each cluster stage was given in prefill, `shapes` what it works on (see `shape_of`);
    `tcdm_bytes` what that block takes; `spill_bytes` what it moves only because it does not fit
    whole: A and B of LoRA anew, X.W to the buffer and back; `on_cores` the stages of which products
    were given to cores, as faster than the matrix engine beside them; `crossed_bits` what passes
    die-to-die links by phase, once for every link; `woken` has the kinds of unit that are gated,
    from their `wakings`; `column_bits` counts bits of numbers on columns, kept beside units.

    `times` has the durations of the program by number, `formulas` what they follow from: they give
    those of any machine on which the schedule is the same (see `cimsim.schedule.formulas`).
    """

    program: Program
    phases: tuple[str, ...]
    roles: Sequence[ActorInfo]
    booked: tuple[Booked, ...]
    activations: tuple[Activation, ...]
    unit_counts: dict[str, int]
    block_tokens: dict[str, int]
    shapes: dict[str, str]
    tcdm_bytes: dict[str, int]
    spill_bytes: dict[str, int]
    on_cores: frozenset[str]
    times: tuple[Duration, ...] = ()
    formulas: tuple[Formula, ...] = ()
    crossed_bits: tuple[float, ...] = ()
    wakings: tuple[Waking, ...] = ()
    woken: dict[str, Woken] = field(default_factory=dict)
    column_bits: dict[str, int] = field(default_factory=dict)

    def charges(self, architecture: Architecture) -> list[Charge]:
        """Dynamic energies on `architecture`, one that differs from the plan's in costs at most."""
        prices = priced((entry.tally for entry in self.booked), architecture)
        return [
            Charge(entry.stage, entry.ops[price.op], *price[1:])
            for entry in self.booked
            for price in prices[id(entry.tally)]
        ]

    def on(self, architecture: Architecture) -> Plan:
        """The same schedule with its times on a machine on which it is the same.

        The program stays as it is: run it with `times`. Raises SimulationError as `build_plan`.
        """
        times = worked_out(self.formulas, architecture)
        return replace(self, times=times, woken=woken_by(self.wakings, times, len(self.phases)))

    @cached_property
    def actors(self) -> tuple[ActorInfo, ...]:
        """What every single actor of the program stands for."""
        found: list[ActorInfo] = []
        infos = iter(self.roles)
        for group in self.program.groups:
            if isinstance(group, Crew):
                columns = [next(infos).members(group) for _ in group.actors]
                found += chain.from_iterable(zip(*columns, strict=True))
            else:
                found.append(next(infos))
        return tuple(found)


def woken_by(wakings: Iterable[Waking], times: Sequence[Duration], phases: int) -> dict[str, Woken]:
    """The pieces of work of every kind of unit that is gated, with `times` by number."""
    on_ps: dict[str, list[float]] = {}
    wakes: dict[str, list[float]] = {}
    for waking in wakings:
        time, units = np.asarray(times[waking.time]), waking.units
        for found, amounts in ((on_ps, units * time), (wakes, units * np.sign(time))):
            sums = phase_sums(waking.stream, amounts, phases)
            before = found.get(waking.unit, [0.0] * phases)
            found[waking.unit] = [a + b for a, b in zip(before, sums, strict=True)]
    return {
        unit: Woken(tuple(time / PS_PER_S for time in on), tuple(wakes[unit]))
        for unit, on in on_ps.items()
    }


def priced(tallies: Iterable[Tally], architecture: Architecture) -> dict[int, list[Priced]]:
    """What every tally costs, by its id; nothing is kept for zero."""
    return {
        key: [price for price in tally.priced(architecture) if any(price.energy_J)]
        for key, tally in {id(tally): tally for tally in tallies}.items()
    }
