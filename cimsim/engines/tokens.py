"""Which execution of a verb moves which token of a buffer: tables for all ends of all buffers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np

from cimsim.engines.program import IntArray, Program
from cimsim.engines.survey import Survey

NONE = -1


class Varying(NamedTuple):
    """Moves (`at`) of tokens that vary, at `buffer` and those behind it: the counts of one behind
    those of another, `sizes` of them each.
    """

    at: IntArray
    buffer: int
    counts: IntArray
    sizes: IntArray


class Tokens:
    """Tokens of all moves of a program, sorted by the ends of buffers that they are at.

    `fixed` are the tokens of each move, -1 where they vary, and `turns` how often it is made; the
    moves at end e begin at `first[e]`. The consumer of buffer b is end 2 b, its producer 2 b + 1.
    Tokens that only ever move in groups are counted in groups, as the last one of a group decides
    when a move is over.
    """

    def __init__(
        self, program: Program, first: IntArray, fixed: IntArray, turns: IntArray,
        varying: Iterable[Varying],
    ) -> None:  # fmt: skip
        self._first, self._turns = first, turns
        self._parts: list[IntArray] = []
        self._starts: list[int] = []
        self._size = 0
        self._places: dict[Hashable, int] = {}
        seen = Survey(program)
        self._group = np.array(seen.unit, np.int64)
        self._initial, self._capacity = seen.initial, seen.capacity
        end = np.repeat(np.arange(first.size - 1), np.diff(first))
        self._fixed = np.where(fixed == NONE, NONE, fixed // self._group[end // 2])
        self._each, self._through, self._idle = np.full((3, fixed.size), NONE)
        for moves in varying:
            self._add_lists(moves)
        self._add_sums()

    def moves(self) -> IntArray:
        """Tokens of each move, -1 where they vary, and then their place in `amounts`.

        Of moves in turn at one buffer after another also the place of how many directly before, in
        each iteration, move none; else -1.
        """
        return np.column_stack([self._fixed, self._each, self._idle])

    def ends(self) -> IntArray:
        """For each end: its first move; the tokens of an iteration, or where they vary -1 and the
        place in `amounts` of those moved up to the end of each one; what makes of a token's number
        that of the token at the other end that lets it move: itself, or the one that leaves its
        slot.
        """
        begin = self._first[:-1]
        through = self._through[begin]
        total = np.where(through == NONE, np.add.reduceat(self._fixed, begin), NONE)
        initial, slots = self._initial // self._group, self._capacity // self._group
        shift = np.column_stack([-initial, initial - slots]).reshape(-1)
        return np.column_stack([begin, total, through, shift])

    def amounts(self) -> IntArray:
        """The lists that `moves` and `ends` refer to, one behind the other."""
        return np.concatenate([np.empty(0, np.int64), *self._parts])

    def _add_lists(self, moves: Varying) -> None:
        """The tokens of some moves, and those moved up to the end of each iteration."""
        groups = self._group[moves.buffer : moves.buffer + moves.at.size]
        key = id(moves.counts), moves.sizes.tobytes(), groups.tobytes()
        begins = np.cumsum(moves.sizes) - moves.sizes
        if key not in self._places:
            counts = moves.counts.reshape(-1)
            if (groups != 1).any():
                counts = counts // np.repeat(groups, moves.sizes)
            through = np.append(0, np.cumsum(counts))
            self._places[key] = self._add(counts)
            self._add(through[1:] - np.repeat(through[begins], moves.sizes))
            if moves.counts.ndim > 1:
                self._add(_idle_before(moves.counts).reshape(-1))
        place = self._places[key]
        self._each[moves.at] = place + begins
        self._through[moves.at] = place + moves.counts.size + begins
        if moves.counts.ndim > 1:
            self._idle[moves.at] = place + 2 * moves.counts.size + begins

    def _add_sums(self) -> None:
        """The tokens moved at ends with several moves of which one varies."""
        several = np.flatnonzero(np.diff(self._first) > 1)
        varies = np.add.reduceat(self._each != NONE, self._first[:-1])
        for end in several[varies[several] > 0].tolist():
            here = range(*self._first[end : end + 2].tolist())
            lists = [self._list(at) for at in here]
            total = np.sum(np.broadcast_arrays(*lists), axis=0)
            self._through[here[0]] = self._add(np.cumsum(total))

    def _list(self, at: int) -> IntArray:
        """Tokens that move `at` moves in each iteration, or in every one."""
        place = int(self._each[at])
        if place == NONE:
            return self._fixed[at : at + 1]
        part = bisect_right(self._starts, place) - 1
        begin = place - self._starts[part]
        return self._parts[part][begin : begin + int(self._turns[at])]

    def _add(self, values: IntArray) -> int:
        """Append a list; return its place."""
        self._parts.append(values)
        self._starts.append(self._size)
        self._size += values.size
        return self._starts[-1]


def _idle_before(counts: IntArray) -> IntArray:
    """For each row of `counts` and each column how many rows directly above it have 0 there."""
    rows = np.arange(counts.shape[0])[:, np.newaxis]
    latest = np.maximum.accumulate(np.where(counts > 0, rows, NONE), axis=0)
    idle: IntArray = np.zeros_like(counts)
    idle[1:] = rows[:-1] - latest[:-1]
    return idle
