"""Which execution of a verb moves which token of a buffer: tables for all ends of all buffers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial

import numpy as np

from cimsim.engines.program import Count, IntArray, Program

NONE = -1


class Tokens:
    """Tokens of all moves of a program, sorted by the ends of buffers that they are at.

    `counts` are the tokens of the moves; those at end e begin at `first[e]`. The consumer of
    buffer b is end 2 b, its producer 2 b + 1. Tokens that only ever move in groups are counted in
    groups, as the last one of a group decides when a move is over.
    """

    def __init__(self, program: Program, counts: list[Count], first: IntArray) -> None:
        self._counts, self._first = counts, first
        self._parts: list[IntArray] = [np.empty(0, np.int64)]
        self._size = 0
        self._places: dict[Hashable, int] = {}
        varies = [isinstance(count, np.ndarray) for count in counts]
        self._varying = [at for at, found in enumerate(varies) if found]
        fixed = [NONE if found else count for found, count in zip(varies, counts, strict=True)]
        self._fixed = np.array(fixed, np.int64)
        self._initial = np.array([buffer.initial for buffer in program.buffers], np.int64)
        self._capacity = np.array([buffer.capacity for buffer in program.buffers], np.int64)
        self._end = np.repeat(np.arange(first.size - 1), np.diff(first))
        self._group = self._groups()
        self._fixed //= self._group[self._end // 2]

    def moves(self) -> IntArray:
        """Tokens of each move, -1 where they vary, and then their place in `amounts`."""
        table = np.column_stack([self._fixed, np.full(self._fixed.size, NONE)])
        for at in self._varying:
            table[at] = NONE, self._place(self._key(at), partial(self._each, at))
        return table

    def ends(self) -> IntArray:
        """For each end: its first move; the tokens of an iteration, or where they vary -1 and the
        place in `amounts` of those moved up to the end of each one; what makes of a token's number
        that of the token at the other end that lets it move: itself, or the one that leaves its
        slot.
        """
        begin = self._first[:-1]
        table = np.column_stack([begin, np.add.reduceat(self._fixed, begin), begin, begin])
        table[:, 2] = NONE
        for end in np.unique(self._end[self._varying]).tolist():
            here = range(*self._first[end : end + 2].tolist())
            key = "through", *(self._key(at) for at in here)
            table[end, 1:3] = NONE, self._place(key, partial(self._through, here))
        initial, slots = self._initial // self._group, self._capacity // self._group
        table[:, 3] = np.column_stack([-initial, initial - slots]).reshape(-1)
        return table

    def amounts(self) -> IntArray:
        """The lists that `moves` and `ends` refer to, one behind the other."""
        return np.concatenate(self._parts)

    def _groups(self) -> IntArray:
        """Tokens of each buffer that only ever move together."""
        divisors: dict[int, int] = {}
        divisor = self._fixed.copy()
        for at in self._varying:
            count = self._counts[at]
            if id(count) not in divisors:
                divisors[id(count)] = int(np.gcd.reduce(np.asarray(count)))
            divisor[at] = divisors[id(count)]
        both = np.gcd.reduceat(divisor, self._first[:-1]).reshape(-1, 2)
        group = np.gcd(np.gcd(both[:, 0], both[:, 1]), self._initial)
        return np.where((group == 0) | (group > self._capacity), 1, group)

    def _key(self, at: int) -> Hashable:
        """The same for moves of the same tokens."""
        count = self._counts[at]
        if not isinstance(count, np.ndarray):
            return int(self._fixed[at])
        return id(count), int(self._group[self._end[at] // 2])

    def _each(self, at: int) -> IntArray:
        """Tokens that move `at` moves in each iteration, or in every one."""
        count = self._counts[at]
        if not isinstance(count, np.ndarray):
            return self._fixed[at : at + 1]
        shares: IntArray = count // self._group[self._end[at] // 2]
        return shares

    def _through(self, moves: range) -> IntArray:
        """Tokens that `moves` have moved when each iteration ends."""
        total = self._each(moves[0])
        for at in moves[1:]:
            total = total + self._each(at)
        return np.cumsum(total)

    def _place(self, key: Hashable, make: Callable[[], IntArray]) -> int:
        """Where the list called `key` begins in `amounts`; it is made once."""
        if key not in self._places:
            self._places[key] = self._size
            self._parts.append(make())
            self._size += self._parts[-1].size
        return self._places[key]
