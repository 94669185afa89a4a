"""Builds the Plan: stages become actors, their edges buffers, shared units resources."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial

import numpy as np

from cimsim.engines.program import Count, Get, Put
from cimsim.errors import MappingError
from cimsim.ir import Linear, Workload, is_argmax, output_elements
from cimsim.mapping import Mapping, Placement, held_by
from cimsim.runtime.collector import collector_paused
from cimsim.schedule.alike import Alike, Known
from cimsim.schedule.assembler import Assembler, check_intervals
from cimsim.schedule.block_choice import StageCosts
from cimsim.schedule.borders import Borders, add_crossing
from cimsim.schedule.dealt import Dealer, Dealt
from cimsim.schedule.edges import StageEdge, ended_counts, stage_edges, started_counts
from cimsim.schedule.formulas import worked_out
from cimsim.schedule.graph import Stream, build_graph, build_stream
from cimsim.schedule.pipelines import Pipeline, Strategy, clusters_shared
from cimsim.schedule.plan import Activation, Plan, woken_by
from cimsim.schedule.reloads import add_reloads
from cimsim.schedule.stages import Stage, build_stages, masked_scores, pool_of
from cimsim.schedule.stages_array import add_array_stage, count_columns
from cimsim.schedule.stages_cluster import (
    Ports,
    add_cluster_stage,
    add_lookup_stage,
)
from cimsim.schedule.stages_kv import add_kv_stage
from cimsim.schedule.stages_table import add_table_stage, is_attention
from cimsim.schedule.templates import Roles
from cimsim.spec import Architecture
from cimsim.values.arguments import checked


def _amount(count: Count) -> int:
    """Tells a count from others, of arrays that are kept."""
    return id(count) if isinstance(count, np.ndarray) else count


@checked(MappingError)
@collector_paused()
def build_plan(
    workload: Workload,
    architecture: Architecture,
    mapping: Mapping,
    pipeline: Pipeline,
    *,
    group_tiles: bool = True,
    timed_on: Architecture | None = None,
    known: Known | None = None,
) -> Plan:
    """Schedule `workload` (as adapted) with `mapping` on `architecture` under `pipeline`.

    `group_tiles` joins tiles of one weight that move in lock-step into one actor; the times are
    the same without, at many times the events. `timed_on` is the same machine, for readers that are
    told apart: times that decide nothing are read of it. What other layouts on the same machine
    worked out is taken of `known`, and left there.
    """
    alike = (known or Known()).on(architecture)
    scheduler = _Scheduler(workload, architecture, mapping, pipeline, group_tiles, alike)
    return scheduler.plan(timed_on or architecture)


class _Scheduler:
    def __init__(
        self,
        workload: Workload,
        architecture: Architecture,
        mapping: Mapping,
        pipeline: Pipeline,
        group_tiles: bool,
        alike: Alike,
    ) -> None:
        self.workload, self.mapping, self.pipeline = workload, mapping, pipeline
        self.group_tiles = group_tiles
        self.graph = build_graph(workload)
        share = clusters_shared(pipeline, architecture.pmca)
        self.stages = build_stages(self.graph, architecture, mapping, share)
        self.edges = stage_edges(self.graph, self.stages, pipeline)
        self.into: dict[str, list[StageEdge]] = {}
        for edge in self.edges:
            self.into.setdefault(edge.consumer, []).append(edge)
        self.layer = {stage.name: stage.layer for stage in self.stages}
        self.assembler = Assembler(architecture, self.graph, alike)
        self.shapes: dict[str, str] = {}
        self.costs: dict[str, StageCosts] = {}
        self.dealt: dict[str, Dealt] = {}
        self.beside = self._beside()
        self.dealer = Dealer(self.assembler, mapping, pipeline, masked_scores(self.graph))
        self.shared = {unit: self._shared_units(unit) for unit in mapping.units_used}
        self.converted = {
            unit: architecture.arrays(unit).converter is not None for unit in mapping.units_used
        }

    def plan(self, timed_on: Architecture) -> Plan:
        self._check_size()
        streams = {stage.name: self._stream(stage) for stage in self.stages}
        if isinstance(self.pipeline, Strategy):
            self.pipeline.check_shapes(self.shapes.values())
        buffers = [
            (edge, self.assembler.fifo(f"{edge.producer} -> {edge.consumer}", edge.capacity))
            for edge in self.edges
        ]
        incoming: dict[str, list[tuple[StageEdge, int]]] = {k.name: [] for k in self.stages}
        outgoing: dict[str, list[tuple[StageEdge, int]]] = {k.name: [] for k in self.stages}
        for edge, buffer in buffers:
            incoming[edge.consumer].append((edge, buffer))
            outgoing[edge.producer].append((edge, buffer))
        loops_in, loops_out = self._feedback(streams)
        reloads_in, reloads_out = add_reloads(self.assembler, self.mapping, self.stages, streams)
        lanes = {name: dealt.lanes for name, dealt in self.dealt.items()}
        borders = Borders.of(self.assembler.architecture, self.stages, streams, lanes)
        for stage in self.stages:
            stream = streams[stage.name]
            gets = [
                Get(buffer, edge.get_counts(stream))
                for edge, buffer in incoming[stage.name]
                if not (edge.stationary and stage.work == "attention")
            ]
            gets += loops_in.get(stage.name, []) + reloads_in.get(stage.name, [])
            puts = [
                Put(buffer, edge.put_counts(stream))
                for edge, buffer in self._leaving(stage, outgoing[stage.name], borders)
            ]
            puts += loops_out.get(stage.name, []) + reloads_out.get(stage.name, [])
            self._add(stage, stream, incoming[stage.name], outgoing[stage.name], gets, puts)
        self._count_units()
        done = self.assembler
        formulas = tuple(done.formulas.all)
        times = worked_out(formulas, timed_on)
        no_bits = (0.0,) * len(self.graph.steps)
        return Plan(
            program=done.program(times),
            phases=tuple(phase.name for phase in self.workload.phases),
            roles=Roles(done.added),
            booked=tuple(done.booked),
            activations=tuple(self._activations(buffers)),
            unit_counts=done.unit_counts,
            block_tokens=done.block_tokens,
            shapes=self.shapes,
            tcdm_bytes=done.tcdm_bytes,
            spill_bytes=done.spill_bytes,
            on_cores=frozenset(done.on_cores),
            times=times,
            formulas=formulas,
            crossed_bits=tuple(map(sum, zip(*done.crossed_bits, strict=True))) or no_bits,
            wakings=tuple(done.wakings),
            woken=woken_by(done.wakings, times, len(self.graph.steps)),
            column_bits={unit: sum(bits.values()) for unit, bits in done.column_bits.items()},
        )

    def _leaving(
        self, stage: Stage, outgoing: list[tuple[StageEdge, int]], borders: Borders | None
    ) -> list[tuple[StageEdge, int]]:
        """Where a stage puts its tokens: to its readers, those on other dies by way of links."""
        away = [
            (edge, buffer)
            for edge, buffer in outgoing
            if borders is not None and borders.crossed_by(edge)
        ]
        if borders is None or not away:
            return outgoing
        here = [pair for pair in outgoing if pair not in away]
        sent: list[tuple[StageEdge, int]] = []

        def add() -> None:
            sent.append(add_crossing(self.assembler, borders, stage, away))

        self.assembler.stage(stage, None, [], add)
        return [*here, *sent]

    def _check_size(self) -> None:
        """Refuse what is too large before the streams of tokens take memory.

        An array reads, multiplies and sends each token, converting it where it has converters, and
        copies are dealt their tokens; work on clusters comes in blocks.
        """
        check_intervals(
            sum(
                self._parts(stage) * op.tokens * self.graph.steps[phase]
                if not op.growth.get("tokens", 0)
                else self._parts(stage) * self.workload.phases[phase].run_tokens
                for stage in self.stages
                for phase, op in stage.nodes[0].ops.items()
            )
            * self.graph.sequences
        )

    def _parts(self, stage: Stage) -> int:
        """Actors of a stage that work on every token."""
        # counted: read, compute and send; clusters work block by block
        actors = {"array": 3, "attention": 3, "look-up": 1, "cluster": 0, "table": 1}[stage.work]
        if stage.work == "array":
            placement = self._placement(stage)
            actors += self.converted[placement.unit]
            # counted: deal and collect
            actors += 2 * (placement.replicas > 1)
        return actors

    def _placement(self, stage: Stage) -> Placement:
        op = stage.nodes[0].any
        assert isinstance(op, Linear)
        return self.mapping.placements[op.weight]

    def _activations(self, buffers: list[tuple[StageEdge, int]]) -> Iterator[Activation]:
        outputs = {stage.name: stage.nodes[-1].any for stage in self.stages}
        for edge, buffer in buffers:
            if self._buffered(edge):
                op = outputs[edge.producer]
                bits = output_elements(op) / op.tokens * self.assembler.architecture.activation_bits
                yield Activation(edge.producer, buffer, bits / 8.0)

    def _add(
        self,
        stage: Stage,
        stream: Stream,
        incoming: list[tuple[StageEdge, int]],
        outgoing: list[tuple[StageEdge, int]],
        gets: list[Get],
        puts: list[Put],
    ) -> None:
        read = {phase for edge, _ in outgoing for phase in edge.tokens}
        buffered = frozenset(set(stage.phases) - read).union(
            *(self._buffered(edge) for edge, _ in outgoing)
        )
        both: list[Get | Put] = [*gets, *puts]
        moves = tuple([_amount(move.count) for move in both])
        key: Hashable | None = None
        outside = [move.buffer for move in both]
        add: Callable[[], None]
        if stage.work == "array":
            placement = self._placement(stage)
            shared = self.shared[placement.unit]
            count_columns(self.assembler, stage, placement)
            key = (
                "array", stage.nodes[0].content, placement.unit, placement.grid,
                placement.replicas, buffered, stream, moves, len(gets),
            )  # fmt: skip
            add = partial(
                add_array_stage, self.assembler, stage, placement, stream, shared, gets, puts,
                buffered=buffered, grouped=self.group_tiles,
            )  # fmt: skip
        elif stage.work == "attention":
            store = self.mapping.kv[stage.nodes[0].name]
            stationary = [(edge, buffer) for edge, buffer in incoming if edge.stationary]
            add = partial(
                add_kv_stage, self.assembler, stage, store, stream, stationary, gets, puts,
                buffered=buffered,
            )  # fmt: skip
        elif stage.work == "look-up":
            add = partial(add_lookup_stage, self.assembler, stage, stream, gets, puts)
        elif stage.work == "table":
            into = self.into.get(stage.name, [])
            add = partial(add_table_stage, self.assembler, stage, stream, into, gets, puts)
        else:
            late = {buffer for edge, buffer in incoming if self._awaited(edge, stage)}
            dealt = self.dealt[stage.name]
            key = (
                "cluster", dealt.work, tuple([count for _, count in stage.pools]), moves,
                tuple([get.buffer in late for get in gets]),
            )  # fmt: skip

            def add() -> None:
                inputs = [get for get in gets if get.buffer not in late]
                awaited = [get for get in gets if get.buffer in late]
                costs, ports = self.costs[stage.name], Ports(inputs, awaited, puts)
                demand = self.dealer.demand(costs, dealt.stream, stay=dealt.stay)
                add_cluster_stage(self.assembler, demand, dealt.lanes, ports)

        self.assembler.stage(stage, key, outside, add)

    def _awaited(self, edge: StageEdge, stage: Stage) -> bool:
        """True for what the stage's own tile sends over its link, in every phase."""
        return not self._buffered(edge) and self.layer[edge.producer] == stage.layer

    def _buffered(self, edge: StageEdge) -> frozenset[int]:
        """Phases in which data passes through the buffer; in others it comes by link."""
        if (edge.producer, edge.consumer) not in self.beside:
            return frozenset(edge.tokens)
        return self.dealt[edge.consumer].lanes.away.intersection(edge.tokens)

    def _edges_into(self, stage: Stage) -> tuple[list[StageEdge], list[StageEdge]]:
        """Edges whose data every cluster of a stage fetches by DMA, and those beside arrays."""
        edges = self.into.get(stage.name, ())
        beside = [edge for edge in edges if (edge.producer, edge.consumer) in self.beside]
        return [edge for edge in edges if edge not in beside], beside

    def _stream(self, stage: Stage) -> Stream:
        graph, block = self.graph, 1
        if stage.work == "cluster":
            return self._dealt(stage).stream
        if stage.work == "table" and is_attention(stage):
            block = max(phase.longest for phase in self.workload.phases)
        return build_stream(stage.tokens(), graph.steps, block, stage.growth(), graph.sequences)

    def _dealt(self, stage: Stage) -> Dealt:
        costs = self.costs[stage.name] = self.dealer.costs(stage, *self._edges_into(stage))
        dealt = self.dealt[stage.name] = self.dealer.dealt(costs)
        self.shapes[stage.name] = dealt.shape
        self.assembler.block_tokens[stage.name] = dealt.block_tokens
        self.assembler.tcdm_bytes[stage.name] = dealt.tcdm_bytes
        if dealt.spill_bytes:
            self.assembler.spill_bytes[stage.name] = dealt.spill_bytes
        return dealt

    def _beside(self) -> frozenset[tuple[str, str]]:
        """Edges from arrays to clusters at home in the group beside them.

        Logits, of which the largest is chosen, come from arrays beside many groups: they go through
        the buffer.
        """
        stage = {k.name: k for k in self.stages}
        pmca = self.assembler.architecture.pmca
        return frozenset(
            (edge.producer, edge.consumer)
            for edge in self.edges
            if stage[edge.producer].work in ("array", "attention")
            and stage[edge.consumer].work == "cluster"
            and pool_of(pmca, stage[edge.producer].clusters[0])
            == pool_of(pmca, stage[edge.consumer].clusters[0])
            and not edge.stationary
            and not is_argmax(stage[edge.consumer].nodes[0].any)
        )

    def _shared_units(self, unit: str) -> frozenset[int]:
        """Units on which blocks of several weights, or several blocks, sit at a time."""
        staying = (p for p in self.mapping.placements.values() if p.turn is None)
        units, blocks = held_by(staying, unit)
        return frozenset(units[blocks > 1].tolist())

    def _feedback(
        self, streams: dict[str, Stream]
    ) -> tuple[dict[str, list[Get]], dict[str, list[Put]]]:
        """Loops from the stages that end a phase's steps to every stage that starts a decode step.

        A step starts when the one before has ended, which may be of another phase.
        """
        steps = self.graph.steps
        if len(steps) < 2:
            return {}, {}
        home = {node.name: stage for stage in self.stages for node in stage.nodes}
        ending: dict[str, tuple[int, ...]] = {}
        for index, phase in enumerate(self.workload.phases):
            name = home[phase.ops[-1].name].name
            ending[name] = (*ending.get(name, ()), index)
        fed = {edge.consumer for edge in self.edges for phase in edge.tokens if phase > 0}
        gets: dict[str, list[Get]] = {}
        puts: dict[str, list[Put]] = {name: [] for name in ending}
        totals = {stage.name: stage.tokens() for stage in self.stages}
        growth = {stage.name: stage.growth() for stage in self.stages}
        for stage in self.stages:
            if stage.name in fed or max(stage.phases) == 0:
                continue
            for last, phases in ending.items():
                taken = started_counts(streams[stage.name], phases)
                if not taken.any():
                    continue
                loop = self.assembler.fifo(f"next token -> {stage.name}", self.graph.sequences)
                produced = ended_counts(
                    streams[last], totals[last], growth[last], steps, phases, stage.phases
                )
                puts[last].append(Put(loop, produced))
                gets.setdefault(stage.name, []).append(Get(loop, taken))
        return gets, puts

    def _count_units(self) -> None:
        assembler = self.assembler
        for unit, used in self.mapping.units_used.items():
            arrays = assembler.architecture.arrays(unit)
            if used:
                assembler.count(unit, used)
            if used and arrays.converter is not None:
                assembler.count(arrays.converter, used)
        # every array has a port in and a port out
        assembler.count("link", 2 * sum(self.mapping.units_used.values()))
