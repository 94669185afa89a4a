"""Actors that write weights while the machine runs, where weights take turns on units.

A weight is written once its units are free, or all of their group: when every weight that stood
there before has sent the last results of its step, those of all sequences. Its own first product of
the step waits until it is written. Bits come out of DRAM into the buffer, out of that and over the
clusters' link, piece by piece or one after the other as adapters do (`adapter_loading`). Each of
these and the drivers of a kind of unit serve all weights, first come first served; DRAM and buffer
also serve the rest of the machine. A write takes no less than it takes alone. Not modelled: weights
fetched before their units are free, and links that are busy with activations.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Literal

import numpy as np

from cimsim.costs.memory import access_energy_J, share_ps, ways
from cimsim.engines.program import Get, IntArray, Put
from cimsim.ir import Linear
from cimsim.mapping import Mapping, Written
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.drafts import Timed
from cimsim.schedule.graph import Stream, build_stream, plain
from cimsim.schedule.pieces import gated
from cimsim.schedule.plan import Portion, Priced
from cimsim.schedule.stages import Stage
from cimsim.schedule.turns import Rewrite, StepKind, rewrites
from cimsim.spec import Architecture
from cimsim.unit_kinds import WriteCost
from cimsim.units import ns_to_ps, seconds_to_ps
from cimsim.values.display import brief

RELOAD = "reload:"
"""What stands in for the name of an op where weights are written; no op has it."""
LINK, WRITES = "cluster_link", "_write"
"""The clusters' link in reports; what a kind of unit has behind its name while it is written."""
_PORTIONS = (Portion(RELOAD, 0),)
"""All of a verb: its time is the verb's own."""
Each = Callable[[Architecture, Written], int]
"""A time (ps), or bits, of a write on a machine."""
Memory = Literal["buffer", "dram"]
Ports = tuple[dict[str, list[Get]], dict[str, list[Put]]]
"""What stages get before they begin and put when they are done, by name."""


def add_reloads(
    assembler: Assembler, mapping: Mapping, stages: list[Stage], streams: dict[str, Stream]
) -> Ports:
    """Add the actors that write weights; returns what the stages of these wait for and give."""
    if not mapping.in_turns:
        return {}, {}
    homes: dict[str, Stage] = {}
    for stage in stages:
        op = stage.nodes[0].any
        if stage.work == "array" and isinstance(op, Linear):
            homes[op.weight] = stage
    phases = {weight: stage.phases for weight, stage in homes.items()}
    steps = assembler.graph.steps
    gets: dict[str, list[Get]] = {}
    puts: dict[str, list[Put]] = {}
    for rewrite in rewrites(mapping.placements, phases, steps):
        stage = homes[rewrite.placement.weight]
        reload = Reload(assembler, stage, rewrite)
        waits = []
        for name, pairs in rewrite.after.items():
            before = homes[name]
            free = assembler.fifo(f"{before.name} -> reload of {stage.name}")
            waits.append(Get(free, _among(_steps(reload.stream, steps), set(pairs))))
            last = _among(_steps(streams[before.name], steps), set(pairs.values()), last=True)
            puts.setdefault(before.name, []).append(Put(free, last))
        ready = assembler.fifo(f"reload of {stage.name}")
        written = reload.written
        mine = _steps(reload.stream, steps)[np.broadcast_to(written, reload.stream.size.shape) > 0]
        opens = _among(_steps(streams[stage.name], steps), set(mine.tolist()), last=False)
        gets.setdefault(stage.name, []).append(Get(ready, opens))
        assembler.stage(stage, None, [], partial(reload.add, waits, Put(ready, written)))
    for unit, used in mapping.units_used.items():
        if unit in mapping.in_turns:
            assembler.count(unit + WRITES, used)
    return gets, puts


def _steps(stream: Stream, steps: tuple[int, ...]) -> IntArray:
    """The step of every iteration, numbered through all phases."""
    first = np.array([0, *accumulate(steps)], np.int64)
    return np.asarray(first[stream.phase] + stream.step)


