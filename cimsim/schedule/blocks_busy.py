"""Blocks of a stream by kind, and what clusters are busy with in every block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from cimsim.costs import Busy
from cimsim.engines.program import IntArray
from cimsim.schedule.assembler import within_64_bits
from cimsim.schedule.graph import Stream, block_classes
from cimsim.values.display import brief

Example: TypeAlias = tuple[int, int, int, int, int]
"""Phase, step, size and end of a block, and in how many parts it is worked on."""


@brief
@dataclass(frozen=True, eq=False)
class BlockKinds:
    """The blocks of `stream`, each worked on in so many `parts`, by kind.

    Of a kind are blocks of one of `block_classes` in as many parts; where work varies with step and
    end every block is of its own.
    """

    stream: Stream
    parts: IntArray

    def of(self, *, varies: bool) -> tuple[list[Example], IntArray]:
        """A block of each kind, and which kind every block is of."""
        return self._single if varies else self._alike

    def each(self, varies: bool, value: Callable[[int, int, int, int, int], int]) -> IntArray:
        """`value` of every block, evaluated once for a kind."""
        examples, which = self.of(varies=varies)
        return within_64_bits([value(*block) for block in examples])[which]

    @cached_property
    def _alike(self) -> tuple[list[Example], IntArray]:
        examples, which = block_classes(self.stream)
        counts, count = np.unique(self.parts, return_inverse=True)
        if counts.size == 1:
            return [(*block, int(counts[0])) for block in examples], which
        kinds, which = np.unique(which * counts.size + count, return_inverse=True)
        found = (divmod(kind, counts.size) for kind in kinds.tolist())
        return [(*examples[block], int(counts[n])) for block, n in found], which

    @cached_property
    def _single(self) -> tuple[list[Example], IntArray]:
        stream = self.stream
        columns = (stream.phase, stream.step, stream.size, stream.end, self.parts)
        examples = list(zip(*(column.tolist() for column in columns), strict=True))
        return examples, np.arange(stream.iterations)


@brief
@dataclass(frozen=True, eq=False)
class BusyBlocks:
    """What clusters are busy with in every block: one of `kinds`, in so many `parts`."""

    kinds: tuple[Busy, ...]
    which: IntArray
    parts: IntArray | int = 1

    def in_all(self, parts: IntArray) -> BusyBlocks:
        """The work of all parts of every block."""
        return BusyBlocks(self.kinds, self.which, parts)

    @cached_property
    def cycles(self) -> IntArray:
        """Cycles of a cluster."""
        return self._column([busy.cycles for busy in self.kinds])

    @cached_property
    def core_cycles(self) -> IntArray:
        """Cycles of all its cores at work together."""
        return self._column([busy.core_cycles for busy in self.kinds])

    @cached_property
    def engine_cycles(self) -> IntArray:
        """Cycles of its matrix engine."""
        return self._column([busy.engine_cycles for busy in self.kinds])

    @cached_property
    def tcdm_bytes(self) -> IntArray:
        """Bytes read from the TCDM and written to it."""
        return self._column([busy.tcdm_bytes for busy in self.kinds])

    def _column(self, numbers: list[int]) -> IntArray:
        return within_64_bits(numbers)[self.which] * self.parts


def busy_blocks(
    kinds: BlockKinds, varies: bool, of: Callable[[int, int, int, int, int], Busy]
) -> BusyBlocks:
    """What `of` says of a block of each kind, for all blocks."""
    examples, which = kinds.of(varies=varies)
    found: dict[Busy, int] = {}
    numbers = [found.setdefault(of(*block), len(found)) for block in examples]
    return BusyBlocks(tuple(found), np.array(numbers, np.int64)[which])
