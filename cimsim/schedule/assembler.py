"""Assembler: collects actors with their meaning, tallies and shared resources into a Plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cimsim.blocks import Buffer, Dram
from cimsim.costs.memory import access_ps, share_ps, ways
from cimsim.engines.program import (
    CLOCK_MAX_PS,
    Actor,
    Crew,
    Get,
    Hold,
    IntArray,
    ProgramBuilder,
    Put,
    Use,
    Verb,
)
from cimsim.errors import SimulationError
from cimsim.schedule.alike import Alike
from cimsim.schedule.graph import Graph, Stream, block_classes, plain
from cimsim.schedule.plan import ActorInfo, Booked, Portion, Tally, Woken
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.units import PS_PER_S
from cimsim.values.display import brief

INTERVALS_MAX = 2**28
"""Most iterations of all actors of a schedule: choice, each takes up to 20 bytes to report on and
a third of a microsecond."""


def check_intervals(intervals: int) -> None:
    """Raise SimulationError for a schedule of more intervals than are simulated."""
    if intervals > INTERVALS_MAX:
        raise SimulationError(
            f"the schedule has {intervals} intervals of work or more (tokens x parts of all "
            f"operations), cimsim simulates at most {INTERVALS_MAX}: shorten the prompt or the "
            "decode, take fewer layers, or lower --replicate"
        )


@dataclass(frozen=True, slots=True)
class Timed:
    """A Hold or Use that occupies `units` units of kind `unit`; `portions` as in `ActorInfo`.

    No units where it waits for the latency of one, which others share.
    """

    verb: Hold | Use
    unit: str
    units: int = 1
    portions: tuple[Portion, ...] = ()


@brief
@dataclass
class Assembler:
    """State of one scheduling run; every `stage_*` module adds its actors through it."""

    architecture: Architecture
    graph: Graph
    builder: ProgramBuilder = field(default_factory=ProgramBuilder)
    infos: list[ActorInfo] = field(default_factory=list)
    booked: list[Booked] = field(default_factory=list)
    unit_counts: dict[str, int] = field(default_factory=dict)
    block_tokens: dict[str, int] = field(default_factory=dict)
    tcdm_bytes: dict[str, int] = field(default_factory=dict)
    spill_bytes: dict[str, int] = field(default_factory=dict)
    on_cores: set[str] = field(default_factory=set)
    crossed_bits: list[list[float]] = field(default_factory=list)
    on_ps: dict[str, list[float]] = field(default_factory=dict)
    wakes: dict[str, list[float]] = field(default_factory=dict)
    column_bits: dict[str, dict[str, int]] = field(default_factory=dict)
    intervals: int = 0
    alike: Alike = field(default_factory=Alike)
    _resources: dict[str, int] = field(default_factory=dict)

    def resource(
        self, name: str, servers: int, policy: str, unit: str | None = None, units: int = 1
    ) -> int:
        """The resource `name`, made on first use; each server counts as `units` units of `unit`."""
        if name not in self._resources:
            index = self.builder.resource(
                name, servers, "round_robin" if policy == "round_robin" else "fifo"
            )
            self._resources[name] = index
            if unit is not None:
                self.count(unit, servers * units)
        return self._resources[name]

    def memory(self, name: Literal["buffer", "dram"]) -> tuple[int, Buffer | Dram]:
        """Buffer or DRAM: one server, all banks together, and its block of the machine."""
        spec = self.architecture.buffer if name == "buffer" else self.architecture.dram
        return self.resource(name, 1, spec.arbitration, name, ways(spec)), spec

    def access(
        self, name: Literal["buffer", "dram"], bits: int | IntArray, where: int | IntArray = 1
    ) -> tuple[Timed, ...]:
        """A transfer of `bits`: its share of all banks, then what it takes longer alone.

        `where` is 1 for iterations that make it, 0 for others.
        """
        if isinstance(where, int) and not where:
            return ()
        server, spec = self.memory(name)
        bits = bits if isinstance(bits, int) else plain(bits)

        def times() -> tuple[int | IntArray, ...]:
            share = convert(bits, lambda b: share_ps(spec, b))
            rest = convert(bits, lambda b: access_ps(spec, b) - share_ps(spec, b))
            return share, rest, bits  # an id in a key is that of a value that stays

        key = "access", name, bits if isinstance(bits, int) else id(bits)
        share, rest, _ = self.alike.once(key, times)
        if not isinstance(where, int):
            share, rest = plain(where * np.asarray(share)), plain(where * np.asarray(rest))
        return Timed(Use(server, share), name, ways(spec)), Timed(Hold(rest), name, 0)

    def count(self, unit: str, units: int) -> None:
        """Add `units` to the units of a kind that the workload occupies."""
        self.unit_counts[unit] = self.unit_counts.get(unit, 0) + units

    def wake(self, unit: str, units: int | IntArray, stream: Stream, on_ps: int | IntArray) -> None:
        """Count a piece of work of `units` units in every iteration that takes time.

        `on_ps` is the time of each, wake-up included: 0 where there is no work.
        """
        pieces = units * np.sign(on_ps)
        for found, amounts in ((self.on_ps, units * np.asarray(on_ps)), (self.wakes, pieces)):
            sums = self.phase_sums(stream, amounts)
            before = found.get(unit, [0.0] * len(sums))
            found[unit] = [a + b for a, b in zip(before, sums, strict=True)]

    def woken(self) -> dict[str, Woken]:
        """The pieces of work of every kind of unit that is gated."""
        return {
            unit: Woken(tuple(time / PS_PER_S for time in on), tuple(self.wakes[unit]))
            for unit, on in self.on_ps.items()
        }

    def reserve(self, intervals: int) -> None:
        """Count `intervals` more; raises SimulationError beyond what memory holds."""
        self.intervals += intervals
        check_intervals(self.intervals)

    def fifo(self, name: str, capacity: int = 1, initial: int = 0) -> int:
        """A new buffer."""
        return self.builder.buffer(name, capacity, initial)

    def actor(
        self, stage: Stage, part: str, stream: Stream, *steps: Get | Put | Timed | None
    ) -> None:
        """Add an actor of `stage` over `stream`; a step that is None is left out."""
        self.reserve(max(1, stream.iterations))
        verbs = self._tell(stage, part, stream, steps)
        self.builder.actor(f"{stage.name}:{part}", stream.iterations, *verbs)

    def _tell(
        self, stage: Stage, part: str, stream: Stream, steps: Iterable[Get | Put | Timed | None]
    ) -> tuple[Verb, ...]:
        """Note what an actor, or those of a crew, stand for; return what they do."""
        verbs: list[Verb] = []
        timed: list[Timed] = []
        for step in steps:
            if isinstance(step, Timed):
                verbs.append(step.verb)
                timed.append(step)
                if isinstance(step.verb.duration, int):
                    check_clock(step.verb.duration)
            elif step is not None:
                verbs.append(step)
        occupies = tuple([(s.unit, s.units) for s in timed])
        portions = tuple([s.portions for s in timed])
        self.infos.append(
            ActorInfo(stage.name, stage.layer, part, occupies, stream.phase, portions)
        )
        return tuple(verbs)

    def bank(self, stage: Stage, role: str, lanes: range, capacity: int, initial: int = 0) -> int:
        """A new buffer for each of `lanes`; returns the first."""
        return self.builder.bank(f"{stage.name}:{role}", lanes, capacity, initial)

    def crew(
        self, stage: Stage, stream: Stream, lanes: range, sizes: IntArray,
        elsewhere: dict[int, IntArray], parts: dict[str, list[Get | Put | Timed | None]],
    ) -> None:  # fmt: skip
        """Add an actor of each of `parts` for every lane, of `sizes` blocks of `stream` a lane.

        A buffer or resource in the steps is that of the first lane (see `Crew`).
        """
        if len(lanes) == 1:
            for part, steps in parts.items():
                self.actor(stage, f"{part}{lanes[0]}", stream, *steps)
            return
        self.reserve(len(parts) * stream.iterations)
        count = stream.iterations
        actors = tuple(
            [
                Actor(f"{stage.name}:{part}", count, self._tell(stage, part, stream, steps))
                for part, steps in parts.items()
            ]
        )
        self.builder.crew(Crew(actors, sizes, lanes, elsewhere))

    def book(self, stage: Stage, tally: Tally, ops: tuple[str, ...] = ()) -> None:
        """Count what a stage does for `ops`, else for the op that names it; equal tallies once."""
        one: Tally = self.alike.once(("tally", tally), lambda: tally)
        self.booked.append(Booked(stage.name, ops or (stage.name,), one))

    def per_block(
        self, stream: Stream, varies: bool, value: Callable[[int, int, int, int], int]
    ) -> int | IntArray:
        """`value(phase, step, size, end)` over the iterations; one int where it is constant.

        Where it does not vary with step and end it is evaluated once for each phase and size,
        and for blocks that open a step (end == size) apart from the others.
        """
        if varies:
            columns = (stream.phase, stream.step, stream.size, stream.end)
            blocks = zip(*(c.tolist() for c in columns), strict=True)
            return plain(within_64_bits([value(*block) for block in blocks]))
        examples, inverse = block_classes(stream)
        found = [value(*example) for example in examples]
        return found[0] if len(set(found)) == 1 else within_64_bits(found)[inverse]

    def phase_sums(self, stream: Stream, amounts: float | IntArray | np.ndarray) -> list[float]:
        """Sum of `amounts` (an iteration each, or the same for all) by phase."""
        return phase_sums(stream, amounts, len(self.graph.steps))


def phase_sums(stream: Stream, amounts: float | IntArray | np.ndarray, phases: int) -> list[float]:
    """Sum of `amounts` over the iterations of each of so many phases."""
    weights = np.broadcast_to(np.asarray(amounts, np.float64), stream.phase.shape)
    found: list[float] = np.bincount(stream.phase, weights=weights, minlength=phases).tolist()
    return found


def convert(values: int | IntArray, function: Callable[[int], int]) -> int | IntArray:
    """`function` of every value, evaluated once for each that occurs."""
    if isinstance(values, int):
        return function(values)
    unique, inverse = np.unique(values, return_inverse=True)
    return within_64_bits([function(int(value)) for value in unique])[inverse]


def within_64_bits(values: list[int]) -> IntArray:
    """`values` as an array; raises SimulationError where one is beyond the event clock."""
    check_clock(max(values, default=0))
    return np.array(values, np.int64)


def check_clock(value: int) -> None:
    """Raise SimulationError for a number that is beyond the event clock."""
    if value > CLOCK_MAX_PS:
        raise SimulationError(
            f"a block of tokens takes {value:.3g} ps or bits, beyond {CLOCK_MAX_PS} (106 "
            "days), the last instant of the event clock: shorten the times of the architecture "
            "or lower the sizes of the workload"
        )
