"""Actors of stages on clusters and of table look-ups in DRAM.

A cluster stage fetches a block by DMA, computes, and drains it, two blocks in flight (double
buffering). Blocks of a step go round the clusters of the stage: those beside the weight for a LoRA
branch, the pool at home or, where the strategy shares it wider, several pools for attention and
vector work (`cimsim.schedule.dealing`). Clusters of a pool are alike, so that a pool is one
resource with a server a cluster; with `pmca.pool_clusters` 1 the tiles of a cluster have it alone.
Data that a tile or SRAM unit sends to clusters of the pool at home there arrives over the tile's
link and needs no DMA; in a phase in which a stage leaves that pool the data goes to the buffer and
is fetched. A DMA transfer takes its share of the buffer's banks, as all others do, and then its
engine for as long as it moves.

Weights that fit the TCDM beside two blocks are fetched once and stay there; others come anew with
every block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import starmap

import numpy as np

from cimsim.costs.cluster_energy import cluster_energy
from cimsim.costs.memory import access_energy_J, ways
from cimsim.costs.tile import link_energy_J
from cimsim.engines.program import Get, IntArray, Put
from cimsim.ir import Embedding, output_elements
from cimsim.schedule.assembler import Assembler, per_block
from cimsim.schedule.cluster_work import (
    ClusterWork,
    Demand,
    Team,
    Transfers,
    cluster_work,
)
from cimsim.schedule.drafts import Step, Timed
from cimsim.schedule.graph import Stream
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.pieces import gated
from cimsim.schedule.plan import Priced
from cimsim.schedule.portions import Parted
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.unit_kinds import PMCA
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Ports:
    """Tokens a cluster stage takes and gives: `inputs` before DMA, `late` from its own tile."""

    inputs: list[Get]
    late: list[Get]
    outputs: list[Put]


def add_cluster_stage(assembler: Assembler, demand: Demand, lanes: Lanes, ports: Ports) -> None:
    """Add the actors of a cluster stage: blocks are dealt to lanes, one a cluster, and collected.

    A lane is fetch, compute and drain. What the stage's own tile sends is awaited only by the
    compute actor, after `ClusterWork.early`.
    """
    stage, stream = demand.stage, demand.stream
    work = cluster_work(assembler, demand, lanes)
    if work.on_cores:
        assembler.on_cores.add(stage.name)
    if lanes.count == 1:
        _add_team(assembler, stage, work.teams[0], ports)
    else:
        _add_teams(assembler, stage, stream, work, lanes, ports)
    machine = assembler.architecture
    if assembler.alike.once("gated clusters", lambda: gated(machine.units_of(PMCA.name))):
        for on_ps in work.pieces:
            assembler.wake(PMCA.name, lanes.parts, stream, assembler.formulas.fixed(on_ps))
    _book(assembler, stage, stream, work)


def _add_teams(
    assembler: Assembler, stage: Stage, stream: Stream, work: ClusterWork, lanes: Lanes,
    ports: Ports,
) -> None:  # fmt: skip
    """Actors that deal inputs and what the tile sends to the lanes, the lanes, and a collector."""
    every = range(lanes.count)

    def bank(role: str) -> int:
        return assembler.bank(stage, role, every, lanes.count)

    entry, done = bank("deal"), bank("collect")
    arrived = bank("arrive") if ports.late else 0
    for team in work.teams:
        first = team.lanes[0]
        late = [Get(arrived + first)] if ports.late else []
        mine = Ports([Get(entry + first)], late, [Put(done + first)])
        _add_team(assembler, stage, team, mine)
    masks = lanes.masks
    assembler.actor(stage, "deal", stream, *ports.inputs, Put(entry, masks))
    if ports.late:
        assembler.actor(stage, "arrive", stream, *ports.late, Put(arrived, masks))
    assembler.actor(stage, "collect", stream, Get(done, masks), *ports.outputs)


def _add_team(assembler: Assembler, stage: Stage, team: Team, ports: Ports) -> None:
    """Fetch, compute and drain of each cluster's share, two blocks in flight.

    Clusters with at most one block a step have nothing to overlap: one actor each does it all.
    """
    times = team.times
    cores, dma, elsewhere = _pools(assembler, stage, team.lanes)

    def timed(part: Parted, resource: int, unit: str) -> Timed:
        time = assembler.formulas.fixed(part.duration)
        return Timed(time, unit, resource=resource, portions=part.portions)

    early = timed(times.early, cores, PMCA.name) if team.early else None
    compute = timed(times.compute, cores, PMCA.name)
    fetch, drain = (_moved(assembler, dma, part) for part in (times.fetch, times.drain))
    parts: dict[str, list[Step | None]]
    if not ports.late and team.apart:
        parts = {"block": [*ports.inputs, *fetch, compute, *drain, *ports.outputs]}
    else:
        free = assembler.bank(stage, "free", team.lanes, 2, 2)
        ready, done = (assembler.bank(stage, s, team.lanes, 2) for s in ("ready", "done"))
        parts = {
            "fetch": [Get(free), *ports.inputs, *fetch, Put(ready)],
            "compute": [Get(ready), early, *ports.late, compute, Put(done)],
            "drain": [Get(done), *drain, Put(free), *ports.outputs],
        }
    assembler.crew(stage, team.stream, team.lanes, team.sizes, elsewhere, parts)


def _pools(
    assembler: Assembler, stage: Stage, lanes: range
) -> tuple[int, int, dict[int, IntArray]]:
    """Cores and DMA engines of the first lane; for each those of all lanes, where they differ."""
    made, counts = [], []
    for place, count in _pools_of_lanes(stage, lanes):
        made.append((assembler.pool(stage, place, "pmca"), assembler.pool(stage, place, "dma")))
        counts.append(count)
    elsewhere = {}
    if len(made) > 1:
        elsewhere = {own[0]: np.repeat(np.array(own), counts) for own in zip(*made, strict=True)}
    return *made[0], elsewhere


def _moved(assembler: Assembler, dma: int, times: Transfers) -> tuple[Timed, Timed, Timed]:
    """A block's transfers: their share of the buffer, the latency left, their DMA engine."""
    buffer, spec = assembler.memory("buffer")
    share, latency, engine = times.share, times.latency, times.engine
    fixed = assembler.formulas.fixed
    return (
        Timed(fixed(share.duration), "buffer", ways(spec), buffer, share.portions, times.bits),
        Timed(fixed(latency.duration), "dma", 0, portions=latency.portions),
        Timed(
            fixed(engine.duration), "dma", resource=dma, portions=engine.portions, bits=times.bits
        ),
    )


