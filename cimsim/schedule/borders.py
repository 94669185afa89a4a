"""What crosses from die to die: results that are read on another die than they were made on.

The mapping decides where a stage is: with the clusters that its weights or tokens are served by,
those of its lanes where it is shared. Results lie in the buffer of the die that made them and are
sent once to every other die that reads them, token by token, where they stay for all its readers;
K and V for clusters to every die with such clusters. Each die sends over links of its own, one
token after the other; the links passed on the way take energy and latency. Not modelled: a search
for blocks and widths that knows of dies, partial sums of one weight on two dies, table rows and the
choice of the next token, and links filled by what passes through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cimsim.blocks import DiePackage
from cimsim.costs.dies import Sent, Shares, die_of, sent, shares_of, wanted
from cimsim.costs.tile import PJ
from cimsim.engines.program import Get, IntArray, Put
from cimsim.ir import Op, output_elements
from cimsim.schedule.assembler import Assembler, per_block
from cimsim.schedule.drafts import Timed
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import Stream, build_stream
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.plan import Priced
from cimsim.schedule.stages import Stage
from cimsim.spec import Architecture
from cimsim.units import PS_PER_NS, ns_to_ps
from cimsim.values.display import brief

UNIT = "die_to_die"
"""The name of these links in reports."""


@brief
@dataclass(frozen=True, slots=True)
class Borders:
    """Where every stage is, by phase: what part of its work each die does."""

    package: DiePackage
    places: dict[str, dict[int, Shares]]
    clusters: frozenset[str]

    @classmethod
    def of(
        cls, architecture: Architecture, stages: list[Stage], streams: dict[str, Stream],
        lanes: dict[str, Lanes],
    ) -> Borders | None:  # fmt: skip
        """The borders of a machine; None where it has one die."""
        package = architecture.package
        if package is None or package.dies == 1:
            return None
        places = {
            stage.name: _places(architecture, package.dies, stage, streams[stage.name],
                                lanes.get(stage.name))
            for stage in stages
        }  # fmt: skip
        on_clusters = (stage.name for stage in stages if stage.work == "cluster")
        return cls(package, places, frozenset(on_clusters))

    def crossed_by(self, edge: StageEdge) -> bool:
        """Whether tokens of an edge are read on another die in a phase."""
        return any(self.sent((edge,), phase).copies for phase in edge.tokens)

    def sent(self, edges: Sequence[StageEdge], phase: int) -> Sent:
        """What of a token of one producer passes between dies for all of `edges` in a phase."""
        made = self.places[edges[0].producer][phase]
        return sent(made, wanted([self._read(edge, phase) for edge in edges]))

    def most(self, stage: Stage) -> int:
        """The die that does most of a stage in its first phase, the first of equals."""
        place = self.places[stage.name][stage.phases[0]]
        return place.index(max(place))

    def _read(self, edge: StageEdge, phase: int) -> Shares:
        """What part of a token each die reads: none in phases that the edge is not of."""
        place = self.places[edge.consumer].get(phase)
        if phase not in edge.tokens or place is None:
            return (0.0,) * self.package.dies
        if edge.stationary and edge.consumer in self.clusters:
            return tuple(1.0 if part else 0.0 for part in place)
        return place


def _places(
    architecture: Architecture, dies: int, stage: Stage, stream: Stream, lanes: Lanes | None
) -> dict[int, Shares]:
    pmca = architecture.pmca
    first, count = stage.clusters
    home = [
        die_of(min(cluster, pmca.cluster_count - 1), pmca.cluster_count, dies)
        for cluster in range(first, first + count)
    ]
    if lanes is None or not stage.pools:
        return dict.fromkeys(stage.phases, shares_of(home, dies))
    spread = [
        pool * pmca.pool_clusters + place
        for pool, members in stage.pools
        for place in range(members)
    ]
    return {phase: _shared(spread, lanes, stream, phase, pmca.cluster_count, dies)
            for phase in stage.phases}  # fmt: skip


def _shared(
    spread: list[int], lanes: Lanes, stream: Stream, phase: int, clusters: int, dies: int
) -> Shares:
    """Parts of the work of a phase by die: that of the clusters that its lanes are on."""
    here = stream.phase == phase
    blocks = (lanes.masks @ here).tolist()
    found = [0] * dies
    for cluster, done in zip(spread, blocks, strict=False):
        found[die_of(cluster, clusters, dies)] += done
    whole = sum(found)
    return tuple(done / whole for done in found)


def add_crossing(
    assembler: Assembler, borders: Borders, stage: Stage, edges: list[tuple[StageEdge, int]]
) -> tuple[StageEdge, int]:
    """Add the actor that sends results of `stage` to other dies, over `edges` with their buffers.

    Returns the edge to it with its buffer; charges energy and counts bytes, once for every link.
    """
    package, name = borders.package, stage.name
    only = [edge for edge, _ in edges]
    tokens = {p: n for edge in only for p, n in edge.tokens.items()}
    growth = {p: n for edge in only for p, n in edge.growth.items()}
    capacity = max(edge.capacity for edge in only)
    first = dict(sorted(tokens.items()))
    entered = StageEdge(name, f"{name}:cross", False, first, {}, growth, capacity)
    graph = assembler.graph
    stream = build_stream(entered.tokens, graph.steps, 1, entered.growth, graph.sequences)
    parts = {phase: borders.sent(only, phase) for phase in tokens}
    ops = stage.nodes[-1].ops

    def each(value: Callable[[Sent, float], float]) -> int | IntArray:
        def of_token(p: int, s: int, n: int, e: int) -> int:
            return math.ceil(value(parts[p], token_bits(ops[p], s, assembler.architecture)))

        return per_block(stream, any(op.growth for op in ops.values()), of_token)

    leave_ps = each(lambda part, bits: part.copies * bits * PS_PER_NS / 8 / package.bandwidth_GBps)
    way_ps = each(lambda part, _: part.farthest * ns_to_ps(package.crossing_ns))
    crossed = each(lambda part, bits: part.crossings * bits)
    port = assembler.resource(f"links of die {borders.most(stage)}", 1, "fifo", UNIT)
    entry = assembler.fifo(f"{name}:border", entered.capacity)
    fixed = assembler.formulas.fixed
    assembler.actor(
        stage, "cross", stream, Get(entry),
        Timed(fixed(leave_ps), UNIT, resource=port, bits=crossed),
        Timed(fixed(way_ps), UNIT, 0),
        *(Put(buffer, stream.in_phases(frozenset(edge.tokens))) for edge, buffer in edges),
    )  # fmt: skip
    bits = assembler.phase_sums(stream, crossed)
    assembler.crossed_bits.append(bits)
    assembler.book(stage, CrossingTally(tuple(bits)))
    return entered, entry


@dataclass(frozen=True, slots=True)
class CrossingTally:
    """Bits over links between dies, by phase."""

    bits: tuple[float, ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of the links."""
        package = architecture.package
        assert package is not None
        energy = tuple(n * package.energy_pJ_per_bit * PJ for n in self.bits)
        yield Priced(0, UNIT, "links", energy)


def token_bits(op: Op, step: int, architecture: Architecture) -> float:
    """Bits of what `op` puts into the buffer for one token of a step."""
    now = op.at(step)
    return output_elements(now) / now.tokens * architecture.activation_bits
