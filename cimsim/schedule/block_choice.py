"""Blocks that a cluster stage may have: which fit the TCDM, and which takes least time.

The time of a block size is a closed form over the lanes of the stage: every lane fetches, computes
and drains its blocks, two in flight, with all data there from the start and nobody else at work on
the pool. The events know more: other stages on the same clusters, and tokens that arrive one after
the other. Where those decide, the block that is best alone may not be the best in the run: see
docs/pipelines.md, "More is not always faster".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from cimsim.engines.program import IntArray
from cimsim.ir import Op, output_elements
from cimsim.schedule.assembler import Assembler
from cimsim.schedule.cluster_work import (
    Demand,
    block_times,
    loads_of,
    stage_likeness,
    weight_bytes,
)
from cimsim.schedule.dealing import lanes_of
from cimsim.schedule.edges import StageEdge
from cimsim.schedule.graph import build_stream, joined
from cimsim.schedule.lanes import Lanes
from cimsim.schedule.stages import MaskedScores, Stage
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True)
class StepTime:
    """Times (ps) of a step of a stage: until its first block is out, and until all are."""

    first_ps: int
    whole_ps: int


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """The work of a step in blocks of some size, and its lanes."""

    demand: Demand
    lanes: Lanes


@brief
@dataclass(frozen=True, slots=True, eq=False)
class StageCosts:
    """Blocks of a cluster stage other than LoRA beside a tile, which `Pair` measures."""

    assembler: Assembler
    stage: Stage
    fetched: list[StageEdge]
    beside: list[StageEdge]
    scores: MaskedScores
    kind: int

    @classmethod
    def of(
        cls, assembler: Assembler, stage: Stage, fetched: list[StageEdge], beside: list[StageEdge],
        scores: MaskedScores,
    ) -> Self:  # fmt: skip
        """Those of a stage with its kind, see `stage_likeness`."""
        kind = stage_likeness(assembler, stage, fetched, beside, scores)
        return cls(assembler, stage, fetched, beside, scores, kind)

    def best(self, wanted: int, *, streams: bool) -> int:
        """Of `wanted` tokens, a half, a quarter, ... that fit, the one of least closed-form time.

        The time of a step; where the stage `streams` the time to pass the first block on counts
        beside it, once more. The smallest of equals; a token where nothing fits. More TCDM adds
        candidates and takes none away.
        """
        stage = self.stage
        key = "best", wanted, streams, stage.near, stage.clusters[1], self.kind
        return self.assembler.alike.once(key, lambda: self._best(wanted, streams=streams))

    def _best(self, wanted: int, *, streams: bool) -> int:
        fitting = [block for block in cuts(wanted) if self.fits(block)]
        if len(fitting) < 2:
            return (fitting or [1])[0]
        steps = zip(self.steps(fitting), fitting, strict=True)
        return min((step.whole_ps + step.first_ps * streams, block) for step, block in steps)[1]

    def largest(self, wanted: int) -> int:
        """The first of `wanted`, a half, a quarter, ... that fits; a token where nothing fits."""
        return next((block for block in cuts(wanted) if self.fits(block)), 1)

    def fits(self, block: int) -> bool:
        """Whether two blocks (double buffering) fit the TCDM."""
        return self._two_blocks(block) <= self._room

    def weights_stay(self, block: int) -> bool:
        """Whether the stage's weights fit the TCDM beside two blocks; else they come with each."""
        return self._held + self._two_blocks(block) <= self._room

    def tcdm_bytes(self, block: int) -> int:
        """TCDM bytes of two blocks and of the weights that stay beside them."""
        return self._two_blocks(block) + self._held * self.weights_stay(block)

    def steps(self, blocks: Sequence[int]) -> list[StepTime]:
        """Closed-form time of the longest step in blocks of so many tokens, for each of `blocks`.

        All blocks of those for which data comes the same way are worked out together.
        """
        tries = [self._try(block) for block in blocks]
        alike: dict[tuple[bool, frozenset[int]], list[_Try]] = {}
        for one in tries:
            alike.setdefault((one.demand.stay, one.lanes.away), []).append(one)
        found = {id(one): time for some in alike.values() for one, time in self._times(some)}
        return [found[id(one)] for one in tries]

    def _try(self, block: int) -> _Try:
        tokens = self.stage.tokens()
        longest = max(tokens, key=lambda p: tokens[p])
        steps = tuple(int(p == longest) for p in range(len(self.assembler.graph.steps)))
        stream = build_stream(tokens, steps, block)
        stay = self.weights_stay(block)
        demand = Demand(
            self.stage, stream, self.fetched, self.beside, self.scores, None, False, stay, self.kind
        )
        return _Try(demand, lanes_of(self.assembler, demand))

    def _times(self, tries: list[_Try]) -> Iterator[tuple[_Try, StepTime]]:
        """Times of steps that fetch the same data."""
        lanes = [one.lanes for one in tries]
        loads = [loads_of(self.assembler, one.demand, one.lanes.count) for one in tries]
        every = replace(tries[0].demand, stream=joined([one.demand.stream for one in tries]))
        parts = np.concatenate([each.parts for each in lanes])
        times = block_times(self.assembler, every, parts, lanes[0].away, np.concatenate(loads))
        engines = self.stage.clusters[1] if lanes[0].away else self.stage.near
        compute = times.early.duration + times.compute.duration
        totals = times.fetch.total(), compute, times.drain.total()
        fetch, work, drain = (np.broadcast_to(column, parts.size) for column in totals)
        first = 0
        for one, each in zip(tries, lanes, strict=True):
            here = first + each.blocks
            yield one, step_time(each.sizes, fetch[here], work[here], drain[here], engines)
            first += each.parts.size

    @property
    def _room(self) -> int:
        return self.assembler.architecture.pmca.tcdm_bytes

    @property
    def _held(self) -> int:
        return weight_bytes(self.assembler.architecture.pmca, self.stage)

    def _two_blocks(self, block: int) -> int:
        key = "two blocks", block, self.stage.near, self.stage.clusters[1], self.kind
        return self.assembler.alike.once(key, lambda: self._both_bytes(block))

    def _both_bytes(self, block: int) -> int:
        value_bytes = self.assembler.architecture.pmca.value_bits / 8.0
        first, last = self.stage.nodes[0].any, self.stage.nodes[-1].any
        per_token = output_elements(last) / last.tokens
        spread = self.stage.clusters[1] > self.stage.near
        for edge in (*self.fetched, *(self.beside if spread else ())):
            producer = self._producer(edge)
            if not edge.stationary and edge.tokens.get(0, 0) == first.tokens:
                per_token += output_elements(producer) / producer.tokens
        return math.ceil(2 * block * per_token * value_bytes)

    def _producer(self, edge: StageEdge) -> Op:
        return self.assembler.graph.nodes[edge.producer].any