def _among(numbers: IntArray, wanted: set[int], *, last: bool | None = None) -> int | IntArray:
    """1 in iterations of `wanted` steps, of each in all, or in the first or the `last` alone."""
    here = np.isin(numbers, list(wanted))
    if last is not None:
        ends = np.flatnonzero(np.diff(numbers))
        edges = np.zeros(numbers.size, bool)
        edges[np.append(ends, numbers.size - 1) if last else np.append(0, ends + 1)] = True
        here &= edges
    return plain(here.astype(np.int64))


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Reload:
    """The writes of one weight: an iteration for each step in which its op runs."""

    assembler: Assembler
    stage: Stage
    rewrite: Rewrite

    @property
    def stream(self) -> Stream:
        """Its iterations."""
        return build_stream(dict.fromkeys(self.stage.phases, 1), self.assembler.graph.steps, 1)

    @property
    def written(self) -> int | IntArray:
        """1 where something is written."""
        return _by_kind(self.stream, dict.fromkeys(self.rewrite.blocks, 1))

    def add(self, waits: list[Get], ready: Put) -> None:
        """Add its actors: one that waits and is done, and one for each queue of what it uses."""
        assembler, stage, stream, written = self.assembler, self.stage, self.stream, self.written
        queues = {"link": self._link(), "write": self._cells(), "drivers": self._drivers()}
        if assembler.architecture.adapter_loading == "overlapped":
            queues |= {"dram": self._shared("dram", 1), "buffer": self._shared("buffer", 2)}
            fetch = [Timed(self._number("latency", _latency_ps), "dram", 0, None, _PORTIONS)]
        else:
            fetch = [*self._alone("dram"), *self._alone("buffer"), *self._alone("buffer")]
        asks: list[Put] = []
        had: list[Get] = []
        for name, used in queues.items():
            ask, done = (assembler.fifo(f"{stage.name}:{name} {way}") for way in ("for", "had"))
            asks.append(Put(ask, written))
            had.append(Get(done, written))
            part = f"reload {name}"
            assembler.actor(stage, part, stream, Get(ask, written), *used, Put(done, written))
        assembler.actor(stage, "reload", stream, *waits, *fetch, *asks, *had, ready)
        steps = assembler.graph.steps
        counted = assembler.alike.once(
            ("reloads", self.rewrite.alike, steps), lambda: tuple(self.rewrite.counted(steps))
        )
        assembler.book(stage, ReloadTally(counted), (RELOAD,))

    def _number(self, what: Hashable, each: Each) -> int:
        """The number of a time of every write."""
        key = "reload", what, self.rewrite.alike, self.stream
        return self.assembler.formulas.number(key, self._of_all(each))

    def _of_all(self, each: Each) -> Callable[[Architecture], int | IntArray]:
        """A number of every write on a machine."""
        stream, writes = self.stream, self.rewrite.written()

        def on(machine: Architecture) -> int | IntArray:
            return _by_kind(stream, {kind: each(machine, w) for kind, w in writes.items()})

        return on

    def _shared(self, name: Memory, times: int) -> tuple[Timed, ...]:
        """All bits through a memory, so many times, while others wait."""
        server, spec = self.assembler.memory(name)

        def moved(machine: Architecture, written: Written) -> int:
            return times * bits_of(machine, written)

        def each(machine: Architecture, written: Written) -> int:
            memory = machine.buffer if name == "buffer" else machine.dram
            return share_ps(memory, moved(machine, written))

        number = self._number(("share", name), each)
        return (Timed(number, name, ways(spec), server, _PORTIONS, self._of_all(moved)),)

    def _alone(self, name: Memory) -> tuple[Timed, ...]:
        """All bits through a memory before anything else goes on."""
        key = "reload", self.rewrite.alike, self.stream
        timed = self.assembler.access_of(name, key, self._of_all(bits_of), self.written)
        return tuple(replace(each, portions=_PORTIONS) for each in timed)

    def _link(self) -> tuple[Timed, ...]:
        """All bits over the clusters' link, which one weight has at a time."""

        def each(machine: Architecture, written: Written) -> int:
            bandwidth = machine.cluster_link.bandwidth_GBps * 1e9
            return seconds_to_ps(bits_of(machine, written) / 8.0 / bandwidth)

        server = self.assembler.resource("link of reloads", 1, "fifo", LINK)
        number = self._number("link", each)
        return (Timed(number, LINK, 1, server, _PORTIONS, self._of_all(bits_of)),)

    def _cells(self) -> tuple[Timed, ...]:
        """The write as long as it takes alone."""
        assembler, unit = self.assembler, self.rewrite.placement.unit
        units = max(int(only.sum()) for only in self.rewrite.blocks.values())
        whole = self._number("cells", lambda m, w: seconds_to_ps(write_cost(m, w).time_s))
        if gated(assembler.architecture.arrays(unit)):
            assembler.wake(unit, units, self.stream, whole)
        return (Timed(whole, unit + WRITES, units, None, _PORTIONS),)

    def _drivers(self) -> tuple[Timed, ...]:
        """Its share of the drivers, while others wait."""
        unit = self.rewrite.placement.unit
        server = self.assembler.resource(f"writes of {unit}", 1, "fifo")
        share = self._number("drivers", lambda m, w: seconds_to_ps(write_cost(m, w).shared_s))
        return (Timed(share, unit + WRITES, 0, server, _PORTIONS),)


def _by_kind(stream: Stream, values: dict[StepKind, int]) -> int | IntArray:
    """A number of every iteration: 0 in kinds of step that have none."""
    found = np.zeros(stream.iterations, np.int64)
    for (phase, later), value in values.items():
        found[(stream.phase == phase) & ((stream.step > 0) == later)] = value
    return plain(found)


def bits_of(machine: Architecture, written: Written) -> int:
    """Bits of a write as they come to be written."""
    return written.count * machine.units[written.unit].value_bits


def write_cost(machine: Architecture, written: Written) -> WriteCost:
    """What a write over foreign contents takes, and its way over the link.

    Raises as the unit's `write`.
    """
    return machine.units[written.unit].write([written], machine.cluster_link)


def _latency_ps(machine: Architecture, written: Written) -> int:
    """Of DRAM, of the buffer twice: latencies add up where pieces are handed on."""
    del written
    return ns_to_ps(machine.dram.access_ns) + 2 * ns_to_ps(machine.buffer.access_ns)


@brief
@dataclass(frozen=True, slots=True, eq=False)
class ReloadTally:
    """Writes of one weight, each with how often it is made by phase."""

    writes: tuple[tuple[Written, tuple[int, ...]], ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of cells, link, buffer and DRAM."""
        buffer, dram = architecture.buffer, architecture.dram
        for written, counts in self.writes:
            bits = bits_of(architecture, written)
            parts = dict(write_cost(architecture, written).energy_by_part_J)
            moved = parts.pop("moving", 0.0)
            each = [(written.unit, f"write_{part}", energy) for part, energy in parts.items()]
            each += [
                ("link", "cluster_link", moved),
                # counted: into the buffer and out of it
                ("buffer", "access", 2.0 * access_energy_J(buffer, bits)),
                ("dram", "access", access_energy_J(dram, bits)),
            ]
            for unit, component, energy in each:
                yield Priced(0, unit, component, tuple([energy * n for n in counts]))
