"""Lanes: which cluster of a stage works on which block of its stream."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cimsim.blocks import PmcaClusters
from cimsim.engines.program import IntArray
from cimsim.schedule.graph import Stream, plain
from cimsim.schedule.stages import Stage
from cimsim.schedule.work import most_parts
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
    """All lanes of a stage, and on how many of them each block is worked on (`parts`)."""

    lanes: tuple[Share, ...]
    parts: IntArray

    @property
    def count(self) -> int:
        """Lanes in all."""
        return len(self.lanes)


def lanes_of(stage: Stage, stream: Stream, pmca: PmcaClusters) -> Lanes:
    """Blocks of a step go round the clusters; with fewer blocks than clusters they are split."""
    splits = min(most_parts(op, pmca) for node in stage.nodes for op in node.ops.values())
    return _lanes(stream, stage.clusters[1], splits)


@lru_cache(maxsize=1024)
def _lanes(stream: Stream, clusters: int, splits: int) -> Lanes:
    opens = stream.end == stream.size
    step_index = np.cumsum(opens) - 1
    position = np.arange(stream.iterations) - np.flatnonzero(opens)[step_index]
    blocks = np.bincount(step_index)[step_index]
    parts = np.clip(clusters // blocks, 1, splits).astype(np.int64)
    count = int(min(clusters, (blocks * parts).max()))
    first = position * parts % count
    found = []
    for lane in range(count):
        picked = (lane - first) % count < parts
        found.append(Share(picked, stream.of(picked), plain(picked.astype(np.int64))))
    return Lanes(tuple(found), parts)
