"""Lanes: which cluster of a stage works on which block of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cimsim.engines.program import IntArray
from cimsim.schedule.graph import Stream, plain
from cimsim.values.display import brief


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One cluster's share of a stream: `picked` blocks, as a stream and as 0/1 counts."""

    picked: npt.NDArray[np.bool_]
    stream: Stream
    mask: int | IntArray


@brief
@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """All lanes of a stage, and on how many of them each block is worked on (`parts`).

    `away` are the phases in which blocks leave the group of clusters at home.
    """

    lanes: tuple[Share, ...]
    parts: IntArray
    away: frozenset[int] = frozenset()

    @property
    def count(self) -> int:
        """Lanes in all."""
        return len(self.lanes)


@dataclass(frozen=True, slots=True)
class Deal:
    """How the blocks of a step go round: over so many `clusters`, each in so many `parts`."""

    clusters: int
    parts: int


def whole(stream: Stream, parts: IntArray, away: frozenset[int] = frozenset()) -> Lanes:
    """One lane for all blocks, each time one of `parts`."""
    picked = np.ones(stream.iterations, np.bool_)
    return Lanes((Share(picked, stream, 1),), parts, away)


@lru_cache(maxsize=1024)
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
    found = []
    for lane in range(int(used.max())):
        picked = ((lane - first) % used < parts) & (lane < used)
        found.append(Share(picked, stream.of(picked), plain(picked.astype(np.int64))))
    away = frozenset(np.unique(stream.phase[used > near]).tolist())
    return Lanes(tuple(found), parts, away)


def _by_phase(stream: Stream, values: dict[int, int]) -> IntArray:
    found = np.array([values.get(p, 0) for p in range(max(values) + 1)], np.int64)
    return np.asarray(found[stream.phase], np.int64)
