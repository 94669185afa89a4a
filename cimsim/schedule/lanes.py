"""Lanes: which cluster of a stage works on which block of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import IntArray
from cimsim.schedule.graph import Stream
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, eq=False)
class Lanes:
    """All lanes of a stage, and on how many of them each block is worked on (`parts`).

    `masks` has a row of 0 and 1 for each lane, 1 for the blocks of the stage that are its own;
    `blocks` are the numbers of those, lane after lane, `sizes` of each lane, and `stream` has them.
    `away` are the phases in which blocks leave the group of clusters at home.
    """

    masks: IntArray
    blocks: IntArray
    sizes: IntArray
    stream: Stream
    parts: IntArray
    away: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls, stream: Stream, picked: npt.NDArray[np.bool_], parts: IntArray, away: frozenset[int]
    ) -> Lanes:
        """Lanes that have the `picked` blocks of `stream`, a row a lane."""
        blocks, sizes = np.nonzero(picked)[1], picked.sum(axis=1)
        return cls(picked.astype(np.int64), blocks, sizes, stream.of(blocks), parts, away)

    @property
    def count(self) -> int:
        """Lanes in all."""
        return int(self.sizes.size)

    @cached_property
    def apart(self) -> npt.NDArray[np.bool_]:
        """True for lanes with at most one block a step, of all sequences together."""
        stream = self.stream
        behind = (np.diff(stream.step) == 0) & (np.diff(stream.phase) == 0)
        lane = np.repeat(np.arange(self.count), self.sizes)
        found = np.ones(self.count, np.bool_)
        found[lane[1:][behind & (np.diff(lane) == 0)]] = False
        return found


@dataclass(frozen=True, slots=True)
class Deal:
    """How the blocks of a step go round: over so many `clusters`, each in so many `parts`."""

    clusters: int
    parts: int


def whole(stream: Stream, parts: IntArray, away: frozenset[int] = frozenset()) -> Lanes:
    """One lane for all blocks, each time one of `parts`."""
    count = np.int64(stream.iterations)
    blocks = np.arange(count)
    return Lanes(np.ones((1, count), np.int64), blocks, np.array([count]), stream, parts, away)


@lru_cache(maxsize=128)
def deal_out(stream: Stream, deals: tuple[tuple[int, Deal], ...], near: int) -> Lanes:
    """Blocks of a step go round the clusters of the deal of their phase.

    `near` clusters are at home; a phase whose blocks use more is `away`.
    """
    opens = stream.end == stream.size
    step_index = np.cumsum(opens) - 1
    position = np.arange(stream.iterations) - np.flatnonzero(opens)[step_index]
    blocks = np.bincount(step_index)[step_index]
    clusters = _by_phase(stream, {phase: deal.clusters for phase, deal in deals})
    parts = _by_phase(stream, {phase: deal.parts for phase, deal in deals})
    used = np.minimum(clusters, blocks * parts)
    first = position * parts % used
    lane = np.arange(int(used.max()))[:, np.newaxis]
    picked = ((lane - first) % used < parts) & (lane < used)
    away = frozenset(np.unique(stream.phase[used > near]).tolist())
    return Lanes.of(stream, picked, parts, away)


def _by_phase(stream: Stream, values: dict[int, int]) -> IntArray:
    found = np.array([values.get(p, 0) for p in range(max(values) + 1)], np.int64)
    return np.asarray(found[stream.phase], np.int64)