def _book(assembler: Assembler, stage: Stage, stream: Stream, work: ClusterWork) -> None:
    """Count what clusters do for a stage."""
    ops = tuple([node.name for node in stage.nodes])

    def sums(amounts: float | IntArray) -> Sums:
        return tuple(assembler.phase_sums(stream, amounts))

    def counted() -> ClusterTally:
        return ClusterTally(
            tuple(
                (ops.index(op), sums(busy.core_cycles), sums(busy.engine_cycles),
                 sums(busy.tcdm_bytes))
                for op, busy in work.busy.items()
            ),
            tuple((ops.index(op), sums(time)) for op, time in work.busy_ps.items()),
            tuple((ops.index(op), sums(moved)) for op, moved in work.bytes_moved.items()),
        )  # fmt: skip

    alike = [(ops.index(op), id(amounts)) for found in (work.busy, work.busy_ps, work.bytes_moved)
             for op, amounts in found.items()]  # fmt: skip
    tally, _ = assembler.alike.once(("booked", stream, *alike), lambda: (counted(), work))
    assembler.book(stage, tally, ops)


Sums = tuple[float, ...]
"""By phase."""


@dataclass(frozen=True, slots=True)
class ClusterTally:
    """What clusters do for each op: cycles of cores and of engines and bytes of TCDM; time (ps) at
    work; bytes in and out by DMA.
    """

    busy: tuple[tuple[int, Sums, Sums, Sums], ...]
    at_work_ps: tuple[tuple[int, Sums], ...]
    moved_bytes: tuple[tuple[int, Sums], ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of clusters, and of link and buffer for what they move."""
        energy = cluster_energy(architecture.pmca)

        def charge(op: int, of_phases: Iterable[dict[str, float]]) -> Iterator[Priced]:
            phases = list(of_phases)
            for part in phases[0]:
                yield Priced(op, PMCA.name, part, tuple([found[part] for found in phases]))

        for op, *counts in self.busy:
            yield from charge(op, starmap(energy.computed_J, zip(*counts, strict=True)))
        for op, at_work in self.at_work_ps:
            yield from charge(op, map(energy.on_J, at_work))
        link, buffer = architecture.cluster_link, architecture.buffer
        for op, moved in self.moved_bytes:
            yield from charge(op, map(energy.moved_J, moved))
            over = tuple([link_energy_J(link, 8 * b) for b in moved])
            yield Priced(op, "link", "cluster_link", over)
            stored = tuple([access_energy_J(buffer, 8 * b) for b in moved])
            yield Priced(op, "buffer", "access", stored)


def _pools_of_lanes(stage: Stage, lanes: range) -> Iterator[tuple[int, int]]:
    """The place of each group whose clusters work on some of `lanes`, and on how many of them.

    Lanes fill the group at home, then one group after the other.
    """
    first = 0
    for place, (_, count) in enumerate(stage.pools):
        here = min(lanes.stop, first + count) - max(lanes.start, first)
        if here > 0:
            yield place, here
        first += count
    assert first >= lanes.stop, f"{stage.name} has more lanes than clusters"


def add_lookup_stage(
    assembler: Assembler, stage: Stage, stream: Stream, gets: list[Get], puts: list[Put]
) -> None:
    """Add the actor that fetches rows of a table from DRAM into the buffer."""
    architecture = assembler.architecture
    ops = {p: op for p, op in stage.nodes[0].ops.items() if isinstance(op, Embedding)}

    def bits(p: int, s: int, n: int, e: int) -> int:
        now = ops[p].at(s)
        values = output_elements(now) * n / now.tokens
        return math.ceil(values * architecture.pmca.value_bits)

    varies = any(op.growth for op in ops.values())
    amounts = per_block(stream, varies, bits)
    assembler.actor(
        stage, "look-up", stream, *gets, *assembler.access("dram", amounts),
        *assembler.access("buffer", amounts), *puts,
    )  # fmt: skip
    assembler.book(stage, LookupTally(tuple(assembler.phase_sums(stream, amounts))))


@dataclass(frozen=True, slots=True)
class LookupTally:
    """Bits out of DRAM and into the buffer."""

    bits: Sums

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of both memories."""
        for unit, memory in (("dram", architecture.dram), ("buffer", architecture.buffer)):
            energy = tuple(access_energy_J(memory, b) for b in self.bits)
            yield Priced(0, unit, "access", energy)
