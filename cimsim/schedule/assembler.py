"""Assembler: collects actors with their meaning, tallies and shared resources into a Plan."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cimsim.blocks import Buffer, Dram
from cimsim.costs.memory import access_ps, share_ps, ways
from cimsim.engines.program import Duration, IntArray, Program, ProgramBuilder
from cimsim.engines.scenes import Groups
from cimsim.errors import SimulationError
from cimsim.schedule.alike import Alike
from cimsim.schedule.drafts import Drafted, DraftedCrew, Step, Timed
from cimsim.schedule.formulas import Formulas, check_clock
from cimsim.schedule.graph import Graph, Stream, block_classes, phase_sums, plain
from cimsim.schedule.plan import ActorInfo, Booked, Tally, Waking
from cimsim.schedule.stages import Stage, pool_of
from cimsim.schedule.templates import PoolUnit, Template
from cimsim.spec import Architecture
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


@brief
@dataclass
class Assembler:
    """State of one scheduling run; every `stage_*` module adds its actors through it."""

    architecture: Architecture
    graph: Graph
    alike: Alike = field(default_factory=Alike)
    builder: ProgramBuilder = field(default_factory=ProgramBuilder)
    added: list[Template] = field(default_factory=list)
    booked: list[Booked] = field(default_factory=list)
    unit_counts: dict[str, int] = field(default_factory=dict)
    block_tokens: dict[str, int] = field(default_factory=dict)
    tcdm_bytes: dict[str, int] = field(default_factory=dict)
    spill_bytes: dict[str, int] = field(default_factory=dict)
    on_cores: set[str] = field(default_factory=set)
    crossed_bits: list[list[float]] = field(default_factory=list)
    wakings: list[Waking] = field(default_factory=list)
    column_bits: dict[str, dict[str, int]] = field(default_factory=dict)
    intervals: int = 0
    formulas: Formulas = field(default_factory=Formulas)
    _templates: dict[Hashable, Template] = field(default_factory=dict)
    _resources: dict[str, int] = field(default_factory=dict)

    def resource(
        self, name: str, servers: int, policy: str, unit: str | None = None, units: int = 1
    ) -> int:
        """The resource `name`, made on first use; each server counts as `units` units of `unit`.

        One that belongs to the stage that asks for it: no other stage does the same.
        """
        self.added[-1].again = False
        return self._resource(name, servers, policy, unit, units)

    def _resource(self, name: str, servers: int, policy: str, unit: str | None, units: int) -> int:
        if name not in self._resources:
            index = self.builder.resource(
                name, servers, "round_robin" if policy == "round_robin" else "fifo"
            )
            self._resources[name] = index
            if unit is not None:
                self.count(unit, servers * units)
        return self._resources[name]

    def pool(self, stage: Stage, place: int, unit: PoolUnit) -> int:
        """The cores or the DMA engines of one of the groups of clusters of a stage."""
        found = self._pool(stage, place, unit)
        self.added[-1].pools.setdefault(found, (place, unit))
        return found

    def _pool(self, stage: Stage, place: int, unit: PoolUnit) -> int:
        pmca = self.architecture.pmca
        number, servers = pool_of(pmca, stage.pools[place][0] * pmca.pool_clusters)
        policy = self.architecture.cluster_link.arbitration
        return self._resource(f"{unit} pool {number}", servers, policy, unit, 1)

    def memory(self, name: Literal["buffer", "dram"]) -> tuple[int, Buffer | Dram]:
        """Buffer or DRAM: one server, all banks together, and its block of the machine."""
        spec = self.architecture.buffer if name == "buffer" else self.architecture.dram
        return self._resource(name, 1, spec.arbitration, name, ways(spec)), spec

    def access(
        self, name: Literal["buffer", "dram"], bits: int | IntArray, where: int | IntArray = 1
    ) -> tuple[Timed, ...]:
        """A transfer of `bits`: its share of all banks, then what it takes longer alone.

        `where` is 1 for iterations that make it, 0 for others.
        """
        key = bits if isinstance(bits, int) else id(bits)  # of a value that the formula keeps
        return self.access_of(name, key, lambda machine: bits, where)

    def access_of(
        self, name: Literal["buffer", "dram"], key: Hashable,
        bits: Callable[[Architecture], int | IntArray], where: int | IntArray,
    ) -> tuple[Timed, ...]:  # fmt: skip
        """The same for bits that depend on the machine; `key` tells them from others."""
        if isinstance(where, int) and not where:
            return ()
        server, spec = self.memory(name)

        def time(value: Callable[[Buffer | Dram, int], int]) -> Callable[[Architecture], Duration]:
            def on(machine: Architecture) -> Duration:
                block = machine.buffer if name == "buffer" else machine.dram
                found = convert(bits(machine), lambda b: value(block, b))
                return found if isinstance(where, int) else plain(where * np.asarray(found))

            return on

        here = where if isinstance(where, int) else id(where)
        share = self.formulas.number(("share", name, key, here), time(share_ps))
        rest = self.formulas.number(("rest", name, key, here), time(_rest_ps))

        def moved(machine: Architecture) -> Duration:
            found = bits(machine)
            return found if isinstance(where, int) else where * np.asarray(found)

        return Timed(share, name, ways(spec), server, bits=moved), Timed(rest, name, 0)

    def count(self, unit: str, units: int) -> None:
        """Add `units` to the units of a kind that the workload occupies."""
        self.unit_counts[unit] = self.unit_counts.get(unit, 0) + units

    def wake(self, unit: str, units: int | IntArray, stream: Stream, time: int) -> None:
        """Count a piece of work of `units` units in every iteration that takes time.

        `time` is the number of the time of each, wake-up included: 0 where there is no work.
        """
        self.wakings.append(Waking(unit, units, stream, time))

    def reserve(self, intervals: int) -> None:
        """Count `intervals` more; raises SimulationError beyond what memory holds."""
        self.intervals += intervals
        check_intervals(self.intervals)

    def fifo(self, name: str, capacity: int = 1, initial: int = 0) -> int:
        """A new buffer."""
        return self.builder.buffer(name, capacity, initial)

    def actor(self, stage: Stage, part: str, stream: Stream, *steps: Step | None) -> None:
        """Add an actor of `stage` over `stream`; a step that is None is left out."""
        self.reserve(max(1, stream.iterations))
        self.added[-1].drafts.append(self._drafted(stage, part, stream, steps))

    def _drafted(
        self, stage: Stage, part: str, stream: Stream, steps: Iterable[Step | None]
    ) -> Drafted:
        """An actor, or those of a crew, once it is noted what they stand for."""
        present = tuple([step for step in steps if step is not None])
        timed = [step for step in present if type(step) is Timed]
        occupies = tuple([(s.unit, s.units) for s in timed])
        portions, times = tuple([s.portions for s in timed]), tuple([s.time for s in timed])
        bits = tuple([s.bits for s in timed])
        self.added[-1].infos.append(
            ActorInfo(stage.name, stage.layer, part, occupies, stream.phase, portions, times, bits)
        )
        return Drafted(f"{stage.name}:{part}", stream.iterations, present)

    def stage(
        self, stage: Stage, key: Hashable | None, outside: list[int], add: Callable[[], None]
    ) -> None:
        """Add what a stage does: by `add`, or as it was added for a stage of the same `key`.

        `outside` are the buffers that its steps have in common with other stages, in an order that
        is that of all stages of the key. None where no other stage does the same.
        """
        known = None if key is None else self._templates.get(key)
        if known is not None and known.again:
            self._stamp(known, stage, outside)
            return
        stores, intervals = self.builder.store_count, self.intervals
        booked, wakings = len(self.booked), len(self.wakings)
        work = Template(stage, self.builder.buffer_count, outside)
        self.added.append(work)
        add()
        work.shelf = self.builder.shelf(stores, stage.name)
        work.booked, work.wakings = self.booked[booked:], self.wakings[wakings:]
        work.intervals = self.intervals - intervals
        if key is not None and known is None:
            self._templates[key] = work

    def _stamp(self, known: Template, stage: Stage, outside: list[int]) -> None:
        """Add what was added for another stage."""
        self.reserve(known.intervals)
        first = self.builder.again(known.shelf, stage.name)
        pools = [self._pool(stage, place, unit) for place, unit in known.pools.values()]
        known.stand(stage, first, outside, pools)
        self.booked += known.booked_for(stage)
        self.wakings += known.wakings
        self.added.append(known)
        if known.stage.name in self.on_cores:
            self.on_cores.add(stage.name)

    def program(self, times: Sequence[Duration]) -> Program:
        """All actors with `times` by number."""
        scenes = {id(work): work for work in self.added}
        places = {key: place for place, key in enumerate(scenes)}
        order = [places[id(work)] for work in self.added]
        return self.builder.build(Groups([w.scene(times) for w in scenes.values()], order))

    def bank(self, stage: Stage, role: str, lanes: range, capacity: int, initial: int = 0) -> int:
        """A new buffer for each of `lanes`; returns the first."""
        return self.builder.bank(f"{stage.name}:{role}", lanes, capacity, initial)

    def crew(
        self, stage: Stage, stream: Stream, lanes: range, sizes: IntArray,
        elsewhere: dict[int, IntArray], parts: dict[str, list[Step | None]],
    ) -> None:  # fmt: skip
        """Add an actor of each of `parts` for every lane, of `sizes` blocks of `stream` a lane.

        A buffer or resource in the steps is that of the first lane (see `Crew`).
        """
        if len(lanes) == 1:
            for part, steps in parts.items():
                self.actor(stage, f"{part}{lanes[0]}", stream, *steps)
            return
        self.reserve(len(parts) * stream.iterations)
        actors = (self._drafted(stage, part, stream, steps) for part, steps in parts.items())
        self.added[-1].drafts.append(DraftedCrew(tuple(actors), sizes, lanes, elsewhere))

    def book(self, stage: Stage, tally: Tally, ops: tuple[str, ...] = ()) -> None:
        """Count what a stage does for `ops`, else for the op that names it; equal tallies once."""
        one: Tally = self.alike.once(("tally", tally), lambda: tally)
        self.booked.append(Booked(stage.name, ops or (stage.name,), one))

    def phase_sums(self, stream: Stream, amounts: float | IntArray | np.ndarray) -> list[float]:
        """Sum of `amounts` (an iteration each, or the same for all) by phase."""
        return phase_sums(stream, amounts, len(self.graph.steps))


def per_block(
    stream: Stream, varies: bool, value: Callable[[int, int, int, int], int]
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


def _rest_ps(memory: Buffer | Dram, bits: int) -> int:
    """What a transfer takes beside its share."""
    return access_ps(memory, bits) - share_ps(memory, bits)


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
