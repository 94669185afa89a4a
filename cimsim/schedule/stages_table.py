"""Actors of work on units that take what a table of costs says (`op_units`).

A unit does one row at a time: reads its operands from the buffer, works as long as its table says
and writes the result. Tokens of a stage go round the units in turn, and all stages share the units
of their table, first come first served. Attention is one run for all tokens of a step.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np

from cimsim.costs.memory import access_energy_J
from cimsim.costs.op_units import ATTENTION, OpWork, cost_of, owners
from cimsim.costs.tile import PJ
from cimsim.engines.program import Duration, Get, IntArray, Put
from cimsim.errors import MappingError
from cimsim.ir import MatMul, Op, output_elements
from cimsim.schedule.assembler import Assembler, per_block
from cimsim.schedule.drafts import Step, Timed
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import Stream, plain
from cimsim.schedule.lanes import Deal, deal_out
from cimsim.schedule.plan import Priced
from cimsim.schedule.stages import Stage
from cimsim.schedule.tabled import Runs, attention_of, runs_of_token
from cimsim.spec import Architecture
from cimsim.units import ns_to_ps


def is_attention(stage: Stage) -> bool:
    """Whether a table has the stage as attention: one run for all tokens of a step."""
    return isinstance(stage.nodes[0].any, MatMul)


def units_of(stage: Stage, architecture: Architecture) -> str:
    """The units that do the work of a stage; MappingError where two would share an op of it."""
    known = owners(architecture.op_units)
    if is_attention(stage):
        return known[ATTENTION]
    names = {known[work.op] for work, _ in runs_of_token(stage.nodes[0].any)}
    if len(names) > 1:
        raise MappingError(
            f"op {stage.name!r} takes functions of op_units {' and '.join(sorted(names))}, but is "
            "done by one unit: list its functions in one table"
        )
    return names.pop()


def add_table_stage(
    assembler: Assembler, stage: Stage, stream: Stream, incoming: list[StageEdge],
    gets: list[Get], puts: list[Put],
) -> None:  # fmt: skip
    """Add the actors of a stage that a table has: tokens are dealt to units and collected."""
    architecture = assembler.architecture
    name = units_of(stage, architecture)
    units = (architecture.op_units or {})[name]
    servers = units.unit_count
    deals = tuple((phase, Deal(servers, 1)) for phase in stage.phases)
    lanes = deal_out(stream, deals, servers)
    every, mine = range(lanes.count), lanes.stream
    resource = assembler.resource(f"{name} units", servers, "fifo", name)
    varies = is_attention(stage) or any(op.growth for op in stage.nodes[0].ops.values())
    alike = tuple(node.content for node in stage.nodes)

    def on(machine: Architecture) -> Duration:
        def of(p: int, s: int, n: int, e: int) -> int:
            runs = runs_of_block(stage, p, s)
            known = machine.op_units or {}
            return ns_to_ps(math.fsum(t * cost_of(known, name, w)[0] for w, t in runs))

        return per_block(mine, varies, of)

    key: Hashable = ("table", name, alike, mine)
    work = Timed(assembler.formulas.number(key, on), name, resource=resource)
    read, written = _bits(assembler, stage, incoming, mine)
    here = plain((np.broadcast_to(read, mine.phase.shape) > 0).astype(np.int64))
    fetch = assembler.access("buffer", read, here)
    steps = [*fetch, work, *assembler.access("buffer", written)]
    if lanes.count == 1:
        assembler.actor(stage, "work", stream, *gets, *steps, *puts)
    else:
        entry, done = (
            assembler.bank(stage, role, every, lanes.count) for role in ("deal", "collect")
        )
        parts: dict[str, list[Step | None]] = {"work": [Get(entry), *steps, Put(done)]}
        assembler.crew(stage, mine, every, lanes.sizes, {}, parts)
        assembler.actor(stage, "deal", stream, *gets, Put(entry, lanes.masks))
        assembler.actor(stage, "collect", stream, Get(done, lanes.masks), *puts)
    moved = (assembler.phase_sums(mine, amounts) for amounts in (read, written))
    bits = tuple(map(sum, zip(*moved, strict=True)))
    tally = TableTally(name, _runs(stage, mine, len(assembler.graph.steps)), bits)
    assembler.book(stage, tally)


def runs_of_block(stage: Stage, phase: int, step: int) -> Runs:
    """Runs of a table's ops that a token of a step takes, of attention all tokens together."""
    if is_attention(stage):
        return ((attention_of(stage.nodes, phase, step), 1),)
    return runs_of_token(stage.nodes[0].ops[phase].at(step))


def _runs(stage: Stage, stream: Stream, phases: int) -> tuple[Runs, ...]:
    """All runs of a stage, by phase."""
    found: list[Counter[OpWork]] = [Counter() for _ in range(phases)]
    steps = zip(stream.phase.tolist(), stream.step.tolist(), strict=True)
    for (phase, step), count in Counter(steps).items():
        for work, times in runs_of_block(stage, phase, step):
            found[phase][work] += times * count
    return tuple(tuple(counter.items()) for counter in found)


def _bits(
    assembler: Assembler, stage: Stage, incoming: list[StageEdge], stream: Stream
) -> tuple[int | IntArray, int | IntArray]:
    """Bits that a block reads from the buffer and writes there."""
    bits, nodes = assembler.architecture.activation_bits, assembler.graph.nodes
    last = stage.nodes[-1]
    varies = any(
        op.growth
        for name in (last.name, *(edge.producer for edge in incoming))
        for op in nodes[name].ops.values()
    )

    def share(op: Op, s: int, n: int) -> float:
        now = op.at(s)
        return output_elements(now) * min(n / now.tokens, 1.0)

    def read(p: int, s: int, n: int, e: int) -> int:
        producers = (nodes[edge.producer].ops[p] for edge in incoming if p in edge.tokens)
        return math.ceil(bits * math.fsum(share(op, s, n) for op in producers))

    def written(p: int, s: int, n: int, e: int) -> int:
        return math.ceil(bits * share(last.ops[p], s, n))

    return per_block(stream, varies, read), per_block(stream, varies, written)


@dataclass(frozen=True, slots=True)
class TableTally:
    """Runs of a table's ops on the units `name`, and bits read and written, by phase."""

    name: str
    runs: tuple[Runs, ...]
    bits: tuple[float, ...]

    def priced(self, architecture: Architecture) -> Iterator[Priced]:
        """Energy of units by op, and of the buffer."""
        units = architecture.op_units or {}
        by_op: dict[str, list[float]] = {}
        for phase, runs in enumerate(self.runs):
            for work, times in runs:
                found = by_op.setdefault(work.op, [0.0] * len(self.runs))
                found[phase] += times * cost_of(units, self.name, work)[1] * 1e3 * PJ
        for op, energy in by_op.items():
            yield Priced(0, self.name, op, tuple(energy))
        stored = tuple([access_energy_J(architecture.buffer, b) for b in self.bits])
        yield Priced(0, "buffer", "access", stored)