def cuts(wanted: int) -> list[int]:
    """`wanted` tokens, a half, a quarter, ... of them, down to one."""
    return [wanted >> n for n in range(wanted.bit_length())]


def step_time(
    sizes: IntArray, fetch: IntArray, compute: IntArray, drain: IntArray, dma_engines: int
) -> StepTime:
    """Time of the blocks of one step over lanes of `sizes` blocks, all data there.

    `fetch`, `compute` and `drain` are times (ps) of each block, lane after lane. A block is fetched
    when the last but one of its lane has left, computed when it is there and the one before is
    done, and drained then; or all transfers shared evenly by `dma_engines` take longer.
    """
    rounds = int(sizes.max())
    lane = np.repeat(np.arange(sizes.size), sizes)
    turn = np.arange(lane.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    # counted: fetch, compute and drain
    table = np.zeros((3, rounds, sizes.size), np.int64)
    table[:, turn, lane] = fetch, compute, drain
    ready = done = left = last_left = np.zeros(sizes.size, np.int64)
    for into, work, out_of in zip(*table, strict=True):
        ready = np.maximum(ready, last_left) + into
        done = np.maximum(ready, done) + work
        last_left, left = left, np.maximum(done, left) + out_of
    first = int(table[:, 0, 0].sum())
    moved = -(-int(fetch.sum() + drain.sum()) // dma_engines)
    return StepTime(first, max(int(left.max()), moved))
